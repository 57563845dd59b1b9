//! What reaches the loop from the work it has set going.

use super::asking::{Brought, Failure};
use super::looking::Looked;
use super::model::Scanned;
use super::reloading::Due;
use crate::fetch::AskError;
use crate::hooks;
use crate::plan::{CertId, Event, ReloadFault, ResponderId, ServerId};
use crate::reload::Snapshot;

/// Something that was set going has ended.
#[derive(Debug)]
pub(super) enum Message {
    /// A request.
    Asked { cert: CertId, from: ResponderId, outcome: Result<Brought, Failure> },
    /// A batch of writing: what became of each part, with the words for failures.
    Written(Vec<(Event, Option<String>)>),
    /// Names were written down, or were not: why.
    NamesKept(Option<String>),
    /// The metrics textfile was written, or was not: why.
    TextfileWritten(Option<String>),
    /// A reload that waited for targets to be put right.
    Reload(Due),
    /// A reload has ended; with the server as it was then, where it can be seen.
    Reloaded { server: ServerId, outcome: Result<Option<Snapshot>, (ReloadFault, String)> },
    /// Handshakes for one target.
    Looked(Looked),
    /// A scan of configurations and folders.
    Scanned(Box<Scanned>),
    /// The operator's ACME client has ended: its last words, or what was wrong.
    Renewed { cert: CertId, outcome: Result<String, String> },
    /// A command of the operator's was run at an event.
    HookEnded(hooks::Ended),
    /// Issuers were looked for at an AIA URL; DER.
    IssuersFetched { url: String, outcome: Result<Vec<Vec<u8>>, AskError> },
}
