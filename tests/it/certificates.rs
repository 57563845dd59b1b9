//! What certificates say, read off the toy CA's and openssl's.

use std::fs;
use std::sync::Arc;

use staplekeeper::pki::{Certificate, CertificateError, Issued, read_certificates};

use crate::support::ca::{self, Draft, Identity, Key, Kind, Scheme, der};

fn read(identity: &Identity) -> Certificate {
    Certificate::from_der(&identity.der).expect("a certificate")
}

/// A leaf with this extension, read.
fn with_extension(oid: &str, value: &[u8]) -> Certificate {
    let extensions = vec![der::extension(oid, false, value)];
    let draft = Draft { extensions, ..Draft::leaf("www.example.org") };
    read(&Identity::root("Toy CA").issue(draft))
}

#[test]
fn must_staple() {
    let integers = |values: &[u8]| {
        let values: Vec<u8> = values.iter().flat_map(|value| der::integer(&[*value])).collect();
        der::sequence(&[&values])
    };
    let cases = [
        (integers(&[5]), true, false),
        (integers(&[17]), false, true),
        (integers(&[5, 17]), true, true),
        (integers(&[17, 5]), true, true),
        (integers(&[]), false, false),
        (integers(&[6, 9]), false, false),
        // A number beyond all features does not hide the others.
        (der::sequence(&[&der::integer(&[1, 0, 0, 0]), &der::integer(&[5])]), true, false),
        (der::null(), false, false),
        (b"nonsense".to_vec(), false, false),
    ];
    for (value, first, second) in cases {
        let feature = with_extension("1.3.6.1.5.5.7.1.24", &value).tls_feature();
        assert_eq!(
            (feature.status_request, feature.status_request_v2),
            (first, second),
            "{value:x?}"
        );
    }
    // On a CA it binds all that is below.
    let ca = Draft { must_staple: true, ..Draft::authority("Toy CA") }.self_signed();
    let leaf = read(&ca.issue(Draft::leaf("www.example.org")));
    assert!(read(&ca).must_staple() && !leaf.must_staple());
}

#[test]
fn where_to_ask() {
    let urls = ["http://ocsp.example/", "http://ocsp.example/", "ldap://x/", "https://b.example/o"];
    let ocsp_urls = urls.map(str::to_owned).to_vec();
    let ca_issuers_urls = vec!["http://ca.example/ca.cer".to_owned()];
    let draft = Draft { ocsp_urls, ca_issuers_urls, ..Draft::leaf("www.example.org") };
    let leaf = read(&Identity::root("Toy CA").issue(draft));
    assert_eq!(leaf.ocsp_urls(), ["http://ocsp.example/", "ldap://x/", "https://b.example/o"]);
    assert_eq!(leaf.ca_issuers_urls(), ["http://ca.example/ca.cer"]);
    let plain = read(&Identity::root("Toy CA").issue(Draft::leaf("www.example.org")));
    assert!(plain.ocsp_urls().is_empty() && plain.ca_issuers_urls().is_empty());
}

#[test]
fn names_validity_and_numbers() {
    let names = ["www.example.org", "*.example.org", "192.0.2.1", "2001:db8::1"];
    let names = names.map(str::to_owned).to_vec();
    let (not_before, not_after) = (ca::at("2049-12-31T23:59:59Z"), ca::at("2050-01-01T00:00:00Z"));
    let serial = vec![0x00, 0xff, 0x01];
    let draft =
        Draft { names: names.clone(), not_before, not_after, serial, ..Draft::leaf("common") };
    let issuer = Identity::root("Toy CA");
    let leaf = read(&issuer.issue(draft));
    assert_eq!(leaf.names(), names);
    assert_eq!(leaf.not_before().to_string(), "2049-12-31T23:59:59Z");
    assert_eq!(leaf.not_after().to_string(), "2050-01-01T00:00:00Z");
    assert_eq!(leaf.serial().to_string(), "ff01");
    assert_eq!((leaf.subject(), leaf.issuer()), ("CN=common".to_owned(), "CN=Toy CA".to_owned()));
    assert_eq!(leaf.authority_key_id(), Some(issuer.key.id()));
    assert_eq!(leaf.subject_key_id().map(|id| id.len()), Some(20));
    assert!(!leaf.is_ca() && !leaf.is_self_issued());

    let draft = Draft { names: Vec::new(), key_ids: false, ..Draft::leaf("only.example.org") };
    let old = read(&issuer.issue(draft));
    assert_eq!(old.names(), ["only.example.org"]);
    assert_eq!((old.subject_key_id(), old.authority_key_id()), (None, None));
}

