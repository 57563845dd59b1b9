//! Private keys of every kind, and signing with them.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self as aws, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, PqdsaKeyPair, RsaPssSaltLength,
};

use super::der;

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Made by openssl: too weak for aws-lc-rs.
    Rsa1024,
    Rsa2048,
    Rsa4096,
    P256,
    P384,
    P521,
    Ed25519,
    MlDsa44,
    MlDsa65,
    MlDsa87,
    /// Made by openssl.
    Ed448,
    /// Made by openssl.
    Secp256k1,
}

/// Signature schemes; a key's default is [`Key::scheme`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// PKCS#1 v1.5 with SHA-256, 384 or 512.
    Pkcs1(u16),
    /// RSASSA-PSS with SHA-256, 384 or 512 and this salt.
    Pss { hash: u16, salt: u16 },
    /// ECDSA with the hash of the curve's size.
    Ecdsa,
    /// The key's own: Ed25519, ML-DSA.
    Own,
    /// By the openssl program: `openssl dgst -DIGEST -sign`, under this algorithm OID, with or
    /// without NULL parameters.
    Openssl { digest: &'static str, oid: &'static str, null: bool },
}

impl Scheme {
    pub const ECDSA_SHA1: Scheme =
        Scheme::Openssl { digest: "sha1", oid: "1.2.840.10045.4.1", null: false };
    pub const ECDSA_SHA256: Scheme =
        Scheme::Openssl { digest: "sha256", oid: "1.2.840.10045.4.3.2", null: false };
    pub const ECDSA_SHA384: Scheme =
        Scheme::Openssl { digest: "sha384", oid: "1.2.840.10045.4.3.3", null: false };
    pub const ECDSA_SHA512: Scheme =
        Scheme::Openssl { digest: "sha512", oid: "1.2.840.10045.4.3.4", null: false };
    pub const RSA_SHA1: Scheme =
        Scheme::Openssl { digest: "sha1", oid: "1.2.840.113549.1.1.5", null: true };
    pub const RSA_MD5: Scheme =
        Scheme::Openssl { digest: "md5", oid: "1.2.840.113549.1.1.4", null: true };

    /// The DER AlgorithmIdentifier.
    pub fn identifier(self, kind: Kind) -> Vec<u8> {
        match self {
            Scheme::Pkcs1(256) => der::algorithm("1.2.840.113549.1.1.11"),
            Scheme::Pkcs1(384) => der::algorithm("1.2.840.113549.1.1.12"),
            Scheme::Pkcs1(512) => der::algorithm("1.2.840.113549.1.1.13"),
            Scheme::Pss { hash, salt } => pss_identifier(hash, salt),
            Scheme::Openssl { oid, null: true, .. } => der::algorithm(oid),
            Scheme::Openssl { oid, null: false, .. } => der::sequence(&[&der::oid(oid)]),
            Scheme::Ecdsa | Scheme::Own => der::sequence(&[&der::oid(match kind {
                Kind::P256 => "1.2.840.10045.4.3.2",
                Kind::P384 => "1.2.840.10045.4.3.3",
                Kind::P521 => "1.2.840.10045.4.3.4",
                Kind::Ed25519 => "1.3.101.112",
                Kind::MlDsa44 => "2.16.840.1.101.3.4.3.17",
                Kind::MlDsa65 => "2.16.840.1.101.3.4.3.18",
                Kind::MlDsa87 => "2.16.840.1.101.3.4.3.19",
                other => panic!("a {other:?} key has no scheme of its own"),
            })]),
            Scheme::Pkcs1(other) => panic!("there is no SHA-{other} here"),
        }
    }
}

fn pss_identifier(hash: u16, salt: u16) -> Vec<u8> {
    let hash = der::algorithm(match hash {
        256 => "2.16.840.1.101.3.4.2.1",
        384 => "2.16.840.1.101.3.4.2.2",
        512 => "2.16.840.1.101.3.4.2.3",
        other => panic!("there is no SHA-{other} here"),
    });
    let mask = der::sequence(&[&der::oid("1.2.840.113549.1.1.8"), &hash]);
    let bytes = salt.to_be_bytes();
    let salt = match bytes {
        [0, low] if low < 0x80 => der::integer(&[low]),
        _ => der::integer(&bytes),
    };
    let parts = [der::context(0, &[&hash]), der::context(1, &[&mask]), der::context(2, &[&salt])];
    der::sequence(&[
        &der::oid("1.2.840.113549.1.1.10"),
        &der::sequence(&[&parts[0], &parts[1], &parts[2]]),
    ])
}

