//! What a strict client makes of a handshake.
//!
//! It wants a chain to a CA it trusts, made out to the host it asked for. With Must-Staple it wants a
//! staple that is proven, current and good. Without Must-Staple no staple is fine, and so is an unsigned
//! refusal such as `tryLater`; any other staple that is not proven, current and good turns it away, as it
//! does gnutls and `curl --cert-status`. (gnutls lets `unknown` pass; we side with curl.)

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{self, CertificateDer, ServerName};
use serde::Serialize;

use crate::confirm::Seen;
use crate::ocsp::{self, Response, ResponseStatus, Rules, Status};
use crate::pki::{Certificate, Issued};
use crate::time::{UnixTime, format_duration};

/// All that was found, at one instant.
#[derive(Debug)]
pub(super) struct Finding {
    /// Why a strict client would not connect; empty: it would.
    pub(super) reasons: Vec<String>,
    /// None: the leaf cannot be read.
    pub(super) leaf: Option<Subject>,
    pub(super) staple: Staple,
    pub(super) now: UnixTime,
}

/// The short answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Connects,
    Refuses,
}

/// What the leaf says of itself.
#[derive(Debug, Serialize)]
pub(super) struct Subject {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) fingerprint: String,
    pub(super) names: Vec<String>,
    pub(super) key: String,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    pub(super) must_staple: bool,
}

/// What was stapled.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub(super) enum Staple {
    /// Nothing.
    None,
    /// An unsigned error.
    Refusal { status: String },
    /// Something that proves nothing about this certificate now.
    Refused { reason: String },
    /// A proven statement of the CA.
    Proven(Proven),
}

#[derive(Debug, Serialize)]
pub(super) struct Proven {
    pub(super) status: Status,
    pub(super) revoked_at: Option<UnixTime>,
    pub(super) revocation_reason: Option<String>,
    pub(super) this_update: UnixTime,
    pub(super) next_update: Option<UnixTime>,
    pub(super) produced_at: UnixTime,
    pub(super) effective_expiry: UnixTime,
    pub(super) age_seconds: i64,
    pub(super) signer: String,
    pub(super) sha256: String,
    pub(super) bytes: usize,
}

impl Finding {
    pub(super) fn verdict(&self) -> Verdict {
        if self.reasons.is_empty() { Verdict::Connects } else { Verdict::Refuses }
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let must_staple = self.leaf.as_ref().is_some_and(|leaf| leaf.must_staple);
        match (self.verdict(), &self.staple) {
            (Verdict::Refuses, _) => "a strict client would not connect".to_owned(),
            (_, Staple::None) => {
                "a strict client would connect; nothing is stapled and nothing demands it"
                    .to_owned()
            }
            (_, Staple::Refusal { .. }) => {
                "a strict client would connect; a placeholder is stapled and nothing demands more"
                    .to_owned()
            }
            _ if must_staple => "a strict client would connect: Must-Staple is honoured".to_owned(),
            _ => "a strict client would connect".to_owned(),
        }
    }
}

