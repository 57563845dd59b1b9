//! The status document: what `status --format json`, the status file and monitors read.

use serde::{Deserialize, Serialize};

use crate::digest::Fingerprint;
use crate::ocsp::Status as OcspStatus;
use crate::plan;
pub use crate::plan::Trouble;
use crate::time::UnixTime;

/// The number of this document's shape; grows when a reader would be surprised.
pub const SCHEMA: u32 = 1;

/// Everything the agent knows, at one instant. Times are RFC 3339, UTC.
///
/// `C` is whatever is written as, or read from, the list of certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document<C = Vec<CertificateStatus>> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When this was true.
    pub at: UnixTime,
    /// Who says so.
    pub agent: AgentStatus,
    /// Every certificate, the one with the least slack first.
    pub certificates: C,
    /// Every configured server.
    pub servers: Vec<ServerStatus>,
    /// Every responder that some certificate names.
    pub responders: Vec<ResponderStatus>,
    /// Our own responder, where one is configured.
    #[serde(default)]
    pub loopback: Option<LoopbackStatus>,
    /// What could not be read or used, in the words of the log.
    pub problems: Vec<String>,
}

/// The agent itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Of staplekeeper.
    pub version: String,
    /// Its process; absent where a command looked by itself because no agent runs.
    pub pid: Option<u32>,
    /// The namespace that number is of; elsewhere it means another process.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
    /// When its process began, in the kernel's ticks since the machine started: numbers are given out
    /// again, and this tells another process of the same number.
    #[serde(default)]
    pub process_start: Option<u64>,
    /// When it was started.
    #[serde(default)]
    pub started_at: Option<UnixTime>,
    /// Of the status file: so many seconds after it was last modified it is to be believed no more.
    /// An agent at work moves its time of modification forward each minute.
    #[serde(default)]
    pub valid_for_seconds: Option<u64>,
    /// The first full pass is done.
    pub ready: bool,
    /// The clock cannot be believed: nothing is withdrawn.
    pub clock_suspect: bool,
}

/// How pressing something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    #[default]
    Ok,
    /// Worth knowing.
    Info,
    /// Will hurt if nobody looks.
    Warning,
    /// Hurts.
    Critical,
}

impl From<plan::Severity> for Severity {
    fn from(severity: plan::Severity) -> Severity {
        match severity {
            plan::Severity::Fine => Severity::Ok,
            plan::Severity::Info => Severity::Info,
            plan::Severity::Warning => Severity::Warning,
            plan::Severity::Critical => Severity::Critical,
        }
    }
}

/// What is the matter with a certificate, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A current, good staple is held.
    Good,
    /// Revoked, says a current staple.
    Revoked,
    /// The staple held has run out.
    Expired,
    /// There has been no staple yet.
    Waiting,
    /// The certificate names no responder: nothing to staple.
    NoOcspUrl,
    /// The certificate's issuer was not found: nothing can be asked.
    NoIssuer,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// What people call its lineage.
    pub name: String,
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Its subject, or its first name where the subject is empty.
    pub subject: String,
    /// What is published for it stays, by `staplekeeper freeze`.
    #[serde(default)]
    pub frozen: bool,
    /// RFC 7633.
    pub must_staple: bool,
    /// In a word.
    pub state: State,
    /// In a sentence.
    pub reason: String,
    /// How pressing it is.
    pub severity: Severity,
    /// What makes it a warning or critical.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
    /// Of the staple held.
    pub this_update: Option<UnixTime>,
    /// Of the staple held.
    pub next_update: Option<UnixTime>,
    /// When clients stop believing the staple held.
    pub effective_expiry: Option<UnixTime>,
    /// How long until clients break: effective expiry of what is loaded minus now. Negative once
    /// they do; absent where nothing is deployed or nothing is loaded.
    pub slack_seconds: Option<i64>,
    /// When what clients are handed now becomes worth a warning, unless something better is loaded
    /// before: three quarters of the closing margin before they break.
    #[serde(default)]
    pub warning_at: Option<UnixTime>,
    /// The same for critical, with Must-Staple only: a quarter of that margin.
    #[serde(default)]
    pub critical_at: Option<UnixTime>,
    /// When its responder is asked next.
    pub next_attempt: Option<UnixTime>,
    /// What the last attempt failed with, if it failed.
    pub last_error: Option<String>,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// The leaf's notAfter.
    pub not_after: UnixTime,
    /// It runs out itself soon: `[expiry] warn_below`.
    #[serde(default)]
    pub expiring: bool,
    /// Where it is asked about.
    pub responders: Vec<String>,
    /// Where its staple is published.
    pub targets: Vec<TargetStatus>,
    /// What clients were last seen to be handed, over all targets the worst.
    pub served: Option<Served>,
}

