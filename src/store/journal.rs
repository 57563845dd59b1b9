//! Files that grow by whole lines of JSON.
//!
//! A batch of lines is one `write` to a file opened for appending. Nothing is synced: what is kept
//! here has to survive this process, not a power cut, and written bytes belong to the kernel. A line
//! that was torn all the same (full disk, power cut) is skipped by readers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::StoreError;
use crate::files::{self, FileError};

/// Beyond this something else than a journal was put there.
const MAX_BYTES: u64 = 1 << 30;

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// The last write may have ended within a line.
    torn: bool,
}

impl Journal {
    /// The file at `path`; opened, and made, when the first line comes.
    pub(super) fn new(path: &Path) -> Self {
        let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
        Journal { path: path.to_owned(), file: None, bytes, torn: bytes > 0 }
    }

    /// How long the file is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends a line for each record, all in one write.
    pub(super) fn append<R: Serialize>(&mut self, records: &[R]) -> Result<(), StoreError> {
        // An empty line is skipped by readers; after a torn one it makes the next one whole.
        let mut lines = if self.torn { vec![b'\n'] } else { Vec::new() };
        for record in records {
            serde_json::to_writer(&mut lines, record).expect("records are plain data");
            lines.push(b'\n');
        }
        self.torn = true;
        let written = self.file().and_then(|file| file.write_all(&lines));
        written.map_err(|source| StoreError::Append { path: self.path.clone(), source })?;
        self.torn = false;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// Makes `lines` all that the file holds.
    pub(super) fn replace<R: Serialize>(&mut self, records: &[R]) -> Result<(), FileError> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).expect("records are plain data");
            lines.push(b'\n');
        }
        files::write(&self.path, &lines, 0o644)?;
        (self.file, self.bytes, self.torn) = (None, lines.len() as u64, false);
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }
}

fn open(path: &Path) -> io::Result<File> {
    match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Mode and owner are right from the start this way.
            files::replace(path, b"", 0o644).map_err(|error| error.source)?;
            OpenOptions::new().append(true).open(path)
        }
        outcome => outcome,
    }
}

/// All of a journal; its lines are the caller's to read. No file: nothing.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    Ok(files::read(path, MAX_BYTES)?.unwrap_or_default())
}

/// The lines of a journal that hold something.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}
