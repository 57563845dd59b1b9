//! Appending to the trail: lines, new files, and old files that go.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::folder::{self, TrailFile};
use super::head::{Head, HeadFile, are_apart};
use super::line::{Entry, Link, Next, Own};
use super::recover::{Tail, recover};
use super::{Settings, TrailError};
use crate::files::{self, FileError, Step};
use crate::time::UnixTime;

/// So many lines at most are one write: a new file begins between two writes only.
const LINES_A_WRITE: usize = 1_000;
/// A write ends with the line that makes it longer than this.
const BYTES_A_WRITE: usize = 4 << 20;
/// So many old files go when a new one begins: should the clock be wrong, not all at once.
const PRUNES: usize = 2;

/// The trail, open for appending. There may be one at a time: the state directory's lock sees to it.
#[derive(Debug)]
pub struct Trail {
    settings: Settings,
    head: HeadFile,
    /// Closed files, oldest first, and how long they are.
    closed: VecDeque<(TrailFile, u64)>,
    current: Option<Current>,
    next: Next,
    /// Said in front of the next line.
    say: Vec<Own>,
    unsynced: bool,
    /// When the first line happened that `head` does not name yet.
    behind: Option<UnixTime>,
}

/// The newest file.
#[derive(Debug)]
struct Current {
    file: TrailFile,
    open: File,
    /// Its sound part; what lies behind is of a write that failed.
    bytes: u64,
    begun: UnixTime,
    torn: bool,
}

impl Trail {
    /// Opens the trail where the last agent left it; cuts off what a crash left unfinished.
    ///
    /// # Errors
    /// The folder is missing, or what lies in it cannot be read or written.
    pub fn open(settings: Settings) -> Result<Trail, TrailError> {
        let mut files = folder::list(&settings.folder)?;
        let head = match files.is_empty() {
            false => Head::read(&settings.folder)?,
            true => Some(Head::read(&settings.folder)?.unwrap_or(Head::NONE)),
        };
        let (found, recovered) = (head, recover(&files, head)?);
        let head = HeadFile::open(&settings.folder)?;
        let mut trail = Trail {
            settings,
            head,
            closed: VecDeque::new(),
            current: None,
            next: recovered.next,
            say: recovered.say.into_iter().collect(),
            unsynced: false,
            behind: None,
        };
        if let Some(Tail { file, bytes, begun }) = recovered.file {
            files.pop();
            let open = OpenOptions::new().append(true).open(&file.path);
            let open = open.map_err(|source| append(&file.path, source))?;
            let torn = open.metadata().map_or(true, |found| found.len() != bytes);
            trail.current = Some(Current { file, open, bytes, begun, torn });
            // What a crash left behind it is no older than that; what comes now may be.
            trail.unsynced = found != Some(trail.head());
            trail.sync()?;
        }
        let length = |file: &TrailFile| fs::metadata(&file.path).map_or(0, |found| found.len());
        trail.closed = files.into_iter().map(|file| (file.clone(), length(&file))).collect();
        Ok(trail)
    }

    /// The last line that was written.
    pub fn head(&self) -> Head {
        Head::before(self.next)
    }

    /// Appends a line for each entry. It survives this process at once, and a power cut after
    /// [`sync`](Self::sync).
    ///
    /// # Errors
    /// How many were written, and why the others were not; the trail ends with a whole line then, too.
    pub fn append(&mut self, entries: &[(UnixTime, Entry)]) -> Result<(), (usize, TrailError)> {
        let mut done = 0;
        while done < entries.len() {
            done += self.write(&entries[done..]).map_err(|error| (done, error))?;
        }
        Ok(())
    }

