//! Room set aside, so that staples are published on a disk that others have filled.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, posix_fallocate};

/// So many small files, and their folder's new blocks, find room in the reserve.
pub(super) const FILES_AT_ONCE: usize = 64;
const BYTES: i64 = 512 * 1024;

/// A file of nothing, removed when its room is needed.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn new(path: &Path) -> Self {
        Reserve { path: path.to_owned() }
    }

    /// Sets room aside, where there is some. Failing at it is no failure of anything else.
    pub(super) fn fill(&self) {
        if fs::metadata(&self.path).is_ok_and(|found| found.len() == BYTES.cast_unsigned()) {
            return;
        }
        if let Err(error) = self.allocate() {
            tracing::debug!(path = %self.path.display(), %error, "cannot set room aside");
            self.release();
        }
    }

    /// Gives the room back; says whether there was some.
    pub(super) fn release(&self) -> bool {
        let held = fs::metadata(&self.path).is_ok_and(|found| found.len() > 0);
        fs::remove_file(&self.path).is_ok() && held
    }

    fn allocate(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlag::O_NOFOLLOW.bits() | OFlag::O_NONBLOCK.bits());
        let file = options.open(&self.path)?;
        Ok(posix_fallocate(file, 0, BYTES)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn room_is_really_taken_and_given_back() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let reserve = Reserve::new(&folder.path().join("reserve"));
        assert!(!reserve.release(), "there is none yet");
        reserve.fill();
        reserve.fill();
        let found = fs::metadata(&reserve.path).expect("made");
        assert!(found.blocks() * 512 >= BYTES.cast_unsigned(), "no sparse file");
        assert!(reserve.release() && !reserve.path.exists());
        let nowhere = Reserve::new(Path::new("/proc/reserve"));
        nowhere.fill();
        assert!(!nowhere.release());
    }
}
