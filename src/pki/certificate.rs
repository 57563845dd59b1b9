//! One X.509 certificate: its DER, where the parts lie in it, and a few facts.
//!
//! Ten thousand of these are kept in memory, so everything that is asked for rarely is read from
//! the DER when asked for.

use std::fmt;
use std::ops::Range;

use der::asn1::BitStringRef;
use der::{Reader, SliceReader, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::extensions::{self, SigningRights, TlsFeature};
use super::key::KeyType;
use super::name::name_text;
use super::serial::Serial;
use crate::digest::{Digest, Fingerprint};
use crate::time::UnixTime;

/// An X.509 certificate, owned. Two are equal when their bytes are.
#[derive(Clone)]
pub struct Certificate {
    der: Box<[u8]>,
    fingerprint: Fingerprint,
    parts: Parts,
    not_before: UnixTime,
    not_after: UnixTime,
    is_ca: bool,
    tls_feature: TlsFeature,
}

/// Why bytes are no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not DER, or not an X.509 certificate.
    #[error("is not a DER certificate: {0}")]
    Malformed(String),
    /// Something follows the certificate.
    #[error("{0} bytes follow the certificate")]
    TrailingBytes(usize),
    /// RFC 5280 §4.1.1.2: the algorithm is named twice, inside and outside what is signed.
    #[error(
        "names two signature algorithms, {inside} inside the signed part and {outside} outside"
    )]
    TwoAlgorithms {
        /// OID inside the signed part.
        inside: String,
        /// OID next to the signature.
        outside: String,
    },
}

/// Where in the DER the parts lie.
#[derive(Clone)]
struct Parts {
    /// The signed part, with its header.
    signed: Span,
    /// The INTEGER's contents.
    serial: Span,
    issuer: Span,
    subject: Span,
    spki: Span,
    /// The BIT STRING's contents, without the byte that counts unused bits.
    key_bits: Span,
    /// The AlgorithmIdentifier next to the signature.
    algorithm: Span,
    /// The BIT STRING's contents.
    signature: Span,
    /// The extension authorityInfoAccess, its value: asked of every certificate at each start.
    access: Option<Span>,
    /// The OCTET STRING's contents in authorityKeyIdentifier, likewise.
    authority_key: Option<Span>,
}

