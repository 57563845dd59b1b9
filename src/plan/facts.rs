//! What the planner is told about the world, and by which numbers it knows it.
//!
//! The agent gives every certificate, responder, target and server a small number and keeps the
//! paths, URLs and names behind it to itself. Everything here is facts and digests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hours::Hours;
use super::window::Lead;
use crate::digest::Digest;
use crate::ocsp::Status;
use crate::time::{DAY, HOUR, MINUTE, UnixTime};

/// A certificate, by the number the agent gave it; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertId(pub u32);

/// A responder URL, by the number the agent gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponderId(pub u32);

/// A place a staple is published to, by the number the agent gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u32);

/// A web server, by the number the agent gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u32);

/// What the planner, and the record of what happened, need to know of a verified staple; from
/// `Staple::facts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Of the response's DER, as received.
    pub digest: Digest,
    /// What it says about the certificate.
    pub status: Status,
    /// thisUpdate, UTC.
    pub this_update: UnixTime,
    /// min(nextUpdate, the signer's notAfter, the leaf's notAfter), UTC. The planner shortens it by
    /// [`Policy::max_age`].
    pub expires: UnixTime,
}

/// A certificate that was found, with what the disk remembers of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its number.
    pub id: CertId,
    /// Its fingerprint: what jitter is derived from.
    pub identity: Digest,
    /// RFC 7633: clients refuse it without a staple.
    pub must_staple: bool,
    /// The leaf's notAfter, UTC.
    pub not_after: UnixTime,
    /// Where to ask, in order of preference. Empty: the certificate has no OCSP URL.
    pub responders: Vec<ResponderId>,
    /// The staple in the store, verified again when it was read.
    pub held: Option<Facts>,
    /// What earlier attempts left behind.
    pub attempts: Attempts,
}

/// Failed attempts, as they survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts since the last answer that moved something forward.
    pub failures: u32,
    /// How long is still to be waited before the next attempt.
    pub wait: Duration,
}

/// What lies in a target, or what a server presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A staple that `ocsp::verify` accepted for this certificate, by the digest of its DER.
    Staple(CertId, Digest),
    /// The five bytes of `tryLater`.
    Placeholder,
    /// No file, no entry, no staple.
    Nothing,
    /// Something that is not a valid staple of any certificate that claims the target.
    Foreign,
}

/// A place a staple is published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Every server whose configuration names it; none: published for whoever reads it.
    pub servers: Vec<ServerId>,
    /// The certificates that are presented with it, the default server's first. More than one is a
    /// fault of the configuration that `lint` reports.
    pub claimants: Vec<CertId>,
    /// How the server takes it up.
    pub delivery: Delivery,
    /// What lies there now.
    pub published: Content,
    /// Of the staple that lies there, verified again when it was read; `None` without one. It may be
    /// an older one than the store holds: the last good one of a revoked certificate.
    pub published_facts: Option<Facts>,
    /// What each server was last proved to have taken up; absent: nothing is known.
    pub loaded: Vec<(ServerId, Loaded)>,
}

/// How a kind of server takes up what is published: a row of the table in the design, §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What has to happen before clients see what is published.
    pub takes_up: TakesUp,
    /// Each worker keeps a copy of its own and asks for it when a client comes: after a reload each
    /// deployment is asked by handshakes, whether anything has changed or not.
    pub per_worker: bool,
    /// How long before effective expiry the server stops stapling by itself.
    pub stops_early: Duration,
    /// What is put there while no staple is to be had.
    pub bare: Bare,
    /// A revoked staple may be put there; otherwise the old one stays until it expires.
    pub takes_revoked: bool,
}

/// How a server comes to hand out what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakesUp {
    /// By its next reload and not before.
    OnReload,
    /// By itself.
    ByItself {
        /// At most this long after publication; zero: at once.
        within: Duration,
    },
}

impl TakesUp {
    /// How long after publication it is sure to hand it out; `None`: not without a reload.
    pub fn within(self) -> Option<Duration> {
        match self {
            TakesUp::OnReload => None,
            TakesUp::ByItself { within } => Some(within),
        }
    }
}

impl Delivery {
    /// How much of a staple's life its server needs for itself.
    pub(super) fn lead(&self) -> Lead {
        let takes_up = self.takes_up.within().unwrap_or_default();
        Lead { stops_early: self.stops_early, takes_up }
    }
}

/// What a target holds while there is no staple for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// `tryLater`: nginx does not start without a file.
    Placeholder,
    /// Nothing: what lay there is removed.
    Nothing,
    /// Nothing new: an old staple stays until the next one is here (hitch, exim).
    KeepOld,
}

/// What a server was proved to have taken up for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it was.
    pub content: Content,
    /// The leaf it presents there, where known.
    pub leaf: Option<CertId>,
    /// Whether that leaf carries Must-Staple.
    pub must_staple: bool,
    /// thisUpdate of the staple, UTC; meaningless without one.
    pub this_update: UnixTime,
    /// The staple's effective expiry, UTC; meaningless without one.
    pub expires: UnixTime,
    /// Seen by a handshake or told by the server; otherwise only concluded.
    pub proved: bool,
}

/// A server, as far as planning goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// It runs now.
    pub running: bool,
    /// The agent may reload it; `reload = "none"` otherwise.
    pub reloads: bool,
    /// Its deployments can be asked by a handshake (`probe = true`).
    pub probed: bool,
}

/// The settings that planning obeys: `[schedule]`, `[policy]` and the clock's tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Between two reloads of a server that are not urgent.
    pub reload_at_most_every: Duration,
    /// When reloads that can wait may happen.
    pub reload_windows: Hours,
    /// The closing margin before effective expiry, or a quarter of usable life where that is less.
    pub urgent_below: Duration,
    /// How long a renewed certificate waits for its owner's reload before ours takes it up.
    pub adopt_renewed_after: Duration,
    /// From thisUpdate: clients believe nothing older.
    pub max_age: Duration,
    /// What a revocation does.
    pub on_revoked: OnRevoked,
    /// What an expiry does.
    pub on_expired: OnExpired,
    /// Placeholders may be written.
    pub placeholder: bool,
    /// How far two clocks may differ.
    pub max_skew: Duration,
    /// Of this installation: keeps hosts from asking at the same instant.
    pub seed: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            reload_at_most_every: 10 * MINUTE,
            reload_windows: Hours::default(),
            urgent_below: DAY,
            adopt_renewed_after: DAY,
            max_age: 10 * DAY,
            on_revoked: OnRevoked::Publish,
            on_expired: OnExpired::Auto,
            placeholder: true,
            max_skew: HOUR / 12,
            seed: 0,
        }
    }
}

/// `[policy] on_revoked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRevoked {
    /// Clients are told: the revoked staple is published and loaded at once.
    Publish,
    /// The last good staple stays until it expires.
    KeepLastGood,
    /// The target is emptied.
    Withdraw,
}

/// `[policy] on_expired`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExpired {
    /// Kept with Must-Staple, since some clients ask for presence only; emptied without.
    Auto,
    /// Kept.
    Keep,
    /// Emptied.
    Withdraw,
}
