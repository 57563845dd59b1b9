//! Which files the trail is made of, and the lines in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::TrailError;
use super::line::Line;
use crate::files::{self, FileError, Step};

/// Before the number in a file's name, and behind it.
const NAME: (&str, &str) = ("trail-", ".jsonl");

/// A file that is longer was not written by us: one is closed at a quarter of this.
const MAX_BYTES: u64 = 64 << 20;

/// A file of the trail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrailFile {
    /// The sequence number of its first line, as its name says.
    pub first: u64,
    /// Where it lies.
    pub path: PathBuf,
}

impl TrailFile {
    /// The file in `folder` that begins with this line.
    pub(super) fn new(folder: &Path, first: u64) -> TrailFile {
        TrailFile { first, path: folder.join(format!("{}{first:012}{}", NAME.0, NAME.1)) }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// All it holds; `None` where it is gone.
    ///
    /// # Errors
    /// It cannot be read, or is longer than any file of the trail.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        files::read(&self.path, MAX_BYTES)
    }
}

/// The files of the trail in `folder`, oldest first; none where there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn list(folder: &Path) -> Result<Vec<TrailFile>, FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(FileError { path: folder.to_owned(), step: Step::Read, source });
        }
    };
    let mut found: Vec<TrailFile> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let first = name.to_str()?.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?.parse().ok()?;
            Some(TrailFile { first, path: entry.path() })
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Hands every line of the trail to `each`, oldest first, until it returns `false`; lines that cannot
/// be read are passed over, as they are `verify`'s matter.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn lines(folder: &Path, mut each: impl FnMut(Line) -> bool) -> Result<(), TrailError> {
    for file in list(folder)? {
        // It may have been pruned since the folder was read.
        let bytes = match file.read() {
            Ok(Some(bytes)) => bytes,
            Err(error) if !error.is_too_long() => return Err(error.into()),
            // It is none of ours: `verify` says so.
            Ok(None) | Err(_) => continue,
        };
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
            if !each(line) {
                return Ok(());
            }
        }
    }
    Ok(())
}
