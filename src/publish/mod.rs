//! Puts staples where servers read them, whole and durably, and looks at what lies there.
//!
//! A target takes a [`Staple`], the placeholder or nothing, and no other bytes: nginx hands out whatever
//! it finds (facts/servers.md 11), so what is written here is the only check there is. [`adopt`] makes
//! targets in root's folders links into the one folder that the agent may write to.

pub mod admin;
pub mod adopt;
mod reserve;
pub mod store_entry;

use std::borrow::Cow;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::files::{self, Entry, FileError, Step};
use crate::ocsp::{Staple, TRY_LATER};
use crate::plan::PublishFault;
use reserve::Reserve;

/// Longer ones are no OCSP responses.
const MAX_BYTES: u64 = 64 * 1024;
/// The same in base64, with some words around it.
const MAX_ENTRY_BYTES: u64 = 96 * 1024;

/// Where staples go when nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `{state_dir}/staples`.
    pub staples: PathBuf,
    /// A file that holds room on that disk until it is full: `{state_dir}/reserve`.
    pub reserve: PathBuf,
}

/// A place where a server takes staples from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A file by its absolute path; a link is followed, and stays.
    File(Arc<Path>),
    /// An entry of mod_md's store by its absolute path; see [`store_entry`]. There is none where another
    /// target would hold the placeholder.
    StoreEntry(Arc<Path>),
}

impl Target {
    /// The file that is written.
    pub fn path(&self) -> &Path {
        let (Target::File(path) | Target::StoreEntry(path)) = self;
        path
    }

    /// What the file holds when it is as ordered; `None`: there is no file.
    fn bytes<'a>(&self, what: Publishable<'a>) -> Option<Cow<'a, [u8]>> {
        match (self, what) {
            (_, Publishable::Nothing) => None,
            (Target::File(_), Publishable::Staple(staple)) => Some(staple.der().into()),
            (Target::File(_), Publishable::Placeholder) => Some(Cow::Borrowed(&TRY_LATER)),
            (Target::StoreEntry(_), Publishable::Staple(staple)) => {
                Some(store_entry::encode(staple).into())
            }
            (Target::StoreEntry(_), Publishable::Placeholder) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

/// What can be put into a target.
#[derive(Clone, Copy, Debug)]
pub enum Publishable<'a> {
    /// A proven response.
    Staple(&'a Staple),
    /// `tryLater`: harmless without Must-Staple, and nginx does not start without a file.
    Placeholder,
    /// The file is removed.
    Nothing,
}

/// What lies in a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing is there.
    Missing,
    /// `tryLater`.
    Placeholder,
    /// Something, to be judged by `ocsp::verify`.
    Bytes(Vec<u8>),
    /// The same in an entry of mod_md's store, with what that says besides.
    Entry(store_entry::Found),
}

/// How a publication went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The target holds it now, durably.
    Written,
    /// The target held it already; nothing was written.
    Unchanged,
}

/// Writes targets.
#[derive(Debug)]
pub struct Publisher {
    settings: Settings,
    reserve: Reserve,
}

impl Publisher {
    /// A publisher that also writes into the folder of staples; sets room aside on its disk.
    pub fn new(settings: Settings) -> Self {
        let reserve = Reserve::new(&settings.reserve);
        reserve.fill();
        Publisher { settings, reserve }
    }

    /// The folder that targets without a place of their own go to.
    pub fn staples(&self) -> &std::path::Path {
        &self.settings.staples
    }

