//! Kinds of public keys.

use std::fmt;

use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode, Reader, SliceReader};
use spki::SubjectPublicKeyInfoRef;

/// The kind of a public key; prints as people call it: `RSA-2048`, `P-256`, `Ed25519`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyType {
    /// RSA, by the length of its modulus in bits.
    Rsa(u32),
    /// NIST P-256, also called secp256r1 and prime256v1.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// RFC 8410.
    Ed25519,
    /// RFC 8410.
    Ed448,
    /// FIPS 204, by its parameter set: 44, 65 or 87.
    MlDsa(u8),
    /// Anything else, by the OID of its algorithm or curve.
    Other(ObjectIdentifier),
    /// Bytes that are no SubjectPublicKeyInfo.
    Unreadable,
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const NAMED: &[(ObjectIdentifier, KeyType)] = &[
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), KeyType::P256),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), KeyType::P384),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), KeyType::P521),
    (ObjectIdentifier::new_unwrap("1.3.101.112"), KeyType::Ed25519),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), KeyType::Ed448),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"), KeyType::MlDsa(44)),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"), KeyType::MlDsa(65)),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"), KeyType::MlDsa(87)),
];

impl KeyType {
    /// Reads the kind off a DER SubjectPublicKeyInfo.
    pub fn of(spki_der: &[u8]) -> Self {
        let Ok(key) = SubjectPublicKeyInfoRef::from_der(spki_der) else {
            return KeyType::Unreadable;
        };
        let oid = key.algorithm.oid;
        if oid == RSA || oid == RSA_PSS {
            let bits = key.subject_public_key.as_bytes().and_then(modulus_bits);
            return bits.map_or(KeyType::Unreadable, KeyType::Rsa);
        }
        let named = if oid == EC {
            let curve = key.algorithm.parameters;
            // Curves spelled out by their parameters stay `Other`: nobody should take them.
            curve.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok()).unwrap_or(EC)
        } else {
            oid
        };
        let known = NAMED.iter().find(|(oid, _)| *oid == named);
        known.map_or(KeyType::Other(named), |(_, kind)| *kind)
    }
}

/// The length of the modulus in a DER RSAPublicKey.
fn modulus_bits(key: &[u8]) -> Option<u32> {
    let mut reader = SliceReader::new(key).ok()?;
    reader
        .sequence(|fields| {
            let modulus: UintRef<'_> = fields.decode()?;
            let _exponent: UintRef<'_> = fields.decode()?;
            let bytes = modulus.as_bytes();
            let unused = bytes.first().map_or(0, |first| first.leading_zeros());
            let bits = u32::try_from(bytes.len() * 8).map_err(|_| der::ErrorKind::Overflow)?;
            Ok::<_, der::Error>(bits.saturating_sub(unused))
        })
        .ok()
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyType::Rsa(bits) => write!(f, "RSA-{bits}"),
            KeyType::P256 => f.write_str("P-256"),
            KeyType::P384 => f.write_str("P-384"),
            KeyType::P521 => f.write_str("P-521"),
            KeyType::Ed25519 => f.write_str("Ed25519"),
            KeyType::Ed448 => f.write_str("Ed448"),
            KeyType::MlDsa(set) => write!(f, "ML-DSA-{set}"),
            KeyType::Other(oid) => oid.fmt(f),
            KeyType::Unreadable => f.write_str("unreadable"),
        }
    }
}
