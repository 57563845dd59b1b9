//! What survives a restart: the last good responses, and what was learned on the way to them.
//!
//! | in `state_dir` | home | what |
//! | --- | --- | --- |
//! | `staples/` | `publish` | published staples; made here, written there |
//! | `responses/`, `history/` | `responses` | the last good response per certificate, and every one before it |
//! | `attempts` | `attempts` | failures, waits and validators: what was asked of whom |
//! | `loaded/` | `loaded` | what each server was last proved to have taken up |
//! | `issuers/`, `names.json`, `frozen.json`, `lost.json`, `checked`, `seed` | `small` | issuers learned by AIA, names once given, what is frozen, OCSP URLs lost at a renewal, signatures found good, the jitter's seed |
//! | `audit/` | `audit` | the audit trail; made here, written there |
//! | `lock` | `lock` | one agent at a time |
//!
//! [`StateDir`] reads, needs no lock and believes nothing: whoever loads bytes verifies them again.
//! [`Store`] writes and holds the lock. Everything is named by fingerprint, URL or path, since the
//! planner's numbers mean nothing after a restart. Any call may fail on a full disk; none of them has to
//! succeed for a staple to be published.

mod attempts;
mod journal;
mod loaded;
mod lock;
mod renewals;
mod responses;
mod small;
mod told;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::unistd::geteuid;

pub use attempts::{Answer, Attempt, Habit, Record, Remembered};
pub use loaded::{Content, Loaded, LoadedServer};
pub use told::Told;

use crate::files::{self, FileError};
use crate::plan::PublishFault;

/// Where the state lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `state_dir`; its owner is the service's user, and owns all that is made in it.
    pub state_dir: PathBuf,
}

/// The state as it lies on disk, to be read by anyone at any time.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The state in this folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        StateDir { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where staples are published.
    pub fn staples(&self) -> PathBuf {
        self.root.join("staples")
    }
}

/// The state of the one agent that holds its lock; to be shared between threads.
#[derive(Debug)]
pub struct Store {
    dir: StateDir,
    attempts: Mutex<attempts::Attempts>,
    loaded: Mutex<loaded::Journals>,
    _lock: lock::Lock,
}

impl Store {
    /// Takes the lock, makes what is missing and removes what a crash left half-written.
    ///
    /// A full disk does not stop an agent that ran here before.
    ///
    /// # Errors
    /// Another agent holds the lock, or the folder cannot be made or written to.
    pub fn open(settings: &Settings) -> Result<Store, StoreError> {
        let dir = StateDir::new(&settings.state_dir);
        make_folder(&dir.root)?;
        let lock = lock::Lock::take(&dir.root.join("lock"))?;
        for folder in ["staples", "responses", "history", "loaded", "issuers", "audit"] {
            make_folder(&dir.root.join(folder))?;
        }
        responses::make_history(&dir.root.join("history"))?;
        clean(&dir);
        let attempts = Mutex::new(attempts::Attempts::open(&dir.root.join("attempts")));
        let loaded = Mutex::new(loaded::Journals::new(&dir.root.join("loaded")));
        Ok(Store { dir, attempts, loaded, _lock: lock })
    }

    /// The reading side.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }
}

/// Makes a folder that everybody may look into (0755); one made by root belongs to whom its parent
/// belongs to.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::Folder { path: path.to_owned(), source };
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        outcome => outcome.map_err(fail)?,
    }
    // The mode given above is subject to the umask.
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(fail)?;
    if let (true, Some(parent)) = (geteuid().is_root(), path.parent()) {
        let owner = fs::metadata(parent).map_err(fail)?;
        chown(path, Some(owner.uid()), Some(owner.gid())).map_err(fail)?;
    }
    Ok(())
}

fn clean(dir: &StateDir) {
    for folder in ["", "staples", "responses", "loaded", "issuers", "audit"] {
        match files::clean(&dir.root.join(folder)) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(folder, removed, "removed half-written files"),
            Err(error) => tracing::warn!(folder, %error, "cannot look for half-written files"),
        }
    }
}

/// Whoever panicked while holding it left at worst a torn line, which readers skip.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// One agent at a time.
    #[error("{} is held by {}", path.display(), holder(*pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The agent that holds it, as it says.
        pid: Option<i32>,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder could not be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line could not be appended.
    #[error("cannot append to {}", path.display())]
    Append {
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In which way.
        reason: String,
    },
}

impl StoreError {
    /// What it means to the planner: whether a person must act.
    pub fn fault(&self) -> PublishFault {
        let refused = match self {
            StoreError::File(error) => error.is_refusal(),
            StoreError::Folder { source, .. } | StoreError::Append { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            StoreError::Locked { .. } => true,
            StoreError::Damaged { .. } => false,
        };
        if refused { PublishFault::Refused } else { PublishFault::Failed }
    }

    /// No room is left on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::File(error) => error.is_full(),
            StoreError::Folder { source, .. } | StoreError::Append { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            StoreError::Locked { .. } | StoreError::Damaged { .. } => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            StoreError::Locked { .. } => {
                Some("stop that agent, or give this one a `state_dir` of its own")
            }
            _ if self.is_full() => Some("make room on the disk that holds `state_dir`"),
            _ if self.fault() == PublishFault::Refused => {
                Some("`state_dir` must exist and belong to the user that the agent runs as")
            }
            _ => None,
        }
    }
}

fn holder(pid: Option<i32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_at_a_time() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let settings = Settings { state_dir: folder.path().join("state") };
        let first = Store::open(&settings).expect("nobody else is there");
        let mode = |path: &Path| fs::metadata(path).expect("made").mode() & 0o777;
        assert_eq!(mode(&settings.state_dir), 0o755);
        assert_eq!(mode(&first.dir().staples()), 0o755);
        let error = Store::open(&settings).expect_err("the first one holds it");
        assert!(error.to_string().ends_with(&format!("held by process {}", std::process::id())));
        drop(first);
        Store::open(&settings).expect("the first one is gone");
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let settings = Settings { state_dir: folder.path().to_owned() };
        drop(Store::open(&settings).expect("ours"));
        let stray = folder.path().join("responses/.staplekeeper-2147483647-x.tmp");
        fs::write(&stray, "half").expect("ours");
        let store = Store::open(&settings).expect("ours");
        assert!(!stray.exists() && store.dir().root() == folder.path());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let settings = Settings { state_dir: "/proc/staplekeeper".into() };
        let error = Store::open(&settings).expect_err("/proc takes no folders");
        assert_eq!(error.to_string(), "cannot make the folder /proc/staplekeeper");
    }
}
