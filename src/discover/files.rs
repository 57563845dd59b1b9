//! What files and folders were like when they were looked at.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that changed this recently may change again without its times showing it.
const UNSETTLED: Duration = Duration::from_secs(2);

/// What a file or folder was like when it was looked at; an equal stamp means an unchanged file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// Of device, inode, size, mtime and ctime.
    digest: u64,
    /// The last change was long enough ago for the next to have another time.
    settled: bool,
}

impl Stamp {
    /// Looks at `path`, links followed.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Stamp::new(&metadata))
    }

    pub(super) fn new(metadata: &Metadata) -> Self {
        let mut hasher = DefaultHasher::new();
        (metadata.dev(), metadata.ino(), metadata.size()).hash(&mut hasher);
        (metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        (metadata.ctime(), metadata.ctime_nsec()).hash(&mut hasher);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
        Stamp { digest: hasher.finish(), settled: changed + UNSETTLED < now }
    }

    /// Whether what was read under `self` is what would be read under `now`.
    pub(super) fn still(&self, now: &Stamp) -> bool {
        self.settled && self.digest == now.digest
    }
}
