//! Which folders to watch for a set of paths, and which names in them matter.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use crate::discover::links::Links;
use crate::discover::scan::Watched;

/// What matters in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// Everything directly in it, but for what publishing and editors leave.
    pub(super) whole: bool,
    /// These names: files and links that are watched themselves, and what lies on the way to others.
    names: BTreeSet<Box<OsStr>>,
}

impl Interest {
    /// The name is watched for itself: if it is another file now, watches below it are void.
    pub(super) fn names(&self, name: &OsStr) -> bool {
        self.names.contains(name)
    }

    /// The whole folder matters, and `name` in it.
    pub(super) fn includes(&self, name: &OsStr) -> bool {
        self.whole && !is_noise(name)
    }
}

/// Temporary files (`..data` of Kubernetes is none) and staples, which may be ours.
fn is_noise(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let hidden = name.starts_with(b".") && !name.starts_with(b"..");
    hidden || name.ends_with(b".der") || name.ends_with(b".ocsp")
}

/// The folders to watch for `paths`, by their real paths: inotify knows folders, not names, and two
/// names of one folder would hide each other.
pub(super) fn of(paths: &Watched) -> HashMap<Arc<Path>, Interest> {
    let mut found = HashMap::<Arc<Path>, Interest>::new();
    let mut links = Links::default();
    let mut climbed = HashSet::<&OsStr>::new();
    for path in paths.iter() {
        if path.is_dir()
            && let Ok(folder) = links.folder(path)
        {
            found.entry(folder).or_default().whole = true;
        }
        for path in path.ancestors() {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { break };
            if !climbed.insert(path.as_os_str()) {
                break;
            }
            if let Ok(folder) = links.folder(folder) {
                found.entry(folder).or_default().names.insert(name.into());
            }
        }
    }
    found
}
