//! Kinds of CAs and signers, with `openssl ocsp` as a responder that shares no code with us.
//!
//! For each kind openssl answers our own requests, byte for byte what it would have sent itself,
//! about a good, a revoked and an unknown certificate.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use staplekeeper::ocsp::{self, CertIdHash, Response, Rules};
use staplekeeper::time::UnixTime;

use super::openssl as second;
use super::world::issued;
use crate::support::ca::{DAY, Draft, Identity, Kind, Scheme, openssl};

/// A CA and who signs for it.
struct Signing {
    ca: Kind,
    /// What the CA signs certificates with; none: its key's default.
    scheme: Option<Scheme>,
    /// A delegate's key; none: the CA signs its responses.
    delegate: Option<Kind>,
    /// More options for `openssl ocsp`.
    options: &'static [&'static str],
}

const PSS: Option<Scheme> = Some(Scheme::Pss { hash: 256, salt: 32 });
const PSS_OPTIONS: &[&str] = &["-rsigopt", "rsa_padding_mode:pss"];
const PSS_SALT_20: &[&str] =
    &["-rsigopt", "rsa_padding_mode:pss", "-rsigopt", "rsa_pss_saltlen:20"];

const fn direct(ca: Kind, options: &'static [&'static str]) -> Signing {
    Signing { ca, scheme: None, delegate: None, options }
}

const fn delegated(ca: Kind, delegate: Kind, options: &'static [&'static str]) -> Signing {
    Signing { ca, scheme: None, delegate: Some(delegate), options }
}

const SIGNINGS: &[Signing] = &[
    direct(Kind::Rsa2048, &[]),
    delegated(Kind::Rsa2048, Kind::Rsa2048, &[]),
    direct(Kind::Rsa4096, &["-rmd", "sha512"]),
    delegated(Kind::Rsa4096, Kind::Rsa2048, &["-rmd", "sha384"]),
    Signing { ca: Kind::Rsa2048, scheme: PSS, delegate: None, options: PSS_OPTIONS },
    Signing { ca: Kind::Rsa2048, scheme: PSS, delegate: Some(Kind::Rsa2048), options: PSS_SALT_20 },
    direct(Kind::P256, &[]),
    delegated(Kind::P256, Kind::P256, &[]),
    direct(Kind::P384, &["-rmd", "sha384"]),
    delegated(Kind::P384, Kind::P384, &["-rmd", "sha256"]),
    direct(Kind::P521, &["-rmd", "sha512"]),
    delegated(Kind::P521, Kind::P521, &["-rmd", "sha256"]),
    direct(Kind::Ed25519, &[]),
    delegated(Kind::Ed25519, Kind::Ed25519, &[]),
    // Mixed, as when a CA of old has a responder of today and the other way round.
    delegated(Kind::Rsa2048, Kind::P256, &[]),
    delegated(Kind::P384, Kind::Rsa2048, &["-rmd", "sha512"]),
    direct(Kind::P256, &["-rmd", "sha384"]),
    direct(Kind::P256, &["-rmd", "sha512"]),
    // Named by key instead of by name.
    direct(Kind::P256, &["-resp_key_id"]),
    delegated(Kind::P256, Kind::P256, &["-resp_key_id"]),
    // Without any certificate in the response.
    direct(Kind::P256, &["-resp_no_certs"]),
];

#[test]
fn openssl_answers_and_we_believe_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut surprises = String::new();
    let mut answers = 0;
    for signing in SIGNINGS {
        let responder = Responder::new(folder.path(), signing);
        for hash in [CertIdHash::Sha1, CertIdHash::Sha256] {
            for (leaf, status) in &responder.leaves {
                let said = responder.ask(leaf, hash);
                let wanted = Ok(format!("{status}, signed by {}", responder.signer));
                if said != wanted {
                    let kind = (signing.ca, signing.delegate, signing.options);
                    writeln!(surprises, "{kind:?} {hash} {status}: {said:?}").expect("a String");
                }
                answers += 1;
            }
        }
    }
    assert!(surprises.is_empty(), "of {answers} answers:\n{surprises}");
}

