//! OCSP (RFC 6960) as values: requests are encoded and decoded, responses decoded and judged here.
//!
//! [`request()`] makes the DER to send, [`Request`] is one that came. What comes back is a [`Response`]: decoded, unproven.
//! [`verify()`] judges it as the answer about one certificate and gives a [`Staple`] or the
//! [`Rejection`] that says why not. No other way leads to a `Staple`, so whoever holds one holds
//! bytes that may be served.

mod asn1;
mod question;
mod rejection;
mod request;
mod response;
mod staple;
mod verify;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use question::{IssuerName, MAX_REQUEST_BYTES, Question, Request, RequestError};
pub use rejection::{Place, Rejection};
pub use request::{CertIdHash, request};
pub use response::{Answer, DecodeError, MAX_BYTES, Reason, Response, ResponseStatus, Revocation};
pub use staple::Staple;
pub use verify::{MissingNextUpdate, Rules, signatures, verify, verify_again};

/// The five bytes of an unsigned `tryLater` response: what fills a staple file until a staple is
/// here. Servers start with it and staple nothing.
pub const TRY_LATER: [u8; 5] = [0x30, 0x03, 0x0a, 0x01, 0x03];
/// An unsigned `unauthorized`: nothing is known here about that certificate (RFC 9919 §3.2.3).
pub const UNAUTHORIZED: [u8; 5] = [0x30, 0x03, 0x0a, 0x01, 0x06];
/// An unsigned `malformedRequest`.
pub const MALFORMED_REQUEST: [u8; 5] = [0x30, 0x03, 0x0a, 0x01, 0x01];

/// What a response says about a certificate (RFC 6960 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked, for good or on hold.
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Good => "good",
            Status::Revoked => "revoked",
            Status::Unknown => "unknown",
        })
    }
}
