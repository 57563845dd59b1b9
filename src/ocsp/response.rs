//! Responses: bytes from a stranger, decoded and not believed yet.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use der::asn1::{GeneralizedTime, ObjectIdentifier, OctetStringRef};
use der::{Decode, ErrorKind, Tag, Tagged};

use super::Status;
use super::asn1::{
    self, BasicResponse, CertStatus, CrlReason, OcspResponse, ResponderRef, ResponseData,
    SingleResponse,
};
use super::request::{CertIdHash, HASHES};
use crate::pki::{Serial, name_text};
use crate::time::UnixTime;

/// The longest response that is looked at: 64 KiB. No server could staple more than that.
pub const MAX_BYTES: usize = 64 * 1024;

/// A decoded response, unproven: [`verify`](super::verify()) makes a staple of it.
///
/// The bytes are kept as received, since servers staple them unchanged. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    der: Arc<[u8]>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// An unsigned refusal.
    Unsuccessful(ResponseStatus),
    Basic(Arc<Basic>),
}

/// What a successful response holds; the ranges lie in [`Response::der`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Basic {
    pub(super) signed: Range<usize>,
    pub(super) algorithm: Range<usize>,
    pub(super) signature: Range<usize>,
    pub(super) certificates: Vec<Range<usize>>,
    pub(super) responder: Responder,
    pub(super) produced_at: UnixTime,
    pub(super) answers: Vec<Answer>,
    pub(super) nonce: Option<Vec<u8>>,
    pub(super) unknown_critical: Option<ObjectIdentifier>,
}

/// ResponderID: who says to have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Responder {
    /// A DER Name.
    Name(Box<[u8]>),
    /// The SHA-1 of the key's bits.
    Key(Box<[u8]>),
}

/// One SingleResponse: what the response says about one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose status.
    pub serial: Serial,
    /// Its status.
    pub status: Status,
    /// When and why it was revoked, where it was.
    pub revocation: Option<Revocation>,
    /// From when on this is known to be right, UTC.
    pub this_update: UnixTime,
    /// When newer information will be there at the latest, UTC.
    pub next_update: Option<UnixTime>,
    pub(super) hash: ObjectIdentifier,
    pub(super) issuer_name_hash: Box<[u8]>,
    pub(super) issuer_key_hash: Box<[u8]>,
    pub(super) unknown_critical: Option<ObjectIdentifier>,
}

impl Answer {
    /// What its CertID is hashed by (RFC 6960 §4.1.1); `None` for a hash without a name here.
    pub fn cert_id_hash(&self) -> Option<CertIdHash> {
        let [sha1, sha256, ..] = HASHES else { return None };
        match self.hash {
            oid if oid == sha1.0 => Some(CertIdHash::Sha1),
            oid if oid == sha256.0 => Some(CertIdHash::Sha256),
            _ => None,
        }
    }
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Since when, UTC.
    pub time: UnixTime,
    /// Why, where it is said.
    pub reason: Option<Reason>,
}

/// CRLReason (RFC 5280 §5.3.1); prints as the RFC spells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(CrlReason);

/// OCSPResponseStatus (RFC 6960 §4.2.1); prints as the RFC spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseStatus {
    /// There is an answer.
    Successful,
    /// The request was not understood.
    MalformedRequest,
    /// The responder is broken.
    InternalError,
    /// The responder is busy.
    TryLater,
    /// Requests must be signed.
    SigRequired,
    /// The responder does not speak for this certificate, or not to us.
    Unauthorized,
}

/// Why bytes are no OCSP response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_BYTES`].
    #[error("is {found} bytes long, {limit} are the limit")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a single byte.
    #[error("is empty")]
    Empty,
    /// A web page: a proxy, a portal or a server that is no responder.
    #[error("is a web page; does something stand between us and the responder?")]
    WebPage,
    /// It does not begin as DER does.
    #[error("is not DER: it begins with {0}")]
    NotDer(String),
    /// It ends before it should.
    #[error("is cut short: {needed} bytes were announced, {found} are there")]
    Truncated {
        /// By its lengths.
        needed: u64,
        /// That came.
        found: u64,
    },
    /// Something follows it, or follows one of its parts.
    #[error("has bytes behind its end, or behind that of one of its parts ({0} too many)")]
    TrailingBytes(u64),
    /// BER where DER is demanded, such as an indefinite length.
    #[error("is BER, not DER: {0}")]
    Ber(&'static str),
    /// Not ASN.1, or not the ASN.1 of RFC 6960.
    #[error("is not an OCSP response: {0}")]
    Malformed(String),
    /// A status that RFC 6960 does not know.
    #[error("has the response status {0}, which RFC 6960 does not define")]
    UnknownStatus(u64),
    /// `successful`, and nothing behind it.
    #[error("says successful and holds no answer")]
    NoBody,
    /// Something else than `id-pkix-ocsp-basic`.
    #[error("is of type {found}, not id-pkix-ocsp-basic")]
    OtherType {
        /// Its OID.
        found: String,
    },
    /// Something else than version 1.
    #[error("is of version {found}, only version 1 is defined")]
    OtherVersion {
        /// Its version, counted from 1 as people do.
        found: u16,
    },
}

