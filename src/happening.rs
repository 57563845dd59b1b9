//! What happened, in words that outlive the process.
//!
//! The agent says each [`Happening`] once, when it is a fact. Whoever keeps a record of them (the log,
//! the audit trail), counts them (metrics) or acts on them (hooks) decides nothing by it. As JSON a
//! happening is an object whose `event` names its kind.

mod bounds;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Fingerprint};
use crate::plan::Facts;
use crate::time::UnixTime;

/// A certificate, as people and machines know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// What people call its lineage.
    pub name: String,
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
}

/// What lies in a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "content")]
pub enum Lying {
    /// A staple.
    Staple {
        /// Whose.
        certificate: Subject,
        /// What it says.
        staple: Facts,
    },
    /// `tryLater`.
    Placeholder,
    /// Something that is no staple of a certificate that claims the target, or that nobody has judged.
    Foreign {
        /// Of its bytes, where they were read.
        sha256: Option<Digest>,
    },
    /// Nothing.
    Nothing,
}

/// A condition that lasts: something a person may want to know when it begins and when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "condition")]
pub enum Condition {
    /// A staple is not being renewed as it should.
    Late {
        /// Whose.
        certificate: Subject,
    },
    /// Clients refuse a certificate, or soon will.
    AtRisk {
        /// Which.
        certificate: Subject,
    },
    /// The CA says revoked.
    Revoked {
        /// Which.
        certificate: Subject,
    },
    /// A certificate itself runs out soon.
    Expiring {
        /// Which.
        certificate: Subject,
        /// Its notAfter, UTC.
        not_after: UnixTime,
    },
    /// A responder is down past the middle of the windows behind it.
    ResponderDown {
        /// Its URL.
        responder: String,
    },
    /// Clients are handed something else than was published.
    ServedMismatch {
        /// Which target.
        target: String,
        /// By whom.
        server: String,
    },
    /// A server cannot be reloaded.
    ReloadFailed {
        /// Which.
        server: String,
    },
    /// A target cannot be written.
    PublishFailed {
        /// Which.
        target: String,
    },
    /// The clock cannot be believed: nothing is withdrawn.
    ClockSuspect,
}