/// A private key with its public one.
pub struct Key {
    kind: Kind,
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
    secret: Secret,
}

enum Secret {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
    /// Only the openssl program uses it.
    Foreign,
}

impl Key {
    /// A fresh key; RSA ones take their time, see [`Key::shared`].
    pub fn new(kind: Kind) -> Arc<Key> {
        let rsa = |size| Secret::Rsa(RsaKeyPair::generate(size).expect("a key"));
        let ecdsa = |algorithm| Secret::Ecdsa(EcdsaKeyPair::generate(algorithm).expect("a key"));
        let ml_dsa = |algorithm| Secret::MlDsa(PqdsaKeyPair::generate(algorithm).expect("a key"));
        let secret = match kind {
            Kind::Rsa2048 => rsa(KeySize::Rsa2048),
            Kind::Rsa4096 => rsa(KeySize::Rsa4096),
            Kind::P256 => ecdsa(&aws::ECDSA_P256_SHA256_ASN1_SIGNING),
            Kind::P384 => ecdsa(&aws::ECDSA_P384_SHA384_ASN1_SIGNING),
            Kind::P521 => ecdsa(&aws::ECDSA_P521_SHA512_ASN1_SIGNING),
            Kind::Ed25519 => Secret::Ed25519(Ed25519KeyPair::generate().expect("a key")),
            Kind::MlDsa44 => ml_dsa(&aws::ML_DSA_44_SIGNING),
            Kind::MlDsa65 => ml_dsa(&aws::ML_DSA_65_SIGNING),
            Kind::MlDsa87 => ml_dsa(&aws::ML_DSA_87_SIGNING),
            Kind::Rsa1024 => return foreign(kind, &["RSA", "-pkeyopt", "rsa_keygen_bits:1024"]),
            Kind::Ed448 => return foreign(kind, &["ED448"]),
            Kind::Secp256k1 => {
                return foreign(kind, &["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]);
            }
        };
        let (pkcs8, spki) = match &secret {
            Secret::Rsa(pair) => (exported(pair), public(pair.public_key())),
            Secret::Ecdsa(pair) => {
                let pkcs8 = pair.to_pkcs8v1().expect("PKCS#8").as_ref().to_vec();
                (pkcs8, public(pair.public_key()))
            }
            Secret::Ed25519(pair) => {
                // Version 1, without the public key: openssl 3.0 reads no other.
                let pkcs8 = pair.to_pkcs8v1().expect("PKCS#8").as_ref().to_vec();
                (pkcs8, public(pair.public_key()))
            }
            Secret::MlDsa(pair) => {
                let pkcs8 = pair.to_pkcs8v1().expect("PKCS#8").as_ref().to_vec();
                (pkcs8, public(pair.public_key()))
            }
            Secret::Foreign => unreachable!("made elsewhere"),
        };
        Arc::new(Key { kind, pkcs8, spki, secret })
    }

    /// The key of this kind and number, made once for the whole process.
    pub fn shared(kind: Kind, number: u8) -> Arc<Key> {
        type Made = HashMap<(Kind, u8), Arc<Key>>;
        static KEYS: Mutex<Option<Made>> = Mutex::new(None);
        let mut keys = KEYS.lock().expect("no test panics in here");
        let keys = keys.get_or_insert_default();
        keys.entry((kind, number)).or_insert_with(|| Key::new(kind)).clone()
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it signs with unless told otherwise.
    pub fn scheme(&self) -> Scheme {
        match self.kind {
            Kind::Rsa1024 => {
                Scheme::Openssl { digest: "sha256", oid: "1.2.840.113549.1.1.11", null: true }
            }
            Kind::Rsa2048 | Kind::Rsa4096 => Scheme::Pkcs1(256),
            Kind::P256 | Kind::P384 | Kind::P521 => Scheme::Ecdsa,
            Kind::Ed25519 | Kind::MlDsa44 | Kind::MlDsa65 | Kind::MlDsa87 => Scheme::Own,
            Kind::Ed448 => Scheme::Openssl { digest: "", oid: "1.3.101.113", null: false },
            Kind::Secp256k1 => Scheme::ECDSA_SHA256,
        }
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The contents of the public key's BIT STRING.
    pub fn public_bits(&self) -> &[u8] {
        &der::elements(der::first(&self.spki).contents)[1].contents[1..]
    }

    /// The SHA-1 of the public key's bits: key identifiers and ResponderIDs are made of it.
    pub fn id(&self) -> Vec<u8> {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, self.public_bits()).as_ref().to_vec()
    }

    /// PKCS#8 PEM.
    pub fn pem(&self) -> String {
        der::pem("PRIVATE KEY", &self.pkcs8)
    }

    /// Signs `message`.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match (scheme, &self.secret) {
            (Scheme::Openssl { digest, .. }, _) => self.sign_with_openssl(digest, message),
            (Scheme::Pkcs1(_) | Scheme::Pss { .. }, Secret::Rsa(pair)) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let mut sign = |encoding| pair.sign(encoding, &random, message, &mut signature);
                match scheme {
                    Scheme::Pkcs1(256) => sign(&aws::RSA_PKCS1_SHA256),
                    Scheme::Pkcs1(384) => sign(&aws::RSA_PKCS1_SHA384),
                    Scheme::Pkcs1(512) => sign(&aws::RSA_PKCS1_SHA512),
                    Scheme::Pss { hash: 256, salt: 32 } => sign(&aws::RSA_PSS_SHA256),
                    Scheme::Pss { hash: 256, salt: 20 } => sign(
                        &const { aws::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(20)) },
                    ),
                    Scheme::Pss { hash: 384, salt: 48 } => sign(&aws::RSA_PSS_SHA384),
                    Scheme::Pss { hash: 512, salt: 64 } => sign(&aws::RSA_PSS_SHA512),
                    other => panic!("{other:?} is not foreseen here"),
                }
                .expect("RSA signs");
                signature
            }
            (Scheme::Ecdsa, Secret::Ecdsa(pair)) => {
                pair.sign(&random, message).expect("ECDSA signs").as_ref().to_vec()
            }
            (Scheme::Own, Secret::Ed25519(pair)) => pair.sign(message).as_ref().to_vec(),
            (Scheme::Own, Secret::MlDsa(pair)) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                pair.sign(message, &mut signature).expect("ML-DSA signs");
                signature
            }
            (scheme, _) => panic!("a {:?} key cannot sign with {scheme:?}", self.kind),
        }
    }

    fn sign_with_openssl(&self, digest: &str, message: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("key.pem"), self.pem()).expect("the key is written");
        std::fs::write(path("message"), message).expect("the message is written");
        if digest.is_empty() {
            let (key, message) = (path("key.pem"), path("message"));
            openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", &message], b"")
        } else {
            let digest = format!("-{digest}");
            openssl(&["dgst", &digest, "-sign", &path("key.pem"), &path("message")], b"")
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.kind)
    }
}

fn public<'a, T: AsDer<aws_lc_rs::encoding::PublicKeyX509Der<'a>>>(key: &T) -> Vec<u8> {
    key.as_der().expect("a public key can be written").as_ref().to_vec()
}

fn exported(pair: &RsaKeyPair) -> Vec<u8> {
    AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(pair).expect("PKCS#8").as_ref().to_vec()
}

fn foreign(kind: Kind, arguments: &[&str]) -> Arc<Key> {
    let arguments = [&["genpkey", "-outform", "DER", "-algorithm"], arguments].concat();
    let pkcs8 = openssl(&arguments, b"");
    let spki = openssl(&["pkey", "-inform", "DER", "-pubout", "-outform", "DER"], &pkcs8);
    Arc::new(Key { kind, pkcs8, spki, secret: Secret::Foreign })
}

/// Runs the openssl program, which must succeed; gives its standard output.
pub fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // A program that does not read its input closes it: nothing to worry about.
    let _ = child.stdin.take().expect("it was piped").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {complaint}");
    output.stdout
}
