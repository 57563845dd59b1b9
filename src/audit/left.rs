//! What was done without an agent by somebody who must not write the trail himself.
//!
//! `adopt` is run by root, at boots too, and the trail's folder is the agent's user's: root appends to no
//! file that somebody else could have led elsewhere, and takes no lock that would keep the agent from
//! starting. He leaves a file of lines there, which whoever writes the trail next puts into it, with their
//! own times, and removes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::files;
use crate::happening::Happening;
use crate::time::UnixTime;

/// Before and behind what tells one such file from another.
const NAME: (&str, &str) = ("left-", ".jsonl");
/// What `adopt` does for a hundred thousand targets.
const MAX_BYTES: u64 = 64 << 20;
/// So many files are taken in at once.
const MOST: usize = 64;

#[derive(Serialize, Deserialize)]
struct Line {
    time: UnixTime,
    #[serde(flatten)]
    happening: Happening,
}

/// What to leave, as the name of a file in the trail's folder and its bytes. `time` is UTC.
pub fn to_leave(time: UnixTime, happenings: Vec<Happening>) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    for happening in happenings {
        let line = Line { time, happening: happening.bounded() };
        serde_json::to_writer(&mut bytes, &line).expect("what happened is plain data");
        bytes.push(b'\n');
    }
    let digest = Digest::of(&bytes).to_string();
    (format!("{}{}-{}{}", NAME.0, time.as_secs(), &digest[..16], NAME.1), bytes)
}

/// What was left in the trail's folder, in the order of its names, which is that of time: the files, and
/// what they say. A line that is none is passed over.
pub(super) fn read(folder: &Path) -> (Vec<PathBuf>, Vec<(UnixTime, Happening)>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |name: &str| name.starts_with(NAME.0) && name.ends_with(NAME.1);
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths.truncate(MOST);
    let mut happened = Vec::new();
    paths.retain(|path| {
        let bytes = match files::read(path, MAX_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return false,
            Err(error) => {
                // It stays for whoever can read it.
                tracing::warn!(path = %path.display(), %error, "lines for the audit trail cannot be read");
                return false;
            }
        };
        let lines = bytes.split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        happened.extend(lines.map(|line| (line.time, line.happening.bounded())));
        true
    });
    (paths, happened)
}