/// What others did to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sighted {
    /// It was started.
    Started,
    /// It was stopped.
    Stopped,
    /// It was reloaded, not by us.
    Reloaded,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Happening {
    /// The agent has begun its work.
    Started {
        /// Of staplekeeper.
        version: String,
        /// SHA-256 of the configuration file, where there is one.
        configuration: Option<Digest>,
    },
    /// Somebody runs a command that does its work without an agent: what follows, up to the next start, is
    /// of his doing.
    ByHand {
        /// Which command.
        command: String,
        /// Who.
        uid: Option<u32>,
        /// Of staplekeeper.
        version: String,
    },
    /// The agent ends as it was told to.
    Stopping,
    /// The configuration was read again and is in force.
    Configured {
        /// SHA-256 of the file, where there is one.
        configuration: Option<Digest>,
    },
    /// The configuration was read again and refused; the old one stays.
    NotConfigured {
        /// What is wrong with it.
        error: String,
    },
    /// A certificate was found: one that is new, or any at a start.
    Discovered {
        /// Which.
        certificate: Subject,
        /// Its issuer's name; empty where the issuer was not found.
        issuer: String,
        /// RFC 7633.
        must_staple: bool,
        /// notAfter, UTC.
        not_after: UnixTime,
        /// Where it is asked about.
        responders: Vec<String>,
    },
    /// A certificate is nowhere to be found any more.
    Removed {
        /// Which.
        certificate: Subject,
    },
    /// A responder answered, and the answer was found authentic and current.
    Answered {
        /// About which certificate.
        certificate: Subject,
        /// Who.
        responder: String,
        /// What it said; with `unchanged`, what it had said before.
        staple: Facts,
        /// It is the staple that is held already.
        unchanged: bool,
    },
    /// A request brought nothing of use.
    NotAnswered {
        /// About which certificate.
        certificate: Subject,
        /// Who was asked.
        responder: String,
        /// What was wrong.
        error: String,
        /// The responder says, in a signed answer, that it knows no such certificate.
        unknown: bool,
        /// It is not what the last request failed with.
        news: bool,
    },
    /// A target was written.
    Published {
        /// Where.
        target: String,
        /// It is a file or an entry that a server reads; otherwise a word in our responder's memory.
        written: bool,
        /// The servers whose configuration names it.
        servers: Vec<String>,
        /// What.
        #[serde(flatten)]
        content: Lying,
    },
    /// Root made a path that a server names a link to a target.
    Linked {
        /// Where it leads.
        target: String,
        /// What is a link now.
        path: PathBuf,
    },
    /// A target could not be written.
    NotPublished {
        /// Where.
        target: String,
        /// Why.
        error: String,
    },
    /// A server's configuration names a target: one that is new, or any at a start.
    Placed {
        /// Where.
        target: String,
        /// The servers whose configuration names it; none where only a watched folder's certificate has it.
        servers: Vec<String>,
        /// What lies there already.
        #[serde(flatten)]
        content: Lying,
    },
    /// No server's configuration names a target any more. Those that run hand out what they took up,
    /// until they take up their files again.
    Unplaced {
        /// Which.
        target: String,
    },
    /// A server is being reloaded by us.
    Reloading {
        /// Which.
        server: String,
        /// Why.
        reason: String,
    },
    /// A server has taken up its files, by our hand: it said so, or its workers were seen to change.
    Reloaded {
        /// Which.
        server: String,
    },
    /// A server was not reloaded.
    NotReloaded {
        /// Which.
        server: String,
        /// Why.
        error: String,
        /// Nothing failed: it is decided on anew.
        put_off: bool,
    },
    /// A server was seen to be started, stopped or reloaded by others.
    Sighted {
        /// Which.
        server: String,
        /// What was done to it.
        what: Sighted,
    },
    /// A handshake showed what clients are handed.
    Confirmed {
        /// For which target.
        target: String,
        /// By which server.
        server: String,
        /// It is what was published; `None`: nobody could be asked.
        matches: Option<bool>,
        /// SHA-256 of the staple that was seen, where one was.
        staple: Option<Digest>,
    },
    /// A condition begins.
    Begins {
        /// Which.
        #[serde(flatten)]
        condition: Condition,
    },
    /// A condition ends.
    Ends {
        /// Which.
        #[serde(flatten)]
        condition: Condition,
    },
    /// The operator's ACME client is run for a certificate.
    Renewing {
        /// Which.
        certificate: Subject,
        /// Its words.
        command: String,
        /// How often it was run for it, this time included.
        attempt: u32,
    },
    /// It has ended. Whether there is a new certificate is what the next scan shows.
    RenewalEnded {
        /// Which was to be renewed.
        certificate: Subject,
        /// The last lines that it said.
        output: String,
        /// What was wrong, if something was.
        error: Option<String>,
    },
    /// A command that is run at events did not do its work.
    HookFailed {
        /// The event it was run at.
        hook: String,
        /// What was wrong.
        error: String,
    },
    /// An ACME client has renewed certificates and waits for their staples.
    HookCalled {
        /// Who, where the kernel says.
        uid: Option<u32>,
        /// Files or folders of certificates.
        paths: Vec<PathBuf>,
        /// How many there were besides.
        #[serde(default, skip_serializing_if = "is_none")]
        more: usize,
    },
    /// What is published for a certificate stays until it is thawed.
    Frozen {
        /// Which.
        certificate: Subject,
        /// Who wants it, where the kernel says.
        uid: Option<u32>,
    },
    /// The newest staple of a certificate is published again.
    Thawed {
        /// Which.
        certificate: Subject,
        /// Who wants it, where the kernel says.
        uid: Option<u32>,
        /// Nobody did: little was left of what was published.
        by_itself: bool,
    },
    /// Somebody brought a response, and it is the one that is held now.
    Imported {
        /// About which certificate.
        certificate: Subject,
        /// Who, where the kernel says.
        uid: Option<u32>,
        /// What it says.
        staple: Facts,
    },
    /// Somebody brought a response that was not taken.
    NotImported {
        /// Who, where the kernel says.
        uid: Option<u32>,
        /// Why not.
        error: String,
    },
    /// Somebody asked for a refresh.
    RefreshAsked {
        /// Who, where the kernel says.
        uid: Option<u32>,
        /// Names of certificates; none: all of them.
        names: Vec<String>,
        /// The servers are left alone.
        no_reload: bool,
        /// How many names there were besides.
        #[serde(default, skip_serializing_if = "is_none")]
        more: usize,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(more: &usize) -> bool {
    *more == 0
}

impl Happening {
    /// That a user runs this command, of this version, without an agent.
    pub fn by_hand(command: &str, uid: u32) -> Happening {
        Happening::ByHand {
            command: command.to_owned(),
            uid: Some(uid),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Late { certificate } => {
                write!(f, "{certificate}: its staple is not being renewed")
            }
            Condition::AtRisk { certificate } => {
                write!(f, "{certificate}: clients are or will soon be refused")
            }
            Condition::Revoked { certificate } => write!(f, "{certificate}: revoked, says its CA"),
            Condition::Expiring { certificate, not_after } => {
                write!(f, "{certificate}: the certificate itself runs out at {not_after}; renew it")
            }
            Condition::ResponderDown { responder } => {
                write!(f, "{responder}: the responder is down")
            }
            Condition::ServedMismatch { target, .. } => {
                write!(f, "{target}: clients are handed something else")
            }
            Condition::ReloadFailed { server } => write!(f, "{server}: cannot be reloaded"),
            Condition::PublishFailed { target } => write!(f, "{target}: cannot be written"),
            Condition::ClockSuspect => {
                f.write_str("the clock cannot be believed: nothing is withdrawn")
            }
        }
    }
}