/// Judges what `host` presented at the instant `now`, trusting `anchors`.
pub(super) fn judge(
    seen: &Seen,
    host: &str,
    anchors: &[CertificateDer<'static>],
    now: UnixTime,
) -> Finding {
    let mut reasons = Vec::new();
    if let Some(broke_off) = &seen.broke_off {
        reasons.push(format!("the handshake failed: {broke_off}"));
    }
    reasons.extend(distrust(seen, host, anchors, now));
    let leaf = Certificate::from_der(&seen.chain[0]).map(Arc::new);
    let staple = match &leaf {
        Ok(leaf) => staple(seen, leaf, anchors, now),
        Err(error) => {
            reasons.push(format!("the certificate {error}"));
            Staple::None
        }
    };
    let must_staple = leaf.as_ref().is_ok_and(|leaf| leaf.must_staple());
    reasons.extend(fault(&staple, must_staple, now));
    Finding { reasons, leaf: leaf.ok().map(|leaf| Subject::of(&leaf)), staple, now }
}

/// What is wrong with the chain, if anything: RFC 5280 and the host's name (RFC 6125).
fn distrust(
    seen: &Seen,
    host: &str,
    anchors: &[CertificateDer<'static>],
    now: UnixTime,
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(anchors.iter().cloned());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match verifier.build() {
        Ok(verifier) => verifier,
        Err(error) => return Some(format!("no CA to trust: {error}")),
    };
    let chain: Vec<_> = seen.chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let (leaf, rest) = chain.split_first()?;
    let name = ServerName::try_from(host).ok()?;
    let now = u64::try_from(now.as_secs()).unwrap_or(0);
    let now = pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
    let error = verifier.verify_server_cert(leaf, rest, &name, &[], now).err()?;
    Some(error.to_string())
}

fn staple(
    seen: &Seen,
    leaf: &Arc<Certificate>,
    anchors: &[CertificateDer<'static>],
    now: UnixTime,
) -> Staple {
    let Some(der) = &seen.staple else { return Staple::None };
    let response = match Response::decode(der) {
        Ok(response) => response,
        Err(error) => return Staple::Refused { reason: error.to_string() },
    };
    if response.status() != ResponseStatus::Successful {
        return Staple::Refusal { status: response.status().to_string() };
    }
    let presented = seen.chain[1..].iter().map(Vec::as_slice);
    let candidates = presented.chain(anchors.iter().map(|anchor| anchor.as_ref()));
    let issued = candidates
        .filter_map(|der| Certificate::from_der(der).ok())
        .find_map(|issuer| Issued::prove(Arc::clone(leaf), Arc::new(issuer)).ok());
    let Some(issued) = issued else {
        let reason = "nobody who issued the certificate is presented or trusted".to_owned();
        return Staple::Refused { reason };
    };
    match ocsp::verify(response, &issued, &Rules::default(), now) {
        Ok(staple) => Staple::Proven(Proven::of(&staple, now)),
        Err(rejection) => Staple::Refused { reason: rejection.to_string() },
    }
}

fn fault(staple: &Staple, must_staple: bool, now: UnixTime) -> Option<String> {
    match staple {
        Staple::None if must_staple => {
            Some("the certificate demands a staple (RFC 7633) and none came".to_owned())
        }
        Staple::Refusal { status } if must_staple => Some(format!(
            "the certificate demands a staple (RFC 7633) and an unsigned {status} came"
        )),
        Staple::None | Staple::Refusal { .. } => None,
        Staple::Refused { reason } => Some(format!("the staple is refused: {reason}")),
        Staple::Proven(staple) => match staple.status {
            Status::Revoked => Some("the staple says that the certificate is revoked".to_owned()),
            Status::Unknown => {
                Some("the staple says that the CA does not know the certificate".to_owned())
            }
            // The rules allow for a responder's clock; clients hardly do.
            Status::Good if staple.effective_expiry < now => Some(format!(
                "the staple expired at {}, {} ago",
                staple.effective_expiry,
                format_duration(now.since(staple.effective_expiry)),
            )),
            Status::Good => None,
        },
    }
}

impl Subject {
    fn of(leaf: &Certificate) -> Subject {
        Subject {
            subject: leaf.subject(),
            issuer: leaf.issuer(),
            serial: leaf.serial().to_string(),
            fingerprint: leaf.fingerprint().to_string(),
            names: leaf.names(),
            key: leaf.key_type().to_string(),
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            must_staple: leaf.must_staple(),
        }
    }
}

impl Proven {
    fn of(staple: &ocsp::Staple, now: UnixTime) -> Proven {
        let revocation = staple.revocation();
        let text = |reason: ocsp::Reason| reason.to_string();
        Proven {
            status: staple.status(),
            revoked_at: revocation.map(|revocation| revocation.time),
            revocation_reason: revocation.and_then(|revocation| revocation.reason).map(text),
            this_update: staple.this_update(),
            next_update: staple.next_update(),
            produced_at: staple.produced_at(),
            effective_expiry: staple.expires(),
            age_seconds: now.seconds_since(staple.this_update()),
            signer: staple.signer(),
            sha256: staple.digest().to_string(),
            bytes: staple.der().len(),
        }
    }
}
