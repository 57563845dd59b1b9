//! The last line that is safe on disk, in a file of its own.
//!
//! It is written in place and has always the same length: this needs no room on a full disk, and a
//! reader finds the old one or the new one. It is written after the lines are safe, so it is never ahead
//! of them, and behind at most by what was written in the second before a crash. However a disk hangs,
//! no line is written that happened more than [`BEHIND`] after the first one behind it, and no file is begun
//! before it names the last line of the one before: an older `head` put in its place shows.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line::{NOTHING, Next};
use crate::digest::Digest;
use crate::files::{self, FileError, Step};
use crate::time::{MINUTE, UnixTime};

/// The file's name in the trail's folder.
pub(super) const NAME: &str = "head";

/// The file's length: enough for the largest number, padded with spaces.
const BYTES: usize = 128;

/// The lines behind it are of no longer a time than this.
pub(super) const BEHIND: Duration = MINUTE;

/// Said of one that crashes do not leave.
pub(super) const TOO_OLD: &str = "the agent moves it on within seconds, and before it begins a file: an older `head` was put there, or \
     lines were added";

/// Whether lines of these instants can not both be behind it. A clock may be put back.
pub(super) fn are_apart(one: UnixTime, other: UnixTime) -> bool {
    one.since(other).max(other.since(one)) > BEHIND
}

/// The last line that is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number; 0 before there is one.
    pub seq: u64,
    /// Its SHA-256, as the next line will carry it.
    pub sha256: Digest,
}

impl Head {
    /// Nothing has been written yet.
    pub(super) const NONE: Head = Head { seq: 0, sha256: NOTHING };

    /// What stands before this line.
    pub(super) fn before(next: Next) -> Head {
        Head { seq: next.seq - 1, sha256: next.prev }
    }

    /// The line that comes behind.
    pub(super) fn next(self) -> Next {
        Next { seq: self.seq + 1, prev: self.sha256 }
    }

    /// The head of the trail in `folder`; `None` where there is none, or nothing that can be read.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(super) fn read(folder: &Path) -> Result<Option<Head>, FileError> {
        let bytes = files::read(&folder.join(NAME), BYTES as u64 * 2)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: File,
    path: PathBuf,
}

impl HeadFile {
    /// Opens it; makes it, for a trail that begins, where there is none.
    pub(super) fn open(folder: &Path) -> Result<HeadFile, FileError> {
        let path = folder.join(NAME);
        let open = || OpenOptions::new().write(true).open(&path);
        let file = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                files::write(&path, &text(Head::NONE), 0o644)?;
                open()
            }
            outcome => outcome,
        };
        match file {
            Ok(file) => Ok(HeadFile { file, path }),
            Err(source) => Err(FileError { path, step: Step::Create, source }),
        }
    }

    pub(super) fn set(&self, head: Head) -> Result<(), FileError> {
        let written: io::Result<()> = self.file.write_all_at(&text(head), 0);
        written.map_err(|source| FileError { path: self.path.clone(), step: Step::Write, source })
    }
}

fn text(head: Head) -> Vec<u8> {
    let mut text = serde_json::to_vec(&head).expect("plain data is JSON");
    text.resize(BYTES - 1, b' ');
    text.push(b'\n');
    text
}