    /// Puts each content into its target. A thousand at once wait for the disk as often as ten, and none
    /// becomes visible before it is safe.
    ///
    /// Outcomes stand in the order of the orders; each failure costs only itself, and leaves what
    /// lay there.
    pub fn publish(&self, orders: &[(Target, Publishable<'_>)]) -> Vec<Result<Done, PublishError>> {
        let mut outcomes: Vec<_> =
            orders.iter().map(|(target, what)| prepare(target, *what)).collect();
        let all: Vec<_> = (0..orders.len()).collect();
        carry_out(orders, &all, &mut outcomes);
        if outcomes.iter().any(is_full) && self.reserve.release() {
            tracing::warn!("the disk is full: publishing into the room set aside");
            let full = |n: &usize| is_full(&outcomes[*n]);
            let again: Vec<_> = all.into_iter().filter(full).collect();
            // Each replaced file gives its room back, so a few at a time need little of it.
            for some in again.chunks(reserve::FILES_AT_ONCE) {
                some.iter().for_each(|n| outcomes[*n] = Ok(None));
                carry_out(orders, some, &mut outcomes);
            }
            self.reserve.fill();
        }
        let done =
            |outcome: Result<Option<Done>, _>| outcome.map(|done| done.expect("carried out"));
        outcomes.into_iter().map(done).collect()
    }

    /// Removes half-written files that a crash left beside targets.
    pub fn clean<'a>(&self, targets: impl IntoIterator<Item = &'a Target>) {
        let folders = targets.into_iter().filter_map(|target| target.path().parent());
        let folders: std::collections::BTreeSet<_> = folders.collect();
        for folder in folders {
            // A folder that is missing or closed to us has nothing of ours in it.
            if let Ok(removed @ 1..) = files::clean(folder) {
                tracing::info!(folder = %folder.display(), removed, "removed half-written files");
            }
        }
    }
}

/// Tells one state of a target's file from another without reading it: whoever writes into it or puts
/// another in its place leaves another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The state of a target's file; `None` where nothing can be seen.
///
/// A file that has changed within the last two seconds has none: clocks of file systems are coarse, and
/// what comes next could leave the same.
pub fn stamp(target: &Target) -> Option<Stamp> {
    let found = std::fs::metadata(target.path()).ok()?;
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(found.ctime().try_into().ok()?);
    if SystemTime::now().duration_since(changed).ok()? < Duration::from_secs(2) {
        return None;
    }
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// What lies in a target now; links are followed.
///
/// # Errors
/// Something else than a short regular file is there, or it may not be read. A pipe is not waited for.
pub fn inspect(target: &Target) -> Result<What, PublishError> {
    Ok(match target {
        Target::File(path) => match files::read(path, MAX_BYTES)? {
            None => What::Missing,
            Some(bytes) if bytes == TRY_LATER => What::Placeholder,
            Some(bytes) => What::Bytes(bytes),
        },
        // An entry without a response is something foreign, like a response that is none.
        Target::StoreEntry(path) => match files::read(path, MAX_ENTRY_BYTES)? {
            None => What::Missing,
            Some(entry) => What::Entry(store_entry::decode(&entry)),
        },
    })
}

/// An outcome, or that there is still something to do.
type Progress = Result<Option<Done>, PublishError>;

/// Sees what need not be written, and what cannot.
fn prepare(target: &Target, what: Publishable<'_>) -> Progress {
    let path = target.path();
    if !path.is_absolute() {
        let source = std::io::ErrorKind::InvalidInput.into();
        return Err(FileError { path: path.to_owned(), step: Step::Follow, source }.into());
    }
    // What cannot be read may still be replaced.
    let unchanged = match (inspect(target), what) {
        (Ok(What::Bytes(found)), Publishable::Staple(staple)) => found == staple.der(),
        (Ok(What::Entry(found)), Publishable::Staple(staple)) => found.fits(staple),
        (Ok(What::Placeholder), Publishable::Placeholder) => true,
        (Ok(What::Missing), what) => target.bytes(what).is_none(),
        _ => false,
    };
    Ok(unchanged.then_some(Done::Unchanged))
}

/// Does what is left of the orders with these numbers.
fn carry_out(orders: &[(Target, Publishable<'_>)], numbers: &[usize], outcomes: &mut [Progress]) {
    let left = |n: &&usize| matches!(outcomes[**n], Ok(None));
    let left: Vec<usize> = numbers.iter().filter(left).copied().collect();
    let contents: Vec<_> = left.iter().map(|n| orders[*n].0.bytes(orders[*n].1)).collect();
    let (mut entries, mut written) = (Vec::new(), Vec::new());
    for (n, content) in left.into_iter().zip(&contents) {
        let target = &orders[n].0;
        let path = target.path();
        match content {
            Some(bytes) => {
                let made = match target {
                    Target::File(_) => Ok(()),
                    Target::StoreEntry(_) => store_entry::make_folders(path),
                };
                match made {
                    Ok(()) => {
                        entries.push(Entry::public(path, bytes));
                        written.push(n);
                    }
                    Err(source) => {
                        let (path, step) = (path.to_owned(), Step::Create);
                        outcomes[n] = Err(FileError { path, step, source }.into());
                    }
                }
            }
            None => {
                outcomes[n] = files::remove(path).map(|()| Some(Done::Written)).map_err(Into::into)
            }
        }
    }
    for (n, outcome) in written.into_iter().zip(files::write_many(&entries)) {
        outcomes[n] = outcome.map(|()| Some(Done::Written)).map_err(Into::into);
    }
}

fn is_full(outcome: &Progress) -> bool {
    matches!(outcome, Err(PublishError(error)) if error.is_full())
}

/// Why a target was not written, or could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PublishError(#[from] FileError);

impl PublishError {
    /// What it means to the planner: whether a person must act.
    pub fn fault(&self) -> PublishFault {
        if self.0.is_refusal() { PublishFault::Refused } else { PublishFault::Failed }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        use std::io::ErrorKind as Kind;
        let FileError { path, step, source } = &self.0;
        let folder = path.parent().unwrap_or(path).display();
        let refused = matches!(source.kind(), Kind::NotFound | Kind::PermissionDenied);
        if refused && store_entry::is_one(path) {
            // A link would not do: mod_md puts its own entries in its place.
            return Some(format!(
                "mod_md's store is Apache's own: let this user write to {folder} as well, for instance by an ACL: setfacl -m u:staplekeeper:rwx,d:u:staplekeeper:rwx {folder}"
            ));
        }
        match source.kind() {
            Kind::InvalidInput if !path.is_absolute() => Some("give its whole path".to_owned()),
            Kind::NotFound if *step == Step::Create => Some(format!(
                "{folder} does not exist: run `staplekeeper adopt` as root, which makes it and puts a link into it"
            )),
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Some(format!(
                "this user may not write to {folder}: run `staplekeeper adopt` as root, which makes {} a link into the folder of staples",
                path.display()
            )),
            _ if self.0.is_full() => Some("make room on the disk".to_owned()),
            _ => None,
        }
    }
}
