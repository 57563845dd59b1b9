//! What happens to the planner: [`Event`]s, and the outcomes they carry.

use std::time::Duration;

use super::facts::{
    CertId, Certificate, Content, Facts, Policy, ResponderId, Server, ServerId, Target, TargetId,
};

/// Something that happened. Each [`Action`](super::Action) but `Remember`, `Tell` and `WakeAt` ends
/// in exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed; nothing else.
    Tick,
    /// The settings are these from now on.
    Configured(Policy),
    /// Whether the wall clock is disciplined (NTP); until told, it is taken to be.
    ClockSynchronised(bool),
    /// A certificate was found, or what is known of it changed.
    Found(Certificate),
    /// A certificate is nowhere to be found any more.
    Gone(CertId),
    /// A server is configured, or what is known of it changed.
    Served(ServerId, Server),
    /// A server is no longer configured.
    Unserved(ServerId),
    /// A target is named by the configuration, or its claimants or servers changed. Its certificates
    /// and servers have been told before.
    Placed(TargetId, Target),
    /// A target is no longer named.
    Unplaced(TargetId),
    /// A server was seen to start, stop, or reload by somebody else's hand.
    Sighted(ServerId, Sighting),
    /// What is published for a certificate stays, whatever comes, until it is thawed or five
    /// sixteenths of its closing margin are left.
    Frozen(CertId),
    /// The newest is published again.
    Thawed(CertId),
    /// A staple came by another way than by asking; it is judged like an answer.
    Brought {
        /// About which certificate.
        cert: CertId,
        /// What it says.
        facts: Facts,
    },
    /// Somebody asks for these certificates now.
    Wanted(Vec<CertId>, Want),
    /// A request ended.
    Fetched {
        /// The certificate asked about.
        cert: CertId,
        /// The responder asked.
        from: ResponderId,
        /// What came of it.
        outcome: Result<Answer, FetchFault>,
    },
    /// A staple was made durable in the store, or could not be.
    Kept {
        /// Whose staple.
        cert: CertId,
        /// A failure does not stop publishing.
        outcome: Result<(), PublishFault>,
    },
    /// A target was written, or could not be.
    Published {
        /// Which.
        target: TargetId,
        /// What lies there now.
        outcome: Result<Content, PublishFault>,
    },
    /// A reload ended: done means the server says so or its workers changed.
    Reloaded {
        /// Which.
        server: ServerId,
        /// Whether it took up its files.
        outcome: Result<(), ReloadFault>,
    },
    /// A handshake, or several for one target, told what clients see there.
    Confirmed {
        /// Which.
        target: TargetId,
        /// On which server.
        server: ServerId,
        /// What was seen.
        served: Served,
    },
}

/// What was noticed about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It runs, and read its files when it started.
    Started,
    /// It does not run.
    Stopped,
    /// It took up its files again (new workers), and not because the planner asked.
    Reloaded,
}

/// What is asked of the planner out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// `refresh`: fetch now whatever max-age, back-off and circuits say; publish; reload at once.
    Refresh,
    /// `refresh --no-reload`: the same without the reload.
    RefreshWithoutReload,
    /// `hook`: fetch and publish now; the reload is its caller's. A certificate without a staple is
    /// asked about every few seconds as long as the caller waits, and no reload of ours takes it up.
    Hook {
        /// The uptime at which the caller gives up.
        until: Duration,
    },
}

/// A staple that was fetched and verified; the agent holds its bytes until `Keep` or the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the staple; for a 304, of the one held.
    pub facts: Facts,
    /// How long the responder asks not to be asked again (max-age, Expires).
    pub fresh_for: Option<Duration>,
}

/// Why a request brought no staple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFault {
    /// The host is in trouble: connect, time-out, 429 or 5xx without a decodable body, `tryLater`,
    /// `internalError`. Counts for everything behind it.
    Host {
        /// As the responder asked by Retry-After.
        retry_after: Option<Duration>,
    },
    /// The answer was refused, or is of no use to this one certificate (`unauthorized`, `unknown`).
    Certificate,
    /// The answer is authentic and its nextUpdate has passed: a cache's, so the next request goes
    /// past caches (RFC 9919 §7.2). Otherwise as `Certificate`.
    Expired,
}

/// Why a target or the store was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishFault {
    /// Not allowed, or the folder is missing: a person must act.
    Refused,
    /// Disk full and the like: may pass.
    Failed,
}

/// Why a server was not reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadFault {
    /// It does not run: nothing to do until it is sighted.
    Inactive,
    /// It refused, or its workers did not change.
    Failed,
    /// Nothing was done: since the reload was decided on, a certificate was renewed that must not be
    /// taken up yet. The planner knows of it by now and decides anew.
    Overtaken,
}

/// What clients of a server are handed for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Every listener that could be asked presented `leaf` with `content`; where they differ, the
    /// worst of them.
    Seen {
        /// The certificate presented; `None` for one the agent does not know.
        leaf: Option<CertId>,
        /// What was stapled.
        content: Content,
    },
    /// No listener could be asked (absent address, PROXY protocol refused).
    Unproven,
}
