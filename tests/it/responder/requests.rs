//! The decoder of requests: it reads what is written here and by others, and survives the rest.

use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::*;
use staplekeeper::ocsp::{self, CertIdHash, IssuerName, Request, RequestError};
use staplekeeper::pki::{Issued, Serial};

use super::client::issued;
use crate::support::ca::{CertHash, Claim, Draft, Identity, der};
use crate::support::program::program;

thread_local! {
    static CA: Identity = Identity::root("Request CA");
}

fn check(request: &[u8], wanted: &[&Issued]) {
    let decoded = Request::decode(request).expect("a request");
    assert_eq!(decoded.questions().len(), wanted.len());
    for (question, issued) in decoded.questions().iter().zip(wanted) {
        assert_eq!(question.serial(), issued.leaf.serial());
        let meant =
            IssuerName::all(issued).iter().filter(|name| name.is_meant_by(question)).count();
        assert_eq!(meant, 1);
    }
}

/// A request about one certificate, with everything in it that a decoder can meet.
fn rich(leaf: &Identity, critical: bool) -> Vec<u8> {
    let claim = Claim::of(leaf, CertHash::Sha1);
    let id = der::sequence(&[
        &claim.algorithm,
        &der::octets(&claim.issuer_name_hash),
        &der::octets(&claim.issuer_key_hash),
        &der::integer(&claim.serial),
    ]);
    let locator = der::extension("1.3.6.1.5.5.7.48.1.7", critical, &der::null());
    let single = der::sequence(&[&id, &der::context(0, &[&der::sequence(&[&locator])])]);
    let version = der::context(0, &[&der::integer(&[0])]);
    let requestor = der::context(1, &[&der::context(4, &[&der::name("somebody")])]);
    let nonce = der::extension("1.3.6.1.5.5.7.48.1.2", true, &der::octets(&[1; 32]));
    let extensions = der::context(2, &[&der::sequence(&[&nonce])]);
    let tbs = der::sequence(&[&version, &requestor, &der::sequence(&[&single]), &extensions]);
    let signature = der::sequence(&[&der::algorithm("1.2.840.10045.4.3.2"), &der::bits(&[7; 64])]);
    der::sequence(&[&tbs, &der::context(0, &[&signature])])
}

#[test]
fn everything_that_a_request_may_hold_is_read() {
    let leaf = Identity::root("CA").issue(Draft::leaf("rich.test"));
    check(&rich(&leaf, false), &[&issued(&leaf)]);
    let error = Request::decode(&rich(&leaf, true)).expect_err("it is critical");
    assert_eq!(error, RequestError::UnknownCritical { oid: "1.3.6.1.5.5.7.48.1.7".to_owned() });
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    let leaf = Identity::root("CA").issue(Draft::leaf("short.test"));
    let sound = rich(&leaf, false);
    for end in 0..sound.len() {
        assert!(Request::decode(&sound[..end]).is_err(), "the first {end} bytes");
    }
    assert!(Request::decode(&[&sound[..], &[0]].concat()).is_err());
    let long = vec![0x30; ocsp::MAX_REQUEST_BYTES + 1];
    assert!(matches!(Request::decode(&long), Err(RequestError::TooLong { .. })));
    let nothing = der::sequence(&[&der::sequence(&[&der::sequence(&[])])]);
    assert_eq!(Request::decode(&nothing), Err(RequestError::Empty));
}

#[test]
fn what_openssl_asks_is_understood() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ca = Identity::root("CA");
    let leaves: Vec<Identity> = (0..3).map(|_| ca.issue(Draft::leaf("several.test"))).collect();
    std::fs::write(path("ca.pem"), ca.pem()).expect("the folder is ours");
    std::fs::write(path("ca.key"), ca.key.pem()).expect("the folder is ours");
    let mut command = Command::new(program("openssl"));
    command.args(["ocsp", "-issuer", &path("ca.pem"), "-reqout", &path("request.der")]);
    command.args(["-signer", &path("ca.pem"), "-signkey", &path("ca.key")]);
    for (number, (leaf, hash)) in leaves.iter().zip(["-sha1", "-sha256", "-sha512"]).enumerate() {
        let pem = path(&format!("{number}.pem"));
        std::fs::write(&pem, leaf.pem()).expect("the folder is ours");
        command.args([hash, "-cert", &pem]);
    }
    let output = command.output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let request = std::fs::read(path("request.der")).expect("openssl wrote it");
    let all: Vec<Issued> = leaves.iter().map(issued).collect();
    check(&request, &all.iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(
        serial in vec(any::<u8>(), 1..20),
        sha256 in any::<bool>(),
        nonce in proptest::option::of(vec(any::<u8>(), 1..128)),
    ) {
        let mut serial = serial;
        serial[0] = serial[0] & 0x7f | 0x01;
        let leaf = CA.with(|ca| ca.issue(Draft { serial: serial.clone(), ..Draft::leaf("www.test") }));
        let hash = if sha256 { CertIdHash::Sha256 } else { CertIdHash::Sha1 };
        let issued = issued(&leaf);
        let request = ocsp::request(&issued, hash, nonce.as_deref());
        check(&request, &[&issued]);
        let decoded = Request::decode(&request).expect("a request");
        assert_eq!(decoded.questions()[0].serial(), Serial::from_integer(&serial));
    }

    #[test]
    fn bytes_at_random(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Request::decode(&bytes);
        let _ = Request::decode(&[&[0x30, 0x82], bytes.as_slice()].concat());
    }

    #[test]
    fn requests_with_a_byte_changed(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let leaf = CA.with(|ca| ca.issue(Draft { serial: vec![5; 16], ..Draft::leaf("www.test") }));
        let mut bytes = rich(&leaf, false);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(request) = Request::decode(&bytes) {
            assert_eq!(request.questions().len(), 1);
        }
    }
}
