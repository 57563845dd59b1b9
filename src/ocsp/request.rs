//! OCSP requests: one certificate, unsigned, no extension but the nonce (RFC 9919 §3.1).

use std::fmt;

use aws_lc_rs::digest::{self, Algorithm};
use der::asn1::ObjectIdentifier;
use serde::{Deserialize, Serialize};

use super::asn1::NONCE;
use crate::pki::{Certificate, Issued};

/// The hash that names the issuer in a request. It names and protects nothing, so SHA-1 is fine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertIdHash {
    /// What every responder knows, and the only one that Firefox takes from a staple.
    #[default]
    Sha1,
    /// RFC 9919 §3.1.1; some responders answer `unauthorized` to it.
    Sha256,
}

impl fmt::Display for CertIdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CertIdHash::Sha1 => "sha1",
            CertIdHash::Sha256 => "sha256",
        })
    }
}

/// Hashes that may name an issuer, by OID: SHA-1 and the SHA-2 family.
pub(super) const HASHES: &[(ObjectIdentifier, &Algorithm)] = &[
    (ObjectIdentifier::new_unwrap("1.3.14.3.2.26"), &digest::SHA1_FOR_LEGACY_USE_ONLY),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), &digest::SHA256),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), &digest::SHA384),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), &digest::SHA512),
];

/// The hash with this OID, if it is one that may name an issuer.
pub(super) fn hash_by_oid(oid: &ObjectIdentifier) -> Option<&'static Algorithm> {
    HASHES.iter().find(|(known, _)| known == oid).map(|(_, algorithm)| *algorithm)
}

/// issuerNameHash: over the issuer's name as the leaf has it (RFC 6960 §4.1.1).
pub(super) fn name_hash(algorithm: &'static Algorithm, leaf: &Certificate) -> digest::Digest {
    digest::digest(algorithm, leaf.issuer_der())
}

/// issuerKeyHash: over the contents of the issuer's key BIT STRING.
pub(super) fn key_hash(algorithm: &'static Algorithm, issuer: &Certificate) -> digest::Digest {
    digest::digest(algorithm, issuer.public_key_bits())
}

/// Makes the DER OCSPRequest that asks about `issued`.
///
/// Byte for byte what `openssl ocsp -reqout` writes. `nonce` is the bare value, RFC 9654 wants 32
/// bytes; without one, the answer can come from a cache.
pub fn request(issued: &Issued, hash: CertIdHash, nonce: Option<&[u8]>) -> Vec<u8> {
    let (algorithm, oid): (_, &[u8]) = match hash {
        CertIdHash::Sha1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, &[0x2b, 0x0e, 0x03, 0x02, 0x1a]),
        CertIdHash::Sha256 => {
            (&digest::SHA256, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01])
        }
    };
    let hash_id = element(SEQUENCE, &[&element(OID, &[oid]), &element(NULL, &[])]);
    let name = element(OCTET_STRING, &[name_hash(algorithm, &issued.leaf).as_ref()]);
    let key = element(OCTET_STRING, &[key_hash(algorithm, &issued.issuer).as_ref()]);
    let serial = element(INTEGER, &[issued.leaf.serial().as_integer()]);
    let cert_id = element(SEQUENCE, &[&hash_id, &name, &key, &serial]);
    let list = element(SEQUENCE, &[&element(SEQUENCE, &[&cert_id])]);
    let extensions = nonce.map_or_else(Vec::new, |nonce| {
        let value = element(OCTET_STRING, &[&element(OCTET_STRING, &[nonce])]);
        let extension = element(SEQUENCE, &[&element(OID, &[NONCE.as_bytes()]), &value]);
        element(EXTENSIONS, &[&element(SEQUENCE, &[&extension])])
    });
    element(SEQUENCE, &[&element(SEQUENCE, &[&list, &extensions])])
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[2] EXPLICIT`.
const EXTENSIONS: u8 = 0xa2;

/// One DER element around its parts.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = Vec::with_capacity(length + 6);
    der.push(tag);
    let bytes = length.to_be_bytes();
    let significant = &bytes[(length.leading_zeros() / 8) as usize..];
    match significant {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        long => {
            der.push(0x80 | u8::try_from(long.len()).expect("a usize has at most 8 bytes"));
            der.extend_from_slice(long);
        }
    }
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}