/// An `openssl ocsp` in a folder, with what it needs.
struct Responder<'a> {
    folder: &'a Path,
    options: &'a [&'a str],
    leaves: [(Identity, &'static str); 3],
    signer: &'static str,
}

impl<'a> Responder<'a> {
    fn new(folder: &'a Path, signing: &'a Signing) -> Responder<'a> {
        let authority = Draft::authority("Kind CA").keyed(signing.ca, 1);
        let ca = Draft { scheme: signing.scheme, ..authority }.self_signed();
        let issue = |draft: Draft| ca.issue(Draft { scheme: signing.scheme, ..draft });
        let delegate =
            signing.delegate.map(|kind| issue(Draft::delegate("Delegate").keyed(kind, 2)));
        let signer = delegate.as_ref().unwrap_or(&ca);
        let leaf = |serial, status| {
            (issue(Draft { serial: vec![0x20, serial], ..Draft::leaf("www.example.org") }), status)
        };
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
        write("ca.pem", &ca.pem());
        write("signer.pem", &signer.pem());
        write("signer.key", &signer.key_pem());
        write(
            "index.txt",
            "V\t491231235959Z\t\t2001\tunknown\t/CN=www.example.org\n\
             R\t491231235959Z\t260101000000Z,keyCompromise\t2002\tunknown\t/CN=www.example.org\n",
        );
        Responder {
            folder,
            options: signing.options,
            leaves: [leaf(1, "good"), leaf(2, "revoked"), leaf(3, "unknown")],
            signer: if delegate.is_some() { "CN=Delegate" } else { "CN=Kind CA" },
        }
    }

    /// Has openssl answer our request; gives what we make of it, after openssl agreed.
    fn ask(&self, leaf: &Identity, hash: CertIdHash) -> Result<String, String> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let pair = issued(leaf);
        let nonce = [0x5a; 16];
        let request = ocsp::request(&pair, hash, Some(&nonce));
        fs::write(path("request.der"), &request).expect("written");
        let (index, ca, signer) = (path("index.txt"), path("ca.pem"), path("signer.pem"));
        let (key, asked, answered) = (path("signer.key"), path("request.der"), path("answer.der"));
        let mut arguments = vec!["ocsp", "-index", &index, "-CA", &ca, "-ndays", "7"];
        arguments.extend(["-rsigner", &signer, "-rkey", &key, "-reqin", &asked]);
        arguments.extend(["-respout", &answered]);
        arguments.extend(self.options);
        openssl(&arguments, b"");
        let der = fs::read(path("answer.der")).map_err(|error| error.to_string())?;

        if hash == CertIdHash::Sha1 {
            second::judge(self.folder, &der, leaf, None)?;
        }
        let response = Response::decode(&der).map_err(|error| error.to_string())?;
        let now = UnixTime::from_secs(jiff::Timestamp::now().as_second());
        let rules = Rules { nonce: Some(nonce.to_vec()), ..Rules::default() };
        let staple =
            ocsp::verify(response, &pair, &rules, now).map_err(|error| error.to_string())?;
        let life = staple.expires().seconds_since(staple.this_update());
        assert_eq!(life, 7 * DAY, "openssl was told so");
        if let Some(revocation) = staple.revocation() {
            assert_eq!(revocation.time.to_string(), "2026-01-01T00:00:00Z");
            assert_eq!(
                revocation.reason.map(|reason| reason.to_string()).as_deref(),
                Some("keyCompromise")
            );
        }
        Ok(format!("{}, signed by {}", staple.status(), staple.signer()))
    }
}

#[test]
fn requests_are_what_openssl_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (kind, serial) in [
        (Kind::P256, vec![0x20, 1]),
        (Kind::Rsa2048, vec![0x00, 0x99]),
        (Kind::P384, vec![0x7f; 20]),
    ] {
        let ca = Draft::authority("Kind CA").keyed(kind, 1).self_signed();
        let leaf = ca.issue(Draft { serial, ..Draft::leaf("www.example.org") });
        fs::write(path("ca.pem"), ca.pem()).expect("written");
        fs::write(path("leaf.pem"), leaf.pem()).expect("written");
        for (hash, option) in [(CertIdHash::Sha1, "-sha1"), (CertIdHash::Sha256, "-sha256")] {
            let (ca, leaf_path, out) = (path("ca.pem"), path("leaf.pem"), path("request.der"));
            let arguments =
                ["ocsp", option, "-no_nonce", "-issuer", &ca, "-cert", &leaf_path, "-reqout", &out];
            openssl(&arguments, b"");
            let theirs = fs::read(&out).expect("it was written");
            assert_eq!(ocsp::request(&issued(&leaf), hash, None), theirs, "{kind:?} {hash}");
        }
    }
}
