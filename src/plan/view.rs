//! What the planner shows of itself: for the status table, JSON and metrics. Reading changes nothing.

use std::time::Duration;

use super::action::Why;
use super::facts::{CertId, Content, Facts, ResponderId, ServerId, TargetId};
use super::servers::LastReload;
use crate::time::UnixTime;

/// What is going on about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// It holds a staple whose window has not opened.
    Fresh,
    /// It is asked about now, or waits for a request slot.
    Asking,
    /// The new staple is being stored.
    Keeping,
    /// The last attempt failed, or brought nothing new; the next one is waited for.
    Waiting,
    /// All its responders are in trouble; it goes with one of the next probes.
    Parked,
    /// It has no OCSP URL.
    NoResponder,
    /// Its notAfter has passed.
    Over,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// All is well.
    Fine,
    /// No OCSP URL, or not deployed anywhere.
    Info,
    /// Lives on older data than it should.
    Warning,
    /// Clients break, or soon will.
    Critical,
}

/// What makes a certificate worse than it should be; each is told while it lasts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Its staple is not being renewed as it should.
    Late,
    /// A target of it cannot be written.
    PublishFailed,
    /// Clients refuse it, or soon will.
    AtRisk,
    /// It is deployed and its CA says revoked.
    Revoked,
    /// Clients are handed something else than was published.
    ServedMismatch,
}

impl Trouble {
    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Trouble::Late | Trouble::PublishFailed => Severity::Warning,
            Trouble::AtRisk | Trouble::Revoked | Trouble::ServedMismatch => Severity::Critical,
        }
    }
}

/// A certificate, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateView {
    /// Its number.
    pub id: CertId,
    /// The staple in the store.
    pub held: Option<Facts>,
    /// What is published for it stays.
    pub frozen: bool,
    /// At most until then, UTC; `None` where nothing of its own is published, or it is not frozen.
    pub frozen_until: Option<UnixTime>,
    /// What is going on.
    pub state: CertificateState,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// When it is asked about next, UTC, as the wall clock stands; `None`: not of its own accord.
    pub next_attempt: Option<UnixTime>,
    /// When the window of the held staple opens and closes, UTC.
    pub window: Option<(UnixTime, UnixTime)>,
    /// Effective expiry of what clients are handed, UTC; see `slack_seconds`.
    pub safe_until: Option<UnixTime>,
    /// The same minus the instant of the last event, in seconds: negative once it has
    /// passed. Unproven counts as the older; without a running server what is published counts, and
    /// for a certificate without any target what is held. `None`: no staple.
    pub slack_seconds: Option<i64>,
    /// When what clients are handed now becomes worth a warning, and critical (Must-Staple only), if
    /// nothing better is loaded before, UTC. `None`: they are handed nothing, or it does not apply.
    pub turns: (Option<UnixTime>, Option<UnixTime>),
    /// A target is named for it.
    pub deployed: bool,
    /// How bad it is.
    pub severity: Severity,
    /// Why it is a warning or critical; empty where it is neither.
    pub troubles: Vec<Trouble>,
    /// RFC 7633.
    pub must_staple: bool,
    /// Where to ask.
    pub responders: Vec<ResponderId>,
    /// What it is published to.
    pub targets: Vec<TargetId>,
}

/// A target, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView {
    /// Its number.
    pub id: TargetId,
    /// What lies there.
    pub published: Content,
    /// Expiry of the staple that lies there, UTC.
    pub expires: Option<UnixTime>,
    /// Whose staple belongs there.
    pub chosen: Option<CertId>,
    /// A write is under way.
    pub publishing: bool,
    /// Failed writes in a row.
    pub failures: u32,
    /// What each server that reads it was last known to hold.
    pub loaded: Vec<LoadedView>,
}

/// What a server holds for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedView {
    /// Which server.
    pub server: ServerId,
    /// What it holds; `None`: nothing is known.
    pub content: Option<Content>,
    /// Expiry of the staple it holds, UTC.
    pub expires: Option<UnixTime>,
    /// Whether that was seen.
    pub proved: bool,
    /// Clients are handed something else than was published.
    pub mismatch: bool,
    /// A reload would change it.
    pub pending: bool,
    /// It has taken up by itself, by then (UTC), what lies there.
    pub by_itself: Option<UnixTime>,
}

/// A server, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// Its number.
    pub id: ServerId,
    /// It runs.
    pub running: bool,
    /// A reload is under way.
    pub reloading: bool,
    /// Targets that a reload would change.
    pub pending: usize,
    /// When it is reloaded next, UTC, as the wall clock stands, and why.
    pub next_reload: Option<(UnixTime, Why)>,
    /// Targets of Must-Staple certificates without a staple, which a reload would take up.
    pub blocked_by: Vec<TargetId>,
    /// The last reload by anybody since the agent started.
    pub last_reload: Option<LastReload>,
    /// Failed reloads in a row.
    pub failures: u32,
    /// Critical: reloads fail while something it holds is past its close. Warning: they fail.
    pub severity: Severity,
    /// Handshakes under way.
    pub confirming: usize,
}

/// A responder, as the status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponderView {
    /// Its circuit is open: one probe at a time.
    pub open: bool,
    /// Requests under way.
    pub in_flight: usize,
    /// Certificates that wait for it.
    pub waiting: usize,
    /// Host faults in a row.
    pub faults: u32,
    /// With an open circuit: how long until the next probe.
    pub next_probe: Option<Duration>,
    /// It is told to be down.
    pub down: bool,
}

/// What is under way. Waits by back-off and reloads that are not urgent do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Certificates that wait for a request slot.
    pub queued: usize,
    /// Requests.
    pub fetching: usize,
    /// Writes to the store.
    pub keeping: usize,
    /// Writes to targets.
    pub publishing: usize,
    /// Servers that reload or gather for an urgent reload.
    pub reloading: usize,
    /// Handshakes.
    pub confirming: usize,
}

impl Busy {
    /// Nothing is under way but handshakes: a first pass is done.
    pub fn is_idle(&self) -> bool {
        *self == Busy { confirming: self.confirming, ..Busy::default() }
    }
}
