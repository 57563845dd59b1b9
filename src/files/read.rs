//! Reading what others may have put there: bounded, and never waiting.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::{FileError, Step};

/// The bytes of the file at `path`, links followed; `None` if nothing is there.
///
/// # Errors
/// More than `max_bytes`, anything but a regular file (a pipe is not waited for, a device not
/// opened), and what the system refuses.
pub fn read(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read_regular(path, max_bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { path: path.to_owned(), step: Step::Read, source }),
    }
}

fn read_regular(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Opening a device can already have effects, so the look comes before; the second one, on the
    // open file, is the one that counts.
    check(&fs::metadata(path)?, max_bytes)?;
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let found = file.metadata()?;
    check(&found, max_bytes)?;
    let size = usize::try_from(found.len()).expect("the size was checked");
    let mut bytes = Vec::with_capacity(size + 1);
    (&mut file).take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_long(bytes.len() as u64, max_bytes));
    }
    Ok(bytes)
}

fn check(found: &fs::Metadata, max_bytes: u64) -> io::Result<()> {
    if !found.is_file() {
        let kind = if found.is_dir() { "a folder" } else { "no regular file" };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}")));
    }
    if found.len() > max_bytes {
        return Err(too_long(found.len(), max_bytes));
    }
    Ok(())
}

fn too_long(size: u64, max_bytes: u64) -> io::Error {
    let words = format!("it has {size} bytes, at most {max_bytes} were expected");
    io::Error::new(io::ErrorKind::FileTooLarge, words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use nix::sys::stat::Mode;

    use super::*;

    fn check(name: &str, make: impl FnOnce(&Path), expected: &str) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path: PathBuf = folder.path().join(name);
        make(&path);
        let seen = match read(&path, 8) {
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(error) => error.source.to_string(),
        };
        assert_eq!(seen, expected, "{name}");
    }

    #[test]
    fn only_short_regular_files_are_read() {
        let put = |path: &Path, text: &str| fs::write(path, text).expect("the folder is ours");
        check("file", |path| put(path, "12345678"), "12345678");
        check("empty", |path| put(path, ""), "");
        check("long", |path| put(path, "123456789"), "it has 9 bytes, at most 8 were expected");
        check("missing", |_| (), "nothing");
        check("folder", |path| fs::create_dir(path).expect("ours"), "it is a folder");
        check("dangling", |path| symlink("nowhere", path).expect("ours"), "nothing");
        let pipe = |path: &Path| nix::unistd::mkfifo(path, Mode::S_IRWXU).expect("ours");
        check("pipe", pipe, "it is no regular file");
        check("device", |path| symlink("/dev/zero", path).expect("ours"), "it is no regular file");
    }
}