/// One place a staple is published to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its path.
    pub path: String,
    /// What lies there.
    pub published: Published,
    /// The servers that read it; empty: none is known.
    pub servers: Vec<String>,
    /// What those servers were proved to have taken up.
    pub loaded: Option<Published>,
    /// Of the staple that is loaded.
    pub loaded_expiry: Option<UnixTime>,
    /// Without a reload, all of those servers have what lies there by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_up_by: Option<UnixTime>,
}

/// What lies in a target, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Published {
    /// The staple that is held.
    Staple,
    /// An older staple of the same certificate.
    OlderStaple,
    /// `tryLater`.
    Placeholder,
    /// Nothing.
    Nothing,
    /// Something that no certificate here can use.
    Foreign,
}

/// What a handshake showed, against what was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Served {
    /// As published.
    Match,
    /// Nobody could be asked.
    Unproven,
    /// Something else.
    Mismatch,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// `nginx` and the like.
    pub kind: String,
    /// Its configuration file.
    pub config: Option<String>,
    /// It runs.
    pub running: bool,
    /// Its configuration could be read; otherwise the last one that could be is in effect.
    pub complete: bool,
    /// Targets that hold more than the server was proved to have taken up.
    pub pending: usize,
    /// When it will be reloaded, and why; absent while nothing asks for it.
    pub next_reload: Option<UnixTime>,
    /// Why.
    pub next_reload_reason: Option<String>,
    /// When it was last reloaded by us.
    pub last_reload: Option<UnixTime>,
    /// Why.
    pub last_reload_reason: Option<String>,
    /// What the last reload failed with, if it failed.
    pub last_error: Option<String>,
    /// How pressing it is: reloads that fail, while something loaded is past its close or not.
    #[serde(default)]
    pub severity: Severity,
    /// Where each worker asks for its staples by itself: who has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmStatus>,
}

/// The workers of a server that asks our responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmStatus {
    /// The process ids of those that were seen to have every staple.
    pub workers: Vec<i32>,
    /// Targets that are being seen to.
    pub under_way: usize,
}

impl ResponderStatus {
    /// The responder at `url`, as the planner sees it.
    pub fn of(url: String, view: &plan::ResponderView) -> ResponderStatus {
        let severity = match (view.down, view.open) {
            (true, _) => Severity::Warning,
            (false, true) => Severity::Info,
            (false, false) => Severity::Ok,
        };
        ResponderStatus {
            url,
            down: view.open,
            failures: view.faults,
            severity,
            waiting: view.waiting,
            in_flight: view.in_flight,
        }
    }
}

/// One responder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponderStatus {
    /// Where.
    pub url: String,
    /// Its circuit is open: it is probed, not asked.
    pub down: bool,
    /// Host faults in a row.
    pub failures: u32,
    /// How pressing it is: a warning once it is down past the middle of the windows behind it.
    #[serde(default)]
    pub severity: Severity,
    /// Certificates that wait for it.
    #[serde(default)]
    pub waiting: usize,
    /// Requests on their way.
    pub in_flight: usize,
}

/// Our own responder, that servers ask for staples. Counters begin at the agent's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopbackStatus {
    /// Where it listens.
    pub listen: Vec<Listening>,
    /// Certificates that it knows.
    pub certificates: usize,
    /// Those that it has a staple for.
    pub answered: usize,
    /// HTTP requests so far.
    pub requests: u64,
    /// Requests about certificates that are not known here: `unauthorized`.
    pub unknown: u64,
    /// Requests about certificates without a staple: `tryLater`.
    pub without_staple: u64,
    /// Requests that were no OCSP requests.
    pub refused: u64,
}

/// One address of our own responder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listening {
    /// `127.0.0.1:8889`, `unix:/run/…`.
    pub address: String,
    /// Why nobody can connect there, where that is so.
    pub error: Option<String>,
}

/// What a certificate's status is called where only the status counts.
impl From<OcspStatus> for State {
    fn from(status: OcspStatus) -> State {
        match status {
            OcspStatus::Good => State::Good,
            OcspStatus::Revoked => State::Revoked,
            OcspStatus::Unknown => State::Waiting,
        }
    }
}
