//! A disk that is soon full.

use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

/// A file system of its own, of 2 MiB; gone when the value is dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Nothing, with a word on standard error, where it cannot be made.
    pub fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs"]).arg(folder.path());
        let mounted = geteuid().is_root() && mount.status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: only root can mount a small disk");
        }
        mounted.then_some(SmallDisk(folder))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        // It ends in an error, and with the disk full.
        let _ = std::fs::write(self.path().join("ballast"), vec![0; 4 << 20]);
    }

    /// Makes room again.
    pub fn relieve(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