impl Certificate {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// Bytes that are no certificate, more than one certificate, or two signature algorithms.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = |cause: String| CertificateError::Malformed(cause);
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| malformed(cause(&error)))?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingBytes(rest.len()));
        }
        let inside = &parsed.tbs_certificate.signature.algorithm;
        let outside = &parsed.signature_algorithm.algorithm;
        if inside != outside {
            let (inside, outside) = (inside.to_id_string(), outside.to_id_string());
            return Err(CertificateError::TwoAlgorithms { inside, outside });
        }
        let outer = Outer::from_der(der).map_err(|error| malformed(error.to_string()))?;
        let parts = Parts::of(der, &parsed, &outer)
            .ok_or_else(|| malformed("its parts do not follow one another".to_owned()))?;
        Ok(Certificate {
            fingerprint: Digest::of(der),
            not_before: UnixTime::from_secs(parsed.validity().not_before.timestamp()),
            not_after: UnixTime::from_secs(parsed.validity().not_after.timestamp()),
            is_ca: extensions::is_ca(&parsed),
            tls_feature: extensions::tls_feature(&parsed),
            parts,
            der: der.into(),
        })
    }

    /// The DER, as it was read.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The subject as RFC 4514 text, most specific part first.
    pub fn subject(&self) -> String {
        name_text(self.subject_der())
    }

    /// The issuer's name as RFC 4514 text, most specific part first.
    pub fn issuer(&self) -> String {
        name_text(self.issuer_der())
    }

    /// The subject's DER Name, as encoded.
    pub fn subject_der(&self) -> &[u8] {
        self.part(&self.parts.subject)
    }

    /// The issuer's DER Name, as encoded.
    pub fn issuer_der(&self) -> &[u8] {
        self.part(&self.parts.issuer)
    }

    /// The serial number.
    pub fn serial(&self) -> Serial {
        Serial::from_integer(self.part(&self.parts.serial))
    }

    /// The DER SubjectPublicKeyInfo, as encoded.
    pub fn spki_der(&self) -> &[u8] {
        self.part(&self.parts.spki)
    }

    /// The contents of the key's BIT STRING without the count of unused bits: what issuerKeyHash
    /// and a ResponderID by key are taken over (RFC 6960 §4.1.1).
    pub fn public_key_bits(&self) -> &[u8] {
        self.part(&self.parts.key_bits)
    }

    /// Start of validity, UTC.
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// End of validity, UTC; this second still belongs to it.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The kind of its key.
    pub fn key_type(&self) -> KeyType {
        KeyType::of(self.spki_der())
    }

    /// Whether basicConstraints make it a CA.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Whether issuer and subject are the same name, byte for byte.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der() == self.issuer_der()
    }

    /// What servers must offer with it (RFC 7633).
    pub fn tls_feature(&self) -> TlsFeature {
        self.tls_feature
    }

    /// Whether clients may refuse it without a staple: TLS feature 5.
    pub fn must_staple(&self) -> bool {
        self.tls_feature.status_request
    }

    /// The names it is for: dNSName and iPAddress alternative names, without any the common name.
    pub fn names(&self) -> Vec<String> {
        self.parsed(extensions::names)
    }

    /// Where to ask for its status: the OCSP locations of AIA in their order, any scheme.
    pub fn ocsp_urls(&self) -> Vec<String> {
        self.access(extensions::ocsp_urls)
    }

    /// Where its issuer's certificate can be fetched: the caIssuers locations of AIA, any scheme.
    pub fn ca_issuers_urls(&self) -> Vec<String> {
        self.access(extensions::ca_issuers_urls)
    }

    /// The subject key identifier, where it has one.
    pub fn subject_key_id(&self) -> Option<Vec<u8>> {
        self.parsed(extensions::subject_key_id)
    }

    /// The key identifier of its issuer, where it says one.
    pub fn authority_key_id(&self) -> Option<Vec<u8>> {
        self.parts.authority_key.map(|span| self.der[span.range()].to_vec())
    }

    /// What its extensions let its key sign.
    pub fn signing_rights(&self) -> SigningRights {
        self.parsed(extensions::signing_rights)
    }

    /// What its issuer signed: tbsCertificate, as encoded.
    pub fn signed_part(&self) -> &[u8] {
        self.part(&self.parts.signed)
    }

    /// The DER AlgorithmIdentifier of its signature.
    pub fn signature_algorithm_der(&self) -> &[u8] {
        self.part(&self.parts.algorithm)
    }

    /// The signature's bytes.
    pub fn signature(&self) -> &[u8] {
        self.part(&self.parts.signature)
    }

    fn part(&self, span: &Span) -> &[u8] {
        &self.der[span.range()]
    }

    fn access(&self, read: impl FnOnce(&[u8]) -> Vec<String>) -> Vec<String> {
        self.parts.access.map(|span| read(&self.der[span.range()])).unwrap_or_default()
    }

    fn parsed<T>(&self, read: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
        let parsed = X509Certificate::from_der(&self.der);
        let (_, certificate) = parsed.expect("these bytes were parsed when they were read");
        read(&certificate)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, serial {})", self.subject(), self.serial())
    }
}

impl Parts {
    fn of(der: &[u8], parsed: &X509Certificate<'_>, outer: &Outer<'_>) -> Option<Self> {
        let place = |part: &[u8]| Span::of(der, part);
        // Both readers must mean the same bytes: what is signed is what is read.
        if parsed.tbs_certificate.as_ref() != outer.signed {
            return None;
        }
        Some(Parts {
            signed: place(outer.signed)?,
            serial: place(parsed.raw_serial())?,
            issuer: place(parsed.issuer().as_raw())?,
            subject: place(parsed.subject().as_raw())?,
            spki: place(parsed.public_key().raw)?,
            key_bits: place(parsed.public_key().subject_public_key.data.as_ref())?,
            algorithm: place(outer.algorithm)?,
            signature: place(outer.signature)?,
            access: extensions::access(parsed).and_then(place),
            authority_key: extensions::authority_key_id(parsed).and_then(place),
        })
    }
}

/// The three parts of a certificate, read as strict DER: what is outside the signature must not
/// be writable in two ways, and x509-parser forgives much.
struct Outer<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Outer<'a> {
    fn from_der(der: &'a [u8]) -> der::Result<Self> {
        SliceReader::new(der)?.sequence(|fields| {
            let signed = fields.tlv_bytes()?;
            let algorithm = fields.tlv_bytes()?;
            let signature: BitStringRef<'_> = fields.decode()?;
            let signature = signature.as_bytes().ok_or(Tag::BitString.value_error())?;
            Ok(Outer { signed, algorithm, signature })
        })
    }
}

/// A stretch of the DER; half the size of a `Range<usize>`.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part`, which was borrowed from `whole`, lies in it.
    fn of(whole: &[u8], part: &[u8]) -> Option<Span> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        if end > whole.len() {
            return None;
        }
        Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// x509-parser's words, without the wrapping.
fn cause(error: &x509_parser::nom::Err<x509_parser::error::X509Error>) -> String {
    match error {
        x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => {
            error.to_string()
        }
        x509_parser::nom::Err::Incomplete(_) => "it is cut short".to_owned(),
    }
}
