//! Signature checks for certificates and OCSP responses: the one place that calls aws-lc-rs for it.
//!
//! | key | with |
//! | --- | --- |
//! | RSA, 2048 to 8192 bits | PKCS#1 v1.5 with SHA-256, 384, 512; PSS with the same and any salt |
//! | P-256, P-384, P-521 | ECDSA with SHA-256, 384, 512 |
//! | Ed25519 | itself |
//! | ML-DSA-44, 65, 87 | itself |
//!
//! SHA-1 (RSA PKCS#1, ECDSA with P-256 and P-521) only where it is allowed.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::signature::{self as aws, RsaParameters, RsaPssSaltLength, VerificationAlgorithm};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Sequence};
use spki::AlgorithmIdentifierRef;

use super::key::KeyType;
use crate::digest::Digest;

/// Why a signature was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature is not one of this key over this message.
    #[error("the {algorithm} signature does not verify with the {key} key")]
    BadSignature {
        /// By name.
        algorithm: &'static str,
        /// That it was checked with.
        key: KeyType,
    },
    /// An algorithm that we cannot check: this says nothing about the signature.
    #[error("the signature algorithm {} is not supported", described(oid))]
    UnsupportedAlgorithm {
        /// Of the signature, or of its hash where that is the odd part.
        oid: ObjectIdentifier,
    },
    /// A known algorithm with a key, or with parameters, that it is not supported with.
    #[error("the signature algorithm {algorithm} is not supported with the {key} key")]
    UnsupportedKey {
        /// By name.
        algorithm: &'static str,
        /// That it came with.
        key: KeyType,
    },
    /// SHA-1, where it is not allowed.
    #[error("{algorithm} signatures are refused unless allow_sha1_signatures is set")]
    Sha1 {
        /// By name.
        algorithm: &'static str,
    },
    /// An RSA key that is too short to mean anything.
    #[error("the RSA key has {bits} bits, at least 2048 are needed")]
    WeakKey {
        /// Length of the modulus.
        bits: u32,
    },
    /// The AlgorithmIdentifier or its parameters cannot be read.
    #[error("the signature's AlgorithmIdentifier is malformed")]
    MalformedAlgorithm,
}

/// Checks `signature` over `message`.
///
/// `alg_der` is the DER AlgorithmIdentifier next to the signature, parameters absent or NULL alike;
/// `spki_der` the signer's DER SubjectPublicKeyInfo; `signature` the BIT STRING's contents.
///
/// # Errors
/// A bad signature, and apart from it everything that keeps it from being checked.
pub fn verify(
    alg_der: &[u8],
    spki_der: &[u8],
    message: &[u8],
    signature: &[u8],
    allow_sha1: bool,
) -> Result<(), SignatureError> {
    Checked::default().verify(alg_der, spki_der, message, signature, allow_sha1)
}

/// Signatures that were found good before, each by the SHA-256 over all that the check depends on:
/// algorithm, key, message and signature ([`identity`]).
///
/// A signature that is good stays good, so a start with thousands of certificates need not do the
/// arithmetic again. What depends on time or on settings is never remembered here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked(Arc<HashSet<Digest>>);

impl FromIterator<Digest> for Checked {
    fn from_iter<I: IntoIterator<Item = Digest>>(identities: I) -> Self {
        Checked(Arc::new(identities.into_iter().collect()))
    }
}

/// What a signature is known by in [`Checked`]; the arguments are those of [`verify`].
pub fn identity(alg_der: &[u8], spki_der: &[u8], message: &[u8], signature: &[u8]) -> Digest {
    let parts = [alg_der, spki_der, message, signature];
    let mut all = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        all.extend((part.len() as u64).to_be_bytes());
        all.extend(part);
    }
    Digest::of(&all)
}

impl Checked {
    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`verify`], without the arithmetic where it was done before.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(
        &self,
        alg_der: &[u8],
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
        allow_sha1: bool,
    ) -> Result<(), SignatureError> {
        let known =
            !self.0.is_empty() && self.0.contains(&identity(alg_der, spki_der, message, signature));
        check(alg_der, spki_der, message, signature, allow_sha1, known)
    }
}

