//! OCSP (RFC 6960) as values: requests are encoded, responses decoded and judged here.

use serde::Serialize;

/// What a response says about a certificate (RFC 6960 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked, for good or on hold.
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
}
