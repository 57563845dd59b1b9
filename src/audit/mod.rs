//! The audit trail: what happened, in lines that cannot be changed unnoticed.
//!
//! `state_dir/audit/` holds JSON lines in files named `trail-SEQUENCE.jsonl` after their first line.
//! Each [`line`](Line) carries a sequence number, the time (RFC 3339, UTC), and the SHA-256 of the line
//! before it, over files too: an edited, dropped, added or reordered line breaks the chain where it stands.
//! What a chain cannot show, a cut at its end, the file `head` shows: it names the last line that is
//! safe on disk. Whoever may write the folder can still make up a whole trail with its head. Against that
//! helps only what lies elsewhere: the agent tells the log, at starts, each day and at stops, which line
//! was the last one and its digest. `doc/audit.md` says what is found and what is not.
//!
//! | file | what |
//! | --- | --- |
//! | `line` | how a line is written and read |
//! | `folder` | which files there are |
//! | `head` | the last line that is safe |
//! | `trail`, `recover` | appending, rotating, pruning; what a crash left behind |
//! | `known`, `placed` | what was recorded before and is no news |
//! | `left` | what root did and left to be written down |
//! | `recorder` | the thread that writes, and takes what happened without making anybody wait |
//! | `verify` | finds what was tampered with |
//! | `past` | what was stapled at an instant |
//!
//! A full disk stops nothing: the lines that find no room are counted, and the next line that does tells
//! how many there were.

mod folder;
mod head;
mod known;
mod left;
mod line;
mod past;
mod placed;
mod recorder;
mod recover;
mod trail;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

pub use folder::{TrailFile, lines};
pub use head::Head;
pub use left::to_leave;
pub use line::{Entry, Line, Own};
pub use past::{Handed, Past, Proof};
pub use recorder::Recorder;
pub use trail::Trail;
pub use verify::{Fault, Found, verify};

use crate::files::FileError;
use crate::time::DAY;

/// The trail's folder inside the state directory.
pub const FOLDER: &str = "audit";

/// Where the trail lies and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its folder, which must exist to be written to.
    pub folder: PathBuf,
    /// A file that has grown beyond this many bytes is followed by a new one.
    pub file_bytes: u64,
    /// So is one whose first line is older than this.
    pub file_age: Duration,
    /// A file is removed once its last line is older than this. The bytes of responses live as long.
    pub keep: Duration,
    /// The oldest files go before all of them together are longer than this.
    pub total_bytes: u64,
}

impl Settings {
    /// The trail in this folder, kept for 400 days, and less where it grows beyond 4 GiB.
    pub fn new(folder: impl Into<PathBuf>) -> Settings {
        Settings {
            folder: folder.into(),
            file_bytes: 16 << 20,
            file_age: 31 * DAY,
            keep: 400 * DAY,
            total_bytes: 4 << 30,
        }
    }
}

/// Why the trail could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// A file or folder of it could not be read, written or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Lines could not be appended.
    #[error("cannot append to the audit trail {}", path.display())]
    Append {
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl TrailError {
    /// The error with its cause and what the operator can do, in one sentence.
    pub fn words(&self) -> String {
        let cause = std::error::Error::source(self).map(|cause| format!(": {cause}"));
        let full = match self {
            TrailError::File(error) => error.is_full(),
            TrailError::Append { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            ),
        };
        let hint = if full { "; make room on the disk that holds `state_dir`" } else { "" };
        format!("{self}{}{hint}", cause.unwrap_or_default())
    }
}