impl Response {
    /// Decodes a DER OCSPResponse (RFC 6960 §4.2.1).
    ///
    /// An unsuccessful status is a value, not an error. Allocates no more than a small multiple of
    /// the input's length.
    ///
    /// # Errors
    /// Bytes that are no such thing, BER, bytes behind the end, more than [`MAX_BYTES`].
    pub fn decode(der: &[u8]) -> Result<Response, DecodeError> {
        if der.len() > MAX_BYTES {
            return Err(DecodeError::TooLong { found: der.len(), limit: MAX_BYTES });
        }
        look_like_der(der)?;
        let outer = OcspResponse::from_der(der)?;
        let status = ResponseStatus::of(&outer)?;
        let content = match (status, outer.body) {
            (ResponseStatus::Successful, None) => return Err(DecodeError::NoBody),
            (ResponseStatus::Successful, Some(body)) => {
                if body.response_type != asn1::BASIC {
                    let found = body.response_type.to_string();
                    return Err(DecodeError::OtherType { found });
                }
                Content::Basic(Arc::new(Basic::decode(der, body.response)?))
            }
            (refusal, _) => Content::Unsuccessful(refusal),
        };
        Ok(Response { der: der.into(), content })
    }

    /// The bytes as received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether there is an answer, or why there is none.
    pub fn status(&self) -> ResponseStatus {
        match &self.content {
            Content::Unsuccessful(status) => *status,
            Content::Basic(_) => ResponseStatus::Successful,
        }
    }

    /// What it says about certificates, in its order; unproven. Empty for an unsuccessful one.
    pub fn answers(&self) -> &[Answer] {
        self.basic().map_or(&[], |basic| &basic.answers)
    }

    /// When it says to have been signed, UTC; unproven.
    pub fn produced_at(&self) -> Option<UnixTime> {
        self.basic().map(|basic| basic.produced_at)
    }

    /// Who it says to have signed it: a name, or `key` and the hex of its SHA-1; unproven.
    pub fn responder(&self) -> Option<String> {
        self.basic().map(|basic| basic.responder.to_string())
    }

    pub(super) fn basic(&self) -> Option<&Basic> {
        match &self.content {
            Content::Unsuccessful(_) => None,
            Content::Basic(basic) => Some(basic),
        }
    }

    pub(super) fn shared_der(&self) -> Arc<[u8]> {
        self.der.clone()
    }
}

/// Turns away what is not even meant to be DER, with better words than a parser has.
fn look_like_der(bytes: &[u8]) -> Result<(), DecodeError> {
    match bytes.trim_ascii_start() {
        [] => Err(DecodeError::Empty),
        [b'<', ..] => Err(DecodeError::WebPage),
        _ if bytes.first() == Some(&0x30) => Ok(()),
        _ => {
            let first: Vec<String> =
                bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            Err(DecodeError::NotDer(first.join(" ")))
        }
    }
}

impl Basic {
    /// Decodes `bytes`, which are a part of `whole`.
    fn decode(whole: &[u8], bytes: &[u8]) -> Result<Self, DecodeError> {
        let basic = BasicResponse::from_der(bytes)?;
        let data = ResponseData::from_der(basic.signed)?;
        if let Some(version) = data.version.filter(|version| *version != 0) {
            return Err(DecodeError::OtherVersion { found: u16::from(version) + 1 });
        }
        let responder = match ResponderRef::try_from(data.responder)? {
            ResponderRef::Name(name) => Responder::Name(name.into()),
            ResponderRef::Key(key) => Responder::Key(key.into()),
        };
        let extensions = data.extensions.unwrap_or_default();
        let nonce = extensions.iter().find(|extension| extension.oid == asn1::NONCE);
        let known = [asn1::NONCE];
        let place = |part: &[u8]| place_in(whole, part);
        Ok(Basic {
            signed: place(basic.signed),
            algorithm: place(basic.algorithm),
            signature: place(basic.signature),
            certificates: basic.certificates.iter().map(|der| place(der)).collect(),
            responder,
            produced_at: instant(data.produced_at),
            answers: data.answers.iter().map(Answer::of).collect::<Result<_, _>>()?,
            nonce: nonce.map(|extension| nonce_value(extension.value)),
            unknown_critical: first_unknown_critical(&extensions, &known),
        })
    }
}