#[test]
fn keys_of_every_kind_sign_and_are_named() {
    let kinds = [
        (Kind::Rsa1024, "RSA-1024", false),
        (Kind::Rsa2048, "RSA-2048", true),
        (Kind::Rsa4096, "RSA-4096", true),
        (Kind::P256, "P-256", true),
        (Kind::P384, "P-384", true),
        (Kind::P521, "P-521", true),
        (Kind::Ed25519, "Ed25519", true),
        (Kind::MlDsa44, "ML-DSA-44", true),
        (Kind::MlDsa65, "ML-DSA-65", true),
        (Kind::MlDsa87, "ML-DSA-87", true),
        (Kind::Ed448, "Ed448", false),
        (Kind::Secp256k1, "1.3.132.0.10", false),
    ];
    for (kind, name, proves) in kinds {
        let issuer =
            Draft { key: Key::shared(kind, 1), ..Draft::authority("Toy CA") }.self_signed();
        let leaf = issuer.issue(Draft::leaf("www.example.org"));
        let (leaf, issuer) = (Arc::new(read(&leaf)), Arc::new(read(&issuer)));
        assert_eq!(issuer.key_type().to_string(), name);
        let proof = Issued::prove(leaf, issuer);
        assert_eq!(proof.is_ok(), proves, "{name}: {proof:?}");
    }
}

#[test]
fn schemes_beyond_the_usual_prove_an_issuer() {
    let schemes = [
        (Kind::Rsa2048, Scheme::Pkcs1(384)),
        (Kind::Rsa2048, Scheme::Pkcs1(512)),
        (Kind::Rsa2048, Scheme::Pss { hash: 256, salt: 32 }),
        (Kind::Rsa2048, Scheme::Pss { hash: 256, salt: 20 }),
        (Kind::Rsa2048, Scheme::Pss { hash: 384, salt: 48 }),
        (Kind::Rsa2048, Scheme::Pss { hash: 512, salt: 64 }),
        // An old private CA: SHA-1 tells who issued whom as well as anything.
        (Kind::Rsa2048, Scheme::RSA_SHA1),
        (Kind::P256, Scheme::ECDSA_SHA1),
        (Kind::P256, Scheme::ECDSA_SHA384),
        (Kind::P384, Scheme::ECDSA_SHA512),
        (Kind::P521, Scheme::ECDSA_SHA256),
    ];
    for (kind, scheme) in schemes {
        let issuer = Draft::authority("Toy CA").keyed(kind, 1).self_signed();
        let scheme = Some(scheme);
        let leaf = issuer.issue(Draft { scheme, ..Draft::leaf("www.example.org") });
        let proof = Issued::prove(Arc::new(read(&leaf)), Arc::new(read(&issuer)));
        assert!(proof.is_ok(), "{kind:?} {scheme:?}: {proof:?}");
    }
}

#[test]
fn bytes_that_are_no_certificate() {
    let sound = Identity::root("Toy CA").der;
    let parts = der::first(&sound).contents;
    let parts = der::elements(parts);
    let other = der::sequence(&[&der::oid("1.2.840.10045.4.3.3")]);
    let two = der::sequence(&[parts[0].whole, &other, parts[2].whole]);
    assert_eq!(
        Certificate::from_der(&two),
        Err(CertificateError::TwoAlgorithms {
            inside: "1.2.840.10045.4.3.2".to_owned(),
            outside: "1.2.840.10045.4.3.3".to_owned(),
        })
    );
    let longer = [sound.as_slice(), &[0, 0]].concat();
    assert_eq!(Certificate::from_der(&longer), Err(CertificateError::TrailingBytes(2)));
    for end in 0..sound.len() {
        let cut = Certificate::from_der(&sound[..end]);
        assert!(matches!(cut, Err(CertificateError::Malformed(_))), "{end}: {cut:?}");
    }
}

#[test]
fn collections_from_a_ca_issuers_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let root = Identity::root("Root");
    let ca = root.issue(Draft::authority("Toy CA"));
    fs::write(path("chain.pem"), ca.full_chain_pem()).expect("written");
    for form in ["DER", "PEM"] {
        let arguments = ["crl2pkcs7", "-nocrl", "-certfile", &path("chain.pem"), "-outform", form];
        let collection = ca::openssl(&arguments, b"");
        let found = read_certificates(&collection).expect(form);
        let mut subjects: Vec<String> = found.iter().map(Certificate::subject).collect();
        subjects.sort();
        assert_eq!(subjects, ["CN=Root", "CN=Toy CA"]);
    }
}
