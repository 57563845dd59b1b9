//! Requests that came from clients: which certificate does a CertID mean?
//!
//! A [`Request`] borrows from its bytes. A CertID names the issuer by hashes, with an algorithm of the
//! client's choice: [`IssuerName::all`] gives every way in which one issuer can be named, so that a
//! table of them answers to any.

use aws_lc_rs::digest::digest;
use der::asn1::ObjectIdentifier;
use der::{Decode, Tag, Tagged};

use super::asn1::{Extension, NONCE, OcspRequest, SingleRequest};
use super::request::HASHES;
use crate::pki::{Issued, Serial};

/// The longest request that is looked at. One about a single certificate has some 90 bytes; a signed
/// one carries its signer's chain.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// A decoded OCSPRequest (RFC 6960 §4.1.1).
///
/// Nonces and signatures are not looked at: answers made in advance are the same for everybody
/// (RFC 9919 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    questions: Vec<Question<'a>>,
}

/// What a CertID says: one certificate of one issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question<'a> {
    hash: ObjectIdentifier,
    name_hash: &'a [u8],
    key_hash: &'a [u8],
    serial: &'a [u8],
}

/// One way in which CertIDs name an issuer: by one hash algorithm, one spelling of its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerName {
    hash: ObjectIdentifier,
    name_hash: Box<[u8]>,
    key_hash: Box<[u8]>,
}

/// Why bytes are no OCSP request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_BYTES`].
    #[error("is {found} bytes long, {limit} are the limit")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Not DER, or not the ASN.1 of RFC 6960.
    #[error("is not an OCSP request: {0}")]
    Malformed(String),
    /// Something else than version 1.
    #[error("is of version {found}, only version 1 is defined")]
    OtherVersion {
        /// Its version, counted from 1 as people do.
        found: u16,
    },
    /// It asks nothing.
    #[error("asks about no certificate")]
    Empty,
    /// RFC 6960 §4.4: what is critical and not understood must not be passed over.
    #[error("has the critical extension {oid}, which is not understood here")]
    UnknownCritical {
        /// Its OID.
        oid: String,
    },
}

impl From<der::Error> for RequestError {
    fn from(error: der::Error) -> Self {
        RequestError::Malformed(error.to_string())
    }
}

impl<'a> Request<'a> {
    /// Decodes a DER OCSPRequest. Allocates no more than a small multiple of the input's length.
    ///
    /// # Errors
    /// Bytes that are no such thing, BER, bytes behind the end, more than [`MAX_REQUEST_BYTES`].
    pub fn decode(der: &'a [u8]) -> Result<Request<'a>, RequestError> {
        if der.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong { found: der.len(), limit: MAX_REQUEST_BYTES });
        }
        let asked = OcspRequest::from_der(der)?.asked;
        if let Some(version) = asked.version.filter(|version| *version != 0) {
            return Err(RequestError::OtherVersion { found: u16::from(version) + 1 });
        }
        understood(asked.extensions.as_deref())?;
        let questions: Vec<_> = asked.list.iter().map(Question::of).collect::<Result<_, _>>()?;
        if questions.is_empty() {
            return Err(RequestError::Empty);
        }
        Ok(Request { questions })
    }

    /// The certificates that it asks about, in its order; never empty.
    pub fn questions(&self) -> &[Question<'a>] {
        &self.questions
    }
}

impl<'a> Question<'a> {
    fn of(single: &SingleRequest<'a>) -> Result<Self, RequestError> {
        understood(single.extensions.as_deref())?;
        let id = &single.cert_id;
        if id.serial.tag() != Tag::Integer || id.serial.value().is_empty() {
            return Err(RequestError::Malformed("a serial number is no INTEGER".to_owned()));
        }
        Ok(Question {
            hash: id.hash.oid,
            name_hash: id.issuer_name_hash,
            key_hash: id.issuer_key_hash,
            serial: id.serial.value(),
        })
    }

    /// Of the certificate.
    pub fn serial(&self) -> Serial {
        Serial::from_integer(self.serial)
    }

    /// The hash of the issuer's key, by whatever algorithm.
    pub fn issuer_key_hash(&self) -> &'a [u8] {
        self.key_hash
    }
}

impl IssuerName {
    /// Every way in which a CertID can name the issuer of `issued`: SHA-1 and the SHA-2 family, over the
    /// name as the leaf spells it and as the issuer spells it itself.
    pub fn all(issued: &Issued) -> Vec<IssuerName> {
        let mut names: Vec<IssuerName> = Vec::with_capacity(HASHES.len());
        for (hash, algorithm) in HASHES {
            let key_hash = digest(algorithm, issued.issuer.public_key_bits());
            for spelling in [issued.leaf.issuer_der(), issued.issuer.subject_der()] {
                let name = IssuerName {
                    hash: *hash,
                    name_hash: digest(algorithm, spelling).as_ref().into(),
                    key_hash: key_hash.as_ref().into(),
                };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The hash of its key.
    pub fn key_hash(&self) -> &[u8] {
        &self.key_hash
    }

    /// Whether `question` is about a certificate of this issuer.
    pub fn is_meant_by(&self, question: &Question<'_>) -> bool {
        *self.key_hash == *question.key_hash
            && *self.name_hash == *question.name_hash
            && self.hash == question.hash
    }
}

fn understood(extensions: Option<&[Extension<'_>]>) -> Result<(), RequestError> {
    let mut critical =
        extensions.unwrap_or_default().iter().filter(|one| one.critical == Some(true));
    match critical.find(|extension| extension.oid != NONCE) {
        None => Ok(()),
        Some(extension) => Err(RequestError::UnknownCritical { oid: extension.oid.to_string() }),
    }
}
