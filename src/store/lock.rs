//! One agent at a time: a lock that the kernel lets go of, however its holder ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;

use super::StoreError;
use crate::files::{self, FileError, Step};

/// Held while this value lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "dropping it lets go")] Flock<File>);

impl Lock {
    /// Takes the lock and says in the file who holds it. The file stays when the lock goes: removing
    /// it would let two agents lock two files of one name.
    pub(super) fn take(path: &Path) -> Result<Lock, StoreError> {
        let fail = |source| FileError { path: path.to_owned(), step: Step::Create, source };
        let file = open(path).map_err(fail)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                if let Err(error) = sign(&mut held) {
                    tracing::warn!(%error, "cannot write the process id into the lock");
                }
                Ok(Lock(held))
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(StoreError::Locked { path: path.to_owned(), pid: signed(path) })
            }
            Err((_, errno)) => Err(fail(errno.into()).into()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o644).custom_flags(OFlag::O_NOFOLLOW.bits());
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        outcome => return outcome,
    }
    let file = options.create(true).truncate(false).open(path)?;
    if let (true, Some(folder)) = (geteuid().is_root(), path.parent()) {
        // The agent must be able to open what a command run by root made.
        let owner = std::fs::metadata(folder)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(file)
}

fn sign(file: &mut File) -> io::Result<()> {
    // Ten digits always: the file never changes its length, so a full disk does not matter.
    writeln!(file, "{:>10}", std::process::id())
}

fn signed(path: &Path) -> Option<i32> {
    let bytes = files::read(path, 64).ok()??;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}
