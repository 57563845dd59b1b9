//! What reaches the loop from the work it has set going.

use super::asking::{Brought, Failure};
use super::looking::Looked;
use super::model::Scanned;
use crate::fetch::AskError;
use crate::plan::{CertId, Event, ReloadFault, ResponderId, ServerId, Why};

/// Something that was set going has ended.
#[derive(Debug)]
pub(super) enum Message {
    /// A request.
    Asked { cert: CertId, from: ResponderId, outcome: Result<Brought, Failure> },
    /// A batch of writing: what became of each part, with the words for failures.
    Written(Vec<(Event, Option<String>)>),
    /// A reload that waited for targets to be put right.
    Reload { server: ServerId, why: Why, tries: u32 },
    /// A reload has ended.
    Reloaded { server: ServerId, outcome: Result<(), (ReloadFault, String)> },
    /// Handshakes for one target.
    Looked(Looked),
    /// A scan of configurations and folders.
    Scanned(Box<Scanned>),
    /// Issuers were looked for at an AIA URL; DER.
    IssuersFetched { url: String, outcome: Result<Vec<Vec<u8>>, AskError> },
}
