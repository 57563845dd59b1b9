//! Removing: files that are no longer wanted, and what a crash left behind.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::{FileError, PREFIX, SUFFIX, Step, folder_of, follow};

/// Removes the file at `path`, or the one its links lead to, durably. Nothing there: nothing done.
///
/// # Errors
/// Something else than a file lies there, or the system refuses.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let fail = |step| move |source| FileError { path: path.to_owned(), step, source };
    let (place, found) = follow(path).map_err(fail(Step::Follow))?;
    if found.is_none() {
        return Ok(());
    }
    match fs::remove_file(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        outcome => outcome.map_err(fail(Step::Remove))?,
    }
    File::open(folder_of(&place))
        .and_then(|folder| folder.sync_all())
        .map_err(fail(Step::SyncFolder))
}

/// Removes temporary files that a crash left in `folder`; says how many. Those of processes that
/// still run stay, other names are not touched.
///
/// # Errors
/// The folder cannot be read. A file that cannot be removed is left for the next time.
pub fn clean(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let writer = entry.file_name().to_str().and_then(writer_of);
        if writer.is_some_and(is_gone) && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// The process that made a temporary name.
fn writer_of(name: &str) -> Option<i32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
    pid.parse().ok()
}

/// Our own pid counts as gone: in a container every start has the same one, and nothing of this
/// process is being written while it cleans up.
fn is_gone(pid: i32) -> bool {
    pid.cast_unsigned() == std::process::id() || kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dead_writers_left_is_removed() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let init = format!("{PREFIX}1-abc{SUFFIX}");
        let dead = format!("{PREFIX}{}-abc{SUFFIX}", i32::MAX);
        let own = format!("{PREFIX}{}-abc{SUFFIX}", std::process::id());
        let others = [".staplekeeper-x-abc.tmp", ".keeper-1-abc.tmp", "www.der", &init];
        for name in others.iter().copied().chain([dead.as_str(), &own]) {
            fs::write(folder.path().join(name), name).expect("the folder is ours");
        }
        assert_eq!(clean(folder.path()).expect("readable"), 2);
        for name in others {
            assert!(folder.path().join(name).exists(), "{name}");
        }
        assert!(clean(&folder.path().join("missing")).is_err());
    }
}