impl Answer {
    fn of(single: &SingleResponse<'_>) -> Result<Self, DecodeError> {
        let serial = single.cert_id.serial;
        if serial.tag() != Tag::Integer || serial.value().is_empty() {
            return Err(DecodeError::Malformed("a serial number is no INTEGER".to_owned()));
        }
        let (status, revocation) = match &single.status {
            CertStatus::Good(_) => (Status::Good, None),
            CertStatus::Unknown(_) => (Status::Unknown, None),
            CertStatus::Revoked(info) => {
                let reason = info.reason.map(Reason);
                (Status::Revoked, Some(Revocation { time: instant(info.time), reason }))
            }
        };
        let extensions = single.extensions.as_deref().unwrap_or_default();
        Ok(Answer {
            serial: Serial::from_integer(serial.value()),
            status,
            revocation,
            this_update: instant(single.this_update),
            next_update: single.next_update.map(instant),
            hash: single.cert_id.hash.oid,
            issuer_name_hash: single.cert_id.issuer_name_hash.into(),
            issuer_key_hash: single.cert_id.issuer_key_hash.into(),
            unknown_critical: first_unknown_critical(extensions, INFORMATIVE),
        })
    }
}

/// Extensions of an answer that tell where the status comes from and change nothing in it.
const INFORMATIVE: &[ObjectIdentifier] = &[
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.3"), // CRL references
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.6"), // archive cutoff
    ObjectIdentifier::new_unwrap("2.5.29.21"),            // reasonCode
    ObjectIdentifier::new_unwrap("2.5.29.24"),            // invalidityDate
];

fn first_unknown_critical(
    extensions: &[asn1::Extension<'_>],
    known: &[ObjectIdentifier],
) -> Option<ObjectIdentifier> {
    let critical = extensions.iter().filter(|extension| extension.critical == Some(true));
    critical.map(|extension| extension.oid).find(|oid| !known.contains(oid))
}

/// The nonce inside its extension; RFC 2560 left open whether an OCTET STRING wraps it.
fn nonce_value(value: &[u8]) -> Vec<u8> {
    <&OctetStringRef>::from_der(value).map_or(value, OctetStringRef::as_bytes).to_vec()
}

fn instant(time: GeneralizedTime) -> UnixTime {
    // The years 1970 to 9999, which is what `der` takes, fit by far.
    UnixTime::from_secs(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

/// Where `part`, which was borrowed from `whole`, lies in it.
fn place_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

impl ResponseStatus {
    fn of(response: &OcspResponse<'_>) -> Result<Self, DecodeError> {
        match response.status.0 {
            [0] => Ok(ResponseStatus::Successful),
            [1] => Ok(ResponseStatus::MalformedRequest),
            [2] => Ok(ResponseStatus::InternalError),
            [3] => Ok(ResponseStatus::TryLater),
            [5] => Ok(ResponseStatus::SigRequired),
            [6] => Ok(ResponseStatus::Unauthorized),
            bytes => {
                let last = bytes.iter().rev().take(8).rev();
                Err(DecodeError::UnknownStatus(
                    last.fold(0, |number, byte| number << 8 | u64::from(*byte)),
                ))
            }
        }
    }
}

impl fmt::Display for ResponseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseStatus::Successful => "successful",
            ResponseStatus::MalformedRequest => "malformedRequest",
            ResponseStatus::InternalError => "internalError",
            ResponseStatus::TryLater => "tryLater",
            ResponseStatus::SigRequired => "sigRequired",
            ResponseStatus::Unauthorized => "unauthorized",
        })
    }
}

impl fmt::Display for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Responder::Name(name) => f.write_str(&name_text(name)),
            Responder::Key(hash) => write!(f, "key {}", super::rejection::Hex(hash)),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            CrlReason::Unspecified => "unspecified",
            CrlReason::KeyCompromise => "keyCompromise",
            CrlReason::CaCompromise => "cACompromise",
            CrlReason::AffiliationChanged => "affiliationChanged",
            CrlReason::Superseded => "superseded",
            CrlReason::CessationOfOperation => "cessationOfOperation",
            CrlReason::CertificateHold => "certificateHold",
            CrlReason::RemoveFromCrl => "removeFromCRL",
            CrlReason::PrivilegeWithdrawn => "privilegeWithdrawn",
            CrlReason::AaCompromise => "aACompromise",
        })
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({self})")
    }
}

impl From<der::Error> for DecodeError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            ErrorKind::Incomplete { expected_len, actual_len } => DecodeError::Truncated {
                needed: u32::from(expected_len).into(),
                found: u32::from(actual_len).into(),
            },
            ErrorKind::TrailingData { remaining, .. } => {
                DecodeError::TrailingBytes(u32::from(remaining).into())
            }
            ErrorKind::IndefiniteLength => DecodeError::Ber("a length is indefinite"),
            // `der` gives the tag whose length it is; no field of ours fails so otherwise.
            ErrorKind::Overlength | ErrorKind::Length { .. } => {
                DecodeError::Ber("a length is longer than needed")
            }
            ErrorKind::Noncanonical { .. } => {
                DecodeError::Ber("a value is written in another way than the one DER allows")
            }
            _ => DecodeError::Malformed(error.to_string()),
        }
    }
}
