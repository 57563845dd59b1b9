//! Notices at once that something which was scanned has changed.
//!
//! [`Watcher::set`] takes the paths of a scan ([`Scan::watch`](super::Scan::watch)). What is asked of
//! the kernel are folders, by their real paths: [`interest`] turns paths into folders and the names
//! in them that matter, up to `/`, so that a folder which is swapped, removed or not there yet is
//! noticed by the one above it. [`debounce`] says when to speak. The kernel tells of our own reads
//! too; those are dropped first of all, or each scan would ask for the next.
//!
//! Watching may fail (network file systems, the kernel's limits): a periodic scan is the ground
//! truth, this only makes it quicker.

mod debounce;
mod interest;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::problem::{Problem, What};
use super::scan::Watched;
use debounce::Debounce;
pub use debounce::Pace;
use interest::Interest;

/// More paths than this are told as [`Changed::Everything`].
const MAX_PATHS: usize = 256;

/// Folders may be replaced without our being told: after this time each one is looked at again.
const RECHECK: Duration = Duration::from_secs(300);

/// What changed; either way, it is time to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Files, links or folders, by their real paths; not every one of them matters.
    Paths(BTreeSet<PathBuf>),
    /// The kernel lost count, or there were too many to tell.
    Everything,
}

/// Watches files and folders; it ends when dropped.
#[derive(Debug)]
pub struct Watcher {
    kernel: RecommendedWatcher,
    notices: Sender<Notice>,
    shared: Arc<Mutex<Shared>>,
    /// What was set last, when, and what could not be watched of it.
    last: Option<(Watched, Instant, Vec<Problem>)>,
}

/// What the thread that waits is told.
#[derive(Debug)]
enum Notice {
    /// Something happened.
    Happened(notify::Result<Event>),
    /// Folders are watched from now on: what happened in them before was missed.
    Armed(BTreeSet<PathBuf>),
    Stop,
}

/// What is watched.
#[derive(Debug, Default)]
struct Shared {
    folders: HashMap<Arc<Path>, Armed>,
    /// Folders whose watch the kernel or `notify` has dropped, with all below them.
    dropped: HashSet<PathBuf>,
    /// Something that leads to what is watched came, went or is another one now.
    stale: bool,
}

/// A folder that matters.
#[derive(Debug)]
struct Armed {
    interest: Interest,
    /// Device and inode of the folder that is watched; `None` while it is not.
    identity: Option<(u64, u64)>,
}

/// Watching cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("inotify cannot be used: {0}; changes are found by the periodic rescan only")]
pub struct WatchError(#[from] notify::Error);

impl Watcher {
    /// Begins to watch nothing yet. `changed` is called on a thread of its own: 50 ms after a change,
    /// and at most four times a second.
    ///
    /// # Errors
    /// The kernel has no inotify instance left, or none at all.
    pub fn start(changed: impl FnMut(Changed) + Send + 'static) -> Result<Self, WatchError> {
        Watcher::with_pace(Pace::default(), changed)
    }

    /// The same with other waits.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn with_pace(
        pace: Pace,
        changed: impl FnMut(Changed) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let (notices, inbox) = mpsc::channel();
        let happened = notices.clone();
        // This runs on the thread that empties the kernel's queue: nothing may wait there.
        let kernel = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, is_change) {
                // The receiver is gone only when all ends.
                let _ = happened.send(Notice::Happened(event));
            }
        })?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let waiting = Waiting { shared: shared.clone(), debounce: Debounce::new(pace), changed };
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || waiting.run(&inbox))
            .map_err(notify::Error::io)?;
        Ok(Watcher { kernel, notices, shared, last: None })
    }

    /// Watches `paths` from now on and nothing else: a folder with what is directly in
    /// it, a file or link by its name; and what leads to them. Call it after every scan.
    ///
    /// Folders that were not watched before are reported as changed, since the scan may have been
    /// there too early. Gives what cannot be watched.
    pub fn set(&mut self, paths: &Watched) -> Vec<Problem> {
        let stale = std::mem::take(&mut lock(&self.shared).stale);
        match &self.last {
            Some((last, when, problems))
                if !stale && when.elapsed() < RECHECK && last.is_same(paths) =>
            {
                return problems.clone();
            }
            _ => {}
        }
        let problems = self.set_anew(paths);
        self.last = Some((paths.clone(), Instant::now(), problems.clone()));
        problems
    }

    fn set_anew(&mut self, paths: &Watched) -> Vec<Problem> {
        let wanted = interest::of(paths);
        let mut problems = Vec::new();
        let mut armed = BTreeSet::new();
        {
            let mut shared = lock(&self.shared);
            shared.forget_dropped();
            let gone: Vec<_> =
                shared.folders.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect();
            for path in gone {
                shared.folders.remove(&path);
                // It may be gone already.
                let _ = self.kernel.unwatch(&path);
            }
            let mut order: Vec<_> = wanted.into_iter().collect();
            // Should the kernel's limit be reached, what lies above has been covered.
            order.sort_by_cached_key(|(path, _)| path.components().count());
            let mut full = false;
            for (path, interest) in order {
                let now = path.metadata().ok().map(|found| (found.dev(), found.ino()));
                let before = shared.folders.get(&path).and_then(|armed| armed.identity);
                let mut identity = before.filter(|_| before == now);
                if identity.is_none() && !full {
                    match arm(&mut self.kernel, &path) {
                        Ok(()) => {
                            identity = now;
                            armed.insert(path.to_path_buf());
                        }
                        Err(None) => {}
                        Err(Some(what)) => {
                            full = what == What::WatchLimit;
                            problems.push(Problem::new(&*path, what));
                        }
                    }
                }
                shared.folders.insert(path, Armed { interest, identity });
            }
        }
        if !armed.is_empty() {
            // The thread outlives this value.
            let _ = self.notices.send(Notice::Armed(armed));
        }
        problems
    }
}