    /// Brings everything to disk, and then the head.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&mut self) -> Result<(), TrailError> {
        if let (true, Some(current)) = (self.unsynced, &self.current) {
            current.open.sync_data().map_err(|source| append(&current.file.path, source))?;
            self.head.set(self.head())?;
            self.unsynced = false;
            self.behind = None;
        }
        Ok(())
    }

    /// As many of `entries` as are one write; how many.
    fn write(&mut self, entries: &[(UnixTime, Entry)]) -> Result<usize, TrailError> {
        let Some((now, _)) = entries.first() else { return Ok(0) };
        if self.behind.is_some_and(|since| are_apart(since, *now)) {
            self.sync()?;
        }
        self.make_ready(*now)?;
        let since = self.behind.unwrap_or(*now);
        let current = self.current.as_mut().expect("there is a file now");
        let (mut next, mut bytes) = (self.next, Vec::new());
        for own in &self.say {
            next.write(*now, &Entry::Own(own.clone()), &mut bytes);
        }
        let mut done = 0;
        let near = entries.iter().take_while(|(time, _)| !are_apart(since, *time));
        for (time, entry) in near.take(LINES_A_WRITE) {
            next.write(*time, entry, &mut bytes);
            done += 1;
            if bytes.len() > BYTES_A_WRITE {
                break;
            }
        }
        if let Err(source) = current.open.write_all(&bytes) {
            // A full disk lets a file be shortened.
            current.torn = current.open.set_len(current.bytes).is_err();
            return Err(append(&current.file.path, source));
        }
        current.bytes += bytes.len() as u64;
        self.next = next;
        self.say.clear();
        self.unsynced = true;
        self.behind = Some(since);
        Ok(done)
    }

    /// Sees to it that there is a file to append to, which ends with a whole line.
    fn make_ready(&mut self, now: UnixTime) -> Result<(), TrailError> {
        if let Some(current) = &mut self.current {
            if current.torn {
                let cut = current.open.set_len(current.bytes);
                cut.map_err(|source| append(&current.file.path, source))?;
                current.torn = false;
            }
            let old = now.since(current.begun) >= self.settings.file_age;
            if current.bytes < self.settings.file_bytes && !(old && current.bytes > 0) {
                return Ok(());
            }
            self.sync()?;
        }
        let file = TrailFile::new(&self.settings.folder, self.next.seq);
        // Mode and owner are right from the start this way.
        files::write(&file.path, b"", 0o644)?;
        let open = OpenOptions::new().append(true).open(&file.path);
        let open = open.map_err(|source| append(&file.path, source))?;
        let current = Current { file, open, bytes: 0, begun: now, torn: false };
        if let Some(closed) = self.current.replace(current) {
            self.closed.push_back((closed.file, closed.bytes));
            self.prune(now);
        }
        Ok(())
    }

    /// Removes what has been kept for long enough. Each file's removal is said before it goes, so that
    /// `verify` can tell it from a theft.
    fn prune(&mut self, now: UnixTime) {
        for _ in 0..PRUNES {
            let all: u64 = self.closed.iter().map(|(_, bytes)| bytes).sum();
            let Some((oldest, _)) = self.closed.front() else { return };
            let ended = fs::metadata(&oldest.path).and_then(|found| found.modified()).ok();
            let ended = ended.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let age = i64::try_from(ended.unwrap_or_default().as_secs())
                .map_or(self.settings.keep, |ended| now.since(UnixTime::from_secs(ended)));
            if age < self.settings.keep
                && all + self.settings.file_bytes <= self.settings.total_bytes
            {
                return;
            }
            let kept = self.closed.get(1).map(|(file, _)| file);
            let kept = kept.or(self.current.as_ref().map(|current| &current.file));
            let Some(kept) = kept.cloned() else { return };
            let Some(anchor) = self.anchor(&kept) else { return };
            let (file, first_kept) = (oldest.name(), kept.first);
            let path = oldest.path.clone();
            let own = Own::TrailPruned { file, first_kept, anchor };
            let said = self.write_own(now, own).and_then(|()| self.sync());
            let removed = said.and_then(|()| {
                let fail = |source| FileError { path: path.clone(), step: Step::Remove, source };
                Ok(fs::remove_file(&path).map_err(fail)?)
            });
            if let Err(error) = removed {
                tracing::warn!("an old file of the audit trail stays: {}", error.words());
                return;
            }
            self.closed.pop_front();
        }
    }

    /// What the first line of a file carries; of the file that is just begun, what it will carry.
    fn anchor(&self, file: &TrailFile) -> Option<crate::digest::Digest> {
        if file.first == self.next.seq {
            return Some(self.next.prev);
        }
        let bytes = file.read().ok()??;
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        Some(serde_json::from_slice::<Link>(line).ok()?.prev)
    }

    fn write_own(&mut self, now: UnixTime, own: Own) -> Result<(), TrailError> {
        let current = self.current.as_mut().expect("a file has just been begun");
        let (mut next, mut bytes) = (self.next, Vec::new());
        next.write(now, &Entry::Own(own), &mut bytes);
        if let Err(source) = current.open.write_all(&bytes) {
            current.torn = current.open.set_len(current.bytes).is_err();
            return Err(append(&current.file.path, source));
        }
        current.bytes += bytes.len() as u64;
        self.next = next;
        self.unsynced = true;
        self.behind.get_or_insert(now);
        Ok(())
    }
}

fn append(path: &Path, source: io::Error) -> TrailError {
    TrailError::Append { path: path.to_owned(), source }
}