/// `known`: the arithmetic was done before.
fn check(
    alg_der: &[u8],
    spki_der: &[u8],
    message: &[u8],
    signature: &[u8],
    allow_sha1: bool,
    known: bool,
) -> Result<(), SignatureError> {
    let identifier = AlgorithmIdentifierRef::from_der(alg_der)
        .map_err(|_| SignatureError::MalformedAlgorithm)?;
    let scheme = Scheme::of(&identifier)?;
    let key = KeyType::of(spki_der);
    match key {
        KeyType::Rsa(bits @ ..2048) => return Err(SignatureError::WeakKey { bits }),
        KeyType::Rsa(8193..) => return Err(scheme.unsupported(key)),
        _ => {}
    }
    if scheme.hash == Hash::Sha1 && !allow_sha1 {
        return Err(SignatureError::Sha1 { algorithm: scheme.name });
    }
    if known {
        return Ok(());
    }
    let valid = match (scheme.padding, key) {
        (Padding::Pss { salt }, KeyType::Rsa(_)) => {
            let parameters = pss(scheme.hash).ok_or(scheme.unsupported(key))?;
            let parameters = parameters.with_pss_salt_length(RsaPssSaltLength::Custom(salt));
            // A key of type RSASSA-PSS is to aws-lc what any RSA key is, once unwrapped.
            let bits = rsa_public_key(spki_der).ok_or(scheme.unsupported(key))?;
            parameters.verify_sig(bits, message, signature)
        }
        (Padding::Pss { .. }, _) => return Err(scheme.unsupported(key)),
        (Padding::Other, _) => {
            let algorithm = algorithm(&scheme, key).ok_or(scheme.unsupported(key))?;
            algorithm.verify_sig(spki_der, message, signature)
        }
    };
    valid.map_err(|_| SignatureError::BadSignature { algorithm: scheme.name, key })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    Ecdsa,
    Ed25519,
    MlDsa(u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    /// The scheme brings its own.
    Own,
}

#[derive(Clone, Copy)]
enum Padding {
    Pss { salt: u16 },
    Other,
}

/// What an AlgorithmIdentifier asks for.
#[derive(Clone, Copy)]
struct Scheme {
    name: &'static str,
    family: Family,
    hash: Hash,
    padding: Padding,
}

type Row = (ObjectIdentifier, &'static str, Family, Hash);

const fn row(oid: &str, name: &'static str, family: Family, hash: Hash) -> Row {
    (ObjectIdentifier::new_unwrap(oid), name, family, hash)
}

const SCHEMES: &[Row] = &[
    row("1.2.840.10045.4.3.2", "ecdsa-with-SHA256", Family::Ecdsa, Hash::Sha256),
    row("1.2.840.113549.1.1.11", "sha256WithRSAEncryption", Family::Rsa, Hash::Sha256),
    row("1.2.840.10045.4.3.3", "ecdsa-with-SHA384", Family::Ecdsa, Hash::Sha384),
    row("1.2.840.113549.1.1.12", "sha384WithRSAEncryption", Family::Rsa, Hash::Sha384),
    row("1.2.840.10045.4.3.4", "ecdsa-with-SHA512", Family::Ecdsa, Hash::Sha512),
    row("1.2.840.113549.1.1.13", "sha512WithRSAEncryption", Family::Rsa, Hash::Sha512),
    row("1.3.101.112", "Ed25519", Family::Ed25519, Hash::Own),
    row("2.16.840.1.101.3.4.3.17", "ML-DSA-44", Family::MlDsa(44), Hash::Own),
    row("2.16.840.1.101.3.4.3.18", "ML-DSA-65", Family::MlDsa(65), Hash::Own),
    row("2.16.840.1.101.3.4.3.19", "ML-DSA-87", Family::MlDsa(87), Hash::Own),
    row("1.2.840.113549.1.1.5", "sha1WithRSAEncryption", Family::Rsa, Hash::Sha1),
    // What ISO and OIW call the same.
    row("1.3.14.3.2.29", "sha1WithRSA", Family::Rsa, Hash::Sha1),
    row("1.2.840.10045.4.1", "ecdsa-with-SHA1", Family::Ecdsa, Hash::Sha1),
];

const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

impl Scheme {
    fn of(identifier: &AlgorithmIdentifierRef<'_>) -> Result<Self, SignatureError> {
        if identifier.oid == PSS {
            return Scheme::pss(identifier.parameters);
        }
        // Some responders leave the NULL out and some put one where none belongs: both are taken.
        if identifier.parameters.is_some_and(|parameters| !parameters.is_null()) {
            let known = SCHEMES.iter().any(|(oid, ..)| *oid == identifier.oid);
            return Err(match known {
                true => SignatureError::MalformedAlgorithm,
                false => SignatureError::UnsupportedAlgorithm { oid: identifier.oid },
            });
        }
        let found = SCHEMES.iter().find(|(oid, ..)| *oid == identifier.oid);
        let (_, name, family, hash) =
            *found.ok_or(SignatureError::UnsupportedAlgorithm { oid: identifier.oid })?;
        Ok(Scheme { name, family, hash, padding: Padding::Other })
    }

    /// RFC 4055 §3.1; the mask must be made with the hash that the message is, as everybody does
    /// and aws-lc does without being asked.
    fn pss(parameters: Option<AnyRef<'_>>) -> Result<Self, SignatureError> {
        let malformed = SignatureError::MalformedAlgorithm;
        let parameters = parameters.ok_or(malformed.clone())?;
        let parameters: PssParameters<'_> =
            parameters.decode_as().map_err(|_: der::Error| malformed.clone())?;
        let oid = parameters.hash.map_or(SHA1, |hash| hash.oid);
        let hash = match oid.as_bytes() {
            bytes if bytes == SHA256.as_bytes() => Hash::Sha256,
            bytes if bytes == SHA384.as_bytes() => Hash::Sha384,
            bytes if bytes == SHA512.as_bytes() => Hash::Sha512,
            _ => return Err(SignatureError::UnsupportedAlgorithm { oid }),
        };
        let mask = parameters.mask.ok_or(malformed.clone())?;
        if mask.oid != MGF1 {
            return Err(SignatureError::UnsupportedAlgorithm { oid: mask.oid });
        }
        let mask_hash =
            mask.parameters.and_then(|hash| hash.decode_as::<AlgorithmIdentifierRef<'_>>().ok());
        let mask_hash = mask_hash.ok_or(malformed.clone())?.oid;
        if mask_hash != oid {
            return Err(SignatureError::UnsupportedAlgorithm { oid: mask_hash });
        }
        if parameters.trailer.is_some_and(|trailer| trailer != 1) {
            return Err(malformed);
        }
        let salt = parameters.salt.unwrap_or(20);
        let padding = Padding::Pss { salt };
        Ok(Scheme { name: "RSASSA-PSS", family: Family::Rsa, hash, padding })
    }

    fn unsupported(&self, key: KeyType) -> SignatureError {
        SignatureError::UnsupportedKey { algorithm: self.name, key }
    }
}

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// RSASSA-PSS-params. An absent field means SHA-1, MGF1 with SHA-1, 20 and 1.
#[derive(Sequence)]
struct PssParameters<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierRef<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask: Option<AlgorithmIdentifierRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt: Option<u16>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

fn pss(hash: Hash) -> Option<RsaParameters> {
    Some(match hash {
        Hash::Sha256 => aws::RSA_PSS_2048_8192_SHA256,
        Hash::Sha384 => aws::RSA_PSS_2048_8192_SHA384,
        Hash::Sha512 => aws::RSA_PSS_2048_8192_SHA512,
        Hash::Sha1 | Hash::Own => return None,
    })
}

fn algorithm(scheme: &Scheme, key: KeyType) -> Option<&'static dyn VerificationAlgorithm> {
    use {Family as F, Hash as H, KeyType as K};
    Some(match (scheme.family, scheme.hash, key) {
        (F::Ecdsa, H::Sha256, K::P256) => &aws::ECDSA_P256_SHA256_ASN1,
        (F::Ecdsa, H::Sha384, K::P256) => &aws::ECDSA_P256_SHA384_ASN1,
        (F::Ecdsa, H::Sha512, K::P256) => &aws::ECDSA_P256_SHA512_ASN1,
        (F::Ecdsa, H::Sha256, K::P384) => &aws::ECDSA_P384_SHA256_ASN1,
        (F::Ecdsa, H::Sha384, K::P384) => &aws::ECDSA_P384_SHA384_ASN1,
        (F::Ecdsa, H::Sha512, K::P384) => &aws::ECDSA_P384_SHA512_ASN1,
        (F::Ecdsa, H::Sha256, K::P521) => &aws::ECDSA_P521_SHA256_ASN1,
        (F::Ecdsa, H::Sha384, K::P521) => &aws::ECDSA_P521_SHA384_ASN1,
        (F::Ecdsa, H::Sha512, K::P521) => &aws::ECDSA_P521_SHA512_ASN1,
        (F::Ecdsa, H::Sha1, K::P256) => &aws::ECDSA_P256_SHA1_ASN1,
        (F::Ecdsa, H::Sha1, K::P521) => &aws::ECDSA_P521_SHA1_ASN1,
        (F::Rsa, H::Sha256, K::Rsa(_)) => &aws::RSA_PKCS1_2048_8192_SHA256,
        (F::Rsa, H::Sha384, K::Rsa(_)) => &aws::RSA_PKCS1_2048_8192_SHA384,
        (F::Rsa, H::Sha512, K::Rsa(_)) => &aws::RSA_PKCS1_2048_8192_SHA512,
        (F::Rsa, H::Sha1, K::Rsa(_)) => &aws::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (F::Ed25519, _, K::Ed25519) => &aws::ED25519,
        (F::MlDsa(44), _, K::MlDsa(44)) => &aws::ML_DSA_44,
        (F::MlDsa(65), _, K::MlDsa(65)) => &aws::ML_DSA_65,
        (F::MlDsa(87), _, K::MlDsa(87)) => &aws::ML_DSA_87,
        _ => return None,
    })
}

/// The RSAPublicKey inside a SubjectPublicKeyInfo.
fn rsa_public_key(spki_der: &[u8]) -> Option<&[u8]> {
    spki::SubjectPublicKeyInfoRef::from_der(spki_der).ok()?.subject_public_key.as_bytes()
}

/// An OID with the name people know it by, for algorithms that are refused.
fn described(oid: &ObjectIdentifier) -> String {
    let name = match oid.to_string().as_str() {
        "1.2.840.113549.1.1.2" => "md2WithRSAEncryption",
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption",
        "1.2.840.113549.1.1.14" => "sha224WithRSAEncryption",
        "1.2.840.10045.4.3.1" => "ecdsa-with-SHA224",
        "1.2.840.10040.4.3" => "dsa-with-SHA1",
        "2.16.840.1.101.3.4.3.2" => "dsa-with-SHA256",
        "1.3.14.3.2.26" => "RSASSA-PSS with SHA-1",
        "1.3.101.113" => "Ed448",
        _ => return oid.to_string(),
    };
    format!("{name} ({oid})")
}