/// Fails without a reason where the folder has just gone.
fn arm(kernel: &mut RecommendedWatcher, path: &Path) -> Result<(), Option<What>> {
    // A watch of a folder that was there before would be confused with the new one.
    let _ = kernel.unwatch(path);
    match kernel.watch(path, RecursiveMode::NonRecursive) {
        Ok(()) => Ok(()),
        Err(error) => Err(match error.kind {
            ErrorKind::PathNotFound => None,
            ErrorKind::MaxFilesWatch => Some(What::WatchLimit),
            _ => Some(What::Unwatched(error.to_string())),
        }),
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The thread may have ended already.
        let _ = self.notices.send(Notice::Stop);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // The map is whole at any time; a panic elsewhere does not spoil it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything but reading: our own reads are told, too.
fn is_change(event: &Event) -> bool {
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    event.need_rescan() || event.kind == written || !event.kind.is_access()
}

impl Shared {
    /// Whether anything that matters can have changed by `event`; notes what is to be armed again.
    fn takes(&mut self, event: &Event) -> bool {
        let moved =
            matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        let mut matters = false;
        for path in &event.paths {
            let own = self.folders.get(&**path);
            let entry = path.parent().zip(path.file_name()).and_then(|(folder, name)| {
                self.folders.get(folder).map(|armed| (&armed.interest, name))
            });
            let named = entry.is_some_and(|(interest, name)| interest.names(name));
            self.stale |= named || (moved && own.is_some());
            if moved && (own.is_some() || named) {
                self.dropped.insert(path.clone());
            }
            matters |= named
                || entry.is_some_and(|(interest, name)| interest.includes(name))
                || own.is_some_and(|armed| moved || armed.interest.whole);
        }
        matters
    }

    fn forget_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped.is_empty() {
            return;
        }
        for (path, armed) in &mut self.folders {
            if path.ancestors().any(|above| dropped.contains(above)) {
                armed.identity = None;
            }
        }
    }
}

/// The thread that waits.
struct Waiting<F> {
    shared: Arc<Mutex<Shared>>,
    debounce: Debounce,
    changed: F,
}

impl<F: FnMut(Changed)> Waiting<F> {
    fn run(mut self, inbox: &mpsc::Receiver<Notice>) {
        let mut paths = BTreeSet::new();
        let mut everything = false;
        loop {
            let wait = match self.debounce.due() {
                Some(due) => due.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            match inbox.recv_timeout(wait) {
                Ok(Notice::Happened(Ok(event))) if !event.need_rescan() => {
                    if !lock(&self.shared).takes(&event) {
                        continue;
                    }
                    tracing::trace!(?event, "changed on disk");
                    paths.extend(event.paths);
                }
                Ok(Notice::Happened(lost)) => {
                    tracing::debug!(?lost, "inotify lost events");
                    // The removal of a folder may be among them.
                    let mut shared = lock(&self.shared);
                    shared.stale = true;
                    shared.dropped.insert(PathBuf::from("/"));
                    drop(shared);
                    everything = true;
                }
                Ok(Notice::Armed(folders)) => paths.extend(folders),
                Ok(Notice::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if self.debounce.due().is_some_and(|due| due <= Instant::now()) {
                        let paths = std::mem::take(&mut paths);
                        let all = std::mem::take(&mut everything) || paths.len() > MAX_PATHS;
                        self.debounce.told(Instant::now());
                        (self.changed)(if all {
                            Changed::Everything
                        } else {
                            Changed::Paths(paths)
                        });
                    }
                    continue;
                }
            }
            everything |= paths.len() > MAX_PATHS;
            if everything {
                paths.clear();
            }
            self.debounce.noticed(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
