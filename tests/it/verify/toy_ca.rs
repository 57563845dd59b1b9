//! The tools first: what the toy CA makes is what openssl takes.

use std::fs;
use std::process::Command;

use staplekeeper::ocsp::{self, CertIdHash, Response, Rules};
use staplekeeper::pki::read_certificates;
use staplekeeper::time::UnixTime;

use super::world::issued;
use crate::support::ca::{self, Draft, Forge, Identity, Key, Kind, Question};

const NOW: &str = "2026-03-01T12:00:00Z";

#[test]
fn certificates_of_every_kind_are_what_openssl_and_we_take() {
    let kinds = [
        (Kind::Rsa2048, "RSA-2048"),
        (Kind::P256, "P-256"),
        (Kind::P384, "P-384"),
        (Kind::P521, "P-521"),
        (Kind::Ed25519, "Ed25519"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, name) in kinds {
        let root = Draft::authority("Root").keyed(kind, 1).self_signed();
        let leaf = root.issue(Draft { must_staple: true, ..Draft::leaf("www.example.org") });
        let path = |file: &str| folder.path().join(file).display().to_string();
        fs::write(path("root.pem"), root.pem()).expect("written");
        fs::write(path("leaf.pem"), leaf.pem()).expect("written");
        fs::write(path("root.key"), root.key_pem()).expect("written");
        let verify = ["verify", "-x509_strict", "-CAfile", &path("root.pem"), &path("leaf.pem")];
        let verdict = Command::new("openssl").args(verify).output().expect("openssl is installed");
        assert!(verdict.status.success(), "{name}: {}", String::from_utf8_lossy(&verdict.stderr));
        ca::openssl(&["pkey", "-in", &path("root.key"), "-noout"], b"");

        let pair = issued(&leaf);
        assert_eq!(pair.issuer.key_type().to_string(), name);
        assert!(pair.leaf.must_staple() && !pair.issuer.must_staple());
        assert_eq!(pair.leaf.names(), ["www.example.org"]);
    }
}

#[test]
fn an_answer_mirrors_the_question() {
    let root = Identity::root("Root");
    let issuer = root.issue(Draft::authority("Issuer"));
    let leaf = issuer.issue(Draft::leaf("www.example.org"));
    let now: UnixTime = NOW.parse().expect("an instant");
    let pair = issued(&leaf);
    for hash in [CertIdHash::Sha1, CertIdHash::Sha256] {
        let nonce = [7; 32];
        let request = ocsp::request(&pair, hash, Some(&nonce));
        assert_eq!(Question::of(&request).nonce.as_deref(), Some(&nonce[..]));
        let der = ca::answer(&request, &[&leaf], now.as_secs());
        let response = Response::decode(&der).expect("a response");
        let rules = Rules { nonce: Some(nonce.to_vec()), ..Rules::default() };
        let staple = ocsp::verify(response, &pair, &rules, now).expect("a sound answer");
        assert_eq!(staple.der(), der);
        assert_eq!(staple.signer(), "CN=Issuer");
        assert_eq!(staple.certificate(), pair.fingerprint());
    }
    let chain = read_certificates(leaf.full_chain_pem().as_bytes()).expect("a chain");
    assert_eq!(chain.len(), 3);
    assert_eq!(read_certificates(leaf.chain_pem().as_bytes()).expect("a chain").len(), 2);
}

#[test]
fn the_forge_makes_what_openssl_accepts() {
    let root = Draft::authority("Root").keyed(Kind::Rsa2048, 1).self_signed();
    let leaf = root.issue(Draft { key: Key::new(Kind::P256), ..Draft::leaf("www.example.org") });
    let folder = tempfile::tempdir().expect("a folder");
    let path = |file: &str| folder.path().join(file).display().to_string();
    fs::write(path("root.pem"), root.pem()).expect("written");
    fs::write(path("leaf.pem"), leaf.pem()).expect("written");
    let now = jiff::Timestamp::now().as_second();
    fs::write(path("response.der"), Forge::new(&leaf, now).der()).expect("written");
    let (root, leaf, response) = (path("root.pem"), path("leaf.pem"), path("response.der"));
    let ask = ["ocsp", "-issuer", &root, "-cert", &leaf, "-CAfile", &root, "-respin", &response];
    let output = Command::new("openssl").args(ask).output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("verify OK") && said.contains("leaf.pem: good"), "{said}");
}
