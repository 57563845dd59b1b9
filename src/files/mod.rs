//! Files that another process reads: they appear whole, or not at all.
//!
//! [`write_many`] brings a batch of files in: each is written under a temporary name beside its
//! place, all are made durable together, and only then are they renamed. A crash at any instant
//! leaves the old file or the new one. [`read()`] takes bytes of bounded length out and never waits
//! for a pipe. Shell modules share this; it knows nothing of staples.

mod clean;
mod dress;
mod read;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub use clean::{clean, remove};
pub use read::read;
pub use write::{Entry, replace, replace_by, write, write_many};

/// Temporary names begin so, then the pid and something random.
const PREFIX: &str = ".staplekeeper-";
/// Temporary names end so.
const SUFFIX: &str = ".tmp";
/// How many symbolic links are followed before they are taken for a loop, as Linux does.
const MAX_LINKS: usize = 40;

/// A file that could not be written, read or removed; the cause is its source.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} {}", step.words(), path.display())]
pub struct FileError {
    /// The file that was asked for, before links were followed.
    pub path: PathBuf,
    /// What was being done.
    pub step: Step,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// The system refuses: a folder is missing, permission is missing, something else lies there. It
    /// stays so until a person acts; anything else (a full disk, an I/O error) may pass.
    pub fn is_refusal(&self) -> bool {
        use io::ErrorKind as Kind;
        matches!(
            self.source.kind(),
            Kind::NotFound
                | Kind::PermissionDenied
                | Kind::NotADirectory
                | Kind::IsADirectory
                | Kind::ReadOnlyFilesystem
                | Kind::InvalidInput
                | Kind::InvalidFilename
        ) || self.source.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32)
    }

    /// No room is left on the disk, or in the quota.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// More bytes lie there than whoever reads it expects.
    pub fn is_too_long(&self) -> bool {
        self.source.kind() == io::ErrorKind::FileTooLarge
    }
}

/// A step on the way of a file, in the order they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Links are followed to the place where the file lies.
    Follow,
    /// The temporary file is made beside it.
    Create,
    /// The bytes are written.
    Write,
    /// Mode, owner and label are set, and the second name is made.
    Dress,
    /// The bytes reach the disk.
    Sync,
    /// The temporary name becomes the name.
    Rename,
    /// The folder's new entry reaches the disk.
    SyncFolder,
    /// The bytes are read.
    Read,
    /// The name is removed.
    Remove,
}

impl Step {
    const fn words(self) -> &'static str {
        match self {
            Step::Follow => "follow the links of",
            Step::Create => "make a temporary file beside",
            Step::Write => "write the temporary file of",
            Step::Dress => "set mode and owner of",
            Step::Sync => "bring to disk",
            Step::Rename => "rename the temporary file to",
            Step::SyncFolder => "bring to disk the folder of",
            Step::Read => "read",
            Step::Remove => "remove",
        }
    }
}

/// Where `path` leads once its own links are followed (those of its folders are the kernel's), and
/// what lies there; the end of a dangling link is a place too.
///
/// # Errors
/// Links that lead in a circle, and what the system refuses.
pub fn follow(path: &Path) -> io::Result<(PathBuf, Option<fs::Metadata>)> {
    let mut place = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_symlink() => {
                let end = fs::read_link(&place)?;
                place = folder_of(&place).join(end);
            }
            Ok(found) => return Ok((place, Some(found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((place, None)),
            Err(error) => return Err(error),
        }
    }
    Err(nix::errno::Errno::ELOOP.into())
}

/// A name for a file that is not finished, in a folder where [`clean()`] will find it after a crash.
pub fn temporary_name() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-n{count}{SUFFIX}", std::process::id()).into()
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
