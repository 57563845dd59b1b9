//! Staples: responses that were proven for one certificate.

use std::sync::Arc;

use super::{CertIdHash, Response, Revocation, Status};
use crate::digest::{Digest, Fingerprint};
use crate::pki::Certificate;
use crate::plan::Facts;
use crate::time::UnixTime;

/// A response that [`verify`](super::verify()) accepted for one certificate.
///
/// It may be stale by the time it is read: compare [`Staple::expires`] with the clock. Cheap to
/// clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staple {
    pub(super) der: Arc<[u8]>,
    pub(super) digest: Digest,
    pub(super) certificate: Fingerprint,
    pub(super) status: Status,
    pub(super) revocation: Option<Revocation>,
    pub(super) this_update: UnixTime,
    pub(super) next_update: Option<UnixTime>,
    pub(super) produced_at: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) signer: Signer,
}

/// Who signed a staple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    /// The issuer or a configured signer, shared with all that it signed.
    Known(Arc<Certificate>),
    /// A delegate, by its subject: its certificate is in the response.
    Delegate(Arc<str>),
}

impl Staple {
    /// What the CertID of the first answer in it is hashed by; `None` for a hash without a name here.
    /// Some servers take no other than SHA-1, and look no further than the first.
    pub fn cert_id_hash(&self) -> Option<CertIdHash> {
        let response = Response::decode(&self.der).ok()?;
        response.answers().first()?.cert_id_hash()
    }

    /// The DER OCSPResponse as received: what servers staple.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The same bytes, shared.
    pub fn shared_der(&self) -> Arc<[u8]> {
        self.der.clone()
    }

    /// The SHA-256 of the DER.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The certificate it is about, by the SHA-256 of its DER.
    pub fn certificate(&self) -> Fingerprint {
        self.certificate
    }

    /// What it says.
    pub fn status(&self) -> Status {
        self.status
    }

    /// When and why the certificate was revoked, where it was.
    pub fn revocation(&self) -> Option<Revocation> {
        self.revocation
    }

    /// From when on it is known to be right, UTC.
    pub fn this_update(&self) -> UnixTime {
        self.this_update
    }

    /// When newer information will be there at the latest, UTC; none where it does not say.
    pub fn next_update(&self) -> Option<UnixTime> {
        self.next_update
    }

    /// When it was signed, UTC.
    pub fn produced_at(&self) -> UnixTime {
        self.produced_at
    }

    /// When clients stop believing it, UTC: the earliest of nextUpdate (or the life assumed), the
    /// signer's notAfter and the leaf's notAfter. No tolerance for clocks is in it.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// The subject of the certificate whose key signed it, as RFC 4514 text.
    pub fn signer(&self) -> String {
        match &self.signer {
            Signer::Known(certificate) => certificate.subject(),
            Signer::Delegate(subject) => subject.to_string(),
        }
    }

    /// What the planner needs to know of it.
    pub fn facts(&self) -> Facts {
        Facts {
            digest: self.digest,
            status: self.status,
            this_update: self.this_update,
            expires: self.expires,
        }
    }
}
