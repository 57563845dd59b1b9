//! Model responders: what they answer about a certificate at an instant, and how fast.

use std::time::Duration;

use staplekeeper::digest::Digest;
use staplekeeper::ocsp::Status;
use staplekeeper::plan::{CertId, Facts, FetchFault};
use staplekeeper::time::UnixTime;

/// How a responder behaves for the time being.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Works,
    /// Connections time out.
    Down,
    /// An HTTP 503 that may say when to come back.
    Busy(Option<Duration>),
    /// Answers, in this time.
    Slow(Duration),
    /// `unauthorized`.
    Unauthorized,
    /// Somebody else's answer.
    WrongCertificate,
    /// The same answer as at this instant, for ever.
    Stuck(UnixTime),
    /// Every other answer is a day old.
    Alternating,
    /// Every certificate is revoked.
    Revoking,
}

/// A responder.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    pub(crate) mood: Mood,
    /// thisUpdate to nextUpdate.
    pub(crate) life: Duration,
    /// It signs anew this often, each certificate at its own phase; nothing: on every request.
    pub(crate) signs_every: Duration,
    /// A certificate is unknown to it for this long after issuance.
    pub(crate) publication_gap: Duration,
    /// It chokes on this one.
    pub(crate) poisoned_by: Option<CertId>,
    pub(crate) requests: u64,
    pub(crate) in_flight: usize,
}

impl Responder {
    pub(crate) fn new(life: Duration) -> Self {
        Responder {
            mood: Mood::Works,
            life,
            signs_every: Duration::ZERO,
            publication_gap: Duration::ZERO,
            poisoned_by: None,
            requests: 0,
            in_flight: 0,
        }
    }

    /// What it says about `cert`, issued at `issued`, at the true instant `now`.
    pub(crate) fn answer(
        &mut self,
        cert: CertId,
        issued: UnixTime,
        now: UnixTime,
    ) -> (Duration, Result<Facts, FetchFault>) {
        self.requests += 1;
        let quick = Duration::from_millis(50);
        let host = |retry_after| Err(FetchFault::Host { retry_after });
        if self.poisoned_by == Some(cert) {
            return (quick, host(None));
        }
        let published = now >= issued + self.publication_gap;
        let good = |at: UnixTime| Ok(self.sign(cert, at, Status::Good));
        match self.mood {
            Mood::Down => (Duration::from_secs(3), host(None)),
            Mood::Busy(retry_after) => (quick, host(retry_after)),
            Mood::Unauthorized | Mood::WrongCertificate => (quick, Err(FetchFault::Certificate)),
            _ if !published => (quick, Err(FetchFault::Certificate)),
            Mood::Works => (quick, good(now)),
            Mood::Slow(latency) => (latency, good(now)),
            Mood::Stuck(at) => (quick, good(at.min(now))),
            Mood::Alternating if self.requests % 2 == 1 => {
                (quick, good(now - Duration::from_secs(86_400)))
            }
            Mood::Alternating => (quick, good(now)),
            Mood::Revoking => (quick, Ok(self.sign(cert, now, Status::Revoked))),
        }
    }

    /// The response about `cert` that is current at `at`.
    pub(crate) fn sign(&self, cert: CertId, at: UnixTime, status: Status) -> Facts {
        let period = i64::try_from(self.signs_every.as_secs()).expect("a sane period");
        let this_update = if period == 0 {
            at
        } else {
            let phase = i64::from(cert.0).wrapping_mul(7_919) % period;
            UnixTime::from_secs((at.as_secs() - phase).div_euclid(period) * period + phase)
        };
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&cert.0.to_be_bytes());
        bytes[4..12].copy_from_slice(&this_update.as_secs().to_be_bytes());
        bytes[12] = status as u8;
        bytes[16..24].copy_from_slice(&self.life.as_secs().to_be_bytes());
        let digest = Digest::from_bytes(bytes);
        Facts { digest, status, this_update, expires: this_update + self.life }
    }
}
