//! What the planner wants done: [`Action`]s, the facts to remember and the notices to tell.

use super::facts::{Attempts, CertId, Content, Loaded, ResponderId, ServerId, TargetId};
use crate::digest::Digest;
use crate::time::Now;

/// Something the agent does for the planner. Outcomes return as an [`Event`](super::Event).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To be on disk before the actions behind it start.
    Remember(Memory),
    /// Ask a responder about a certificate.
    Fetch {
        /// About which.
        cert: CertId,
        /// Whom.
        from: ResponderId,
        /// How.
        ask: Ask,
    },
    /// Make a fetched staple the one held in the store.
    Keep {
        /// Whose.
        cert: CertId,
        /// Of the staple's DER.
        staple: Digest,
    },
    /// Put this into a target, whole or not at all.
    Publish {
        /// Where.
        target: TargetId,
        /// What; never [`Content::Foreign`].
        content: Content,
    },
    /// Have a server take up its files.
    Reload {
        /// Which.
        server: ServerId,
        /// For the status and the audit trail.
        why: Why,
    },
    /// See by handshake what clients are handed.
    Confirm {
        /// Which target's deployments.
        target: TargetId,
        /// On which server.
        server: ServerId,
        /// Stop retrying as soon as one of these is seen.
        expect: Vec<Content>,
    },
    /// Something begins or ends that a person may want to know.
    Tell(Notice),
    /// Call again with [`Event::Tick`](super::Event::Tick) when either clock reaches this.
    WakeAt(Now),
}

/// How a responder is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Unconditional and past caches (`Cache-Control: no-cache`): after an expired answer, or by hand.
    pub afresh: bool,
}

/// What must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A request is about to leave, or has failed: this is what to start from after a crash.
    Attempt {
        /// About which certificate.
        cert: CertId,
        /// The responder it goes to.
        from: ResponderId,
        /// As if the request had failed.
        attempts: Attempts,
    },
    /// The last attempt succeeded: nothing to wait for.
    Settled {
        /// Which certificate.
        cert: CertId,
    },
    /// A freeze is over by itself: little is left of what is published.
    Thawed {
        /// Which certificate's.
        cert: CertId,
    },
    /// What a server was proved to hold, for each target it reads.
    Loaded {
        /// Which.
        server: ServerId,
        /// The state of every target whose loaded content changed.
        targets: Vec<(TargetId, Loaded)>,
    },
}

/// Why a server is reloaded; the most pressing of the reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A renewed certificate waited long enough for its owner's reload.
    Renewed,
    /// What is loaded closes soon; everything pending goes with it.
    Closing,
    /// A deployment gets its first staple.
    First,
    /// An expired or unwanted staple leaves.
    Withdrawn,
    /// Somebody asked.
    Wanted,
    /// A certificate was revoked.
    Revoked,
}

/// A condition that begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub about: About,
    /// It begins; `false`: it ends.
    pub begins: bool,
}

/// The conditions that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Less than three quarters of the closing margin is left of what is loaded.
    Late(CertId),
    /// A deployed Must-Staple certificate has less than a quarter of its closing margin left, or no
    /// staple at all.
    AtRisk(CertId),
    /// The responder says revoked.
    Revoked(CertId),
    /// A responder is down past the middle of the windows behind it.
    ResponderDown(ResponderId),
    /// A server presents something else than was published.
    Mismatch(TargetId, ServerId),
    /// A server cannot be reloaded.
    ReloadFailed(ServerId),
    /// A target cannot be written.
    PublishFailed(TargetId),
    /// The clock cannot be believed: nothing is withdrawn.
    ClockSuspect,
}
