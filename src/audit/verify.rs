//! Finds what was done to the trail since it was written.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TrailError;
use super::folder::{self, TrailFile};
use super::head::{self, Head, TOO_OLD, are_apart};
use super::line::Entry;
use super::line::{Line, Link, MAX_LINE_BYTES, NOTHING, Next, Own};
use super::recover::{NOT_TORN, is_torn};
use crate::digest::Digest;
use crate::time::UnixTime;

/// So many faults are listed; the rest are counted. One that is taken away from the middle breaks one line.
const MAX_FAULTS: usize = 1_000;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file's name in the trail's folder.
    pub file: String,
    /// The line in the file, from 1; 0 for the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// What a look at the whole trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How many lines there are.
    pub lines: u64,
    /// How many files.
    pub files: u64,
    /// The time of the first line that is kept, UTC.
    pub since: Option<UnixTime>,
    /// The last line.
    pub last: Option<Head>,
    /// All that is not as it was written, in order.
    pub faults: Vec<Fault>,
    /// How many faults there are besides those listed.
    pub more_faults: u64,
    /// What a reader should know, and is no fault: lines torn by crashes, lines lost to a full disk.
    pub notes: Vec<String>,
}

impl Found {
    /// Nothing was tampered with, as far as the folder can tell.
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, file: &str, line: u64, what: impl Into<String>) {
        if self.faults.len() >= MAX_FAULTS {
            self.more_faults += 1;
            return;
        }
        self.faults.push(Fault { file: file.to_owned(), line, what: what.into() });
    }
}

/// Looks at every line of the trail in `folder`, which may be written to in the meantime.
///
/// # Errors
/// A file or the folder cannot be read.
pub fn verify(folder: &Path) -> Result<Found, TrailError> {
    // The head first: the trail only grows behind it.
    let head = Head::read(folder)?;
    let files = folder::list(folder)?;
    let mut walk = Walk {
        head,
        found: Found::default(),
        next: None,
        anchors: Vec::new(),
        first: None,
        behind: Vec::new(),
    };
    if files.is_empty() && !folder.join(head::NAME).exists() {
        let what = "there is no trail: no agent has run here yet, or somebody removed it";
        walk.found.fault(head::NAME, 0, what);
        return Ok(walk.found);
    }
    for (at, file) in files.iter().enumerate() {
        match file.read() {
            Ok(Some(bytes)) => walk.file(file, &bytes, at + 1 == files.len()),
            // Pruned since the folder was read, if it is the oldest; else the next one tells.
            Ok(None) => {}
            Err(error) => walk.found.fault(&file.name(), 0, format!("{error}: {}", error.source)),
        }
    }
    let newest = files.last().map_or(0, |newest| newest.first);
    // It has moved on where an agent is at work.
    walk.behind(newest, Head::read(folder)?);
    walk.end();
    Ok(walk.found)
}

/// A look on its way.
struct Walk {
    head: Option<Head>,
    found: Found,
    next: Option<Next>,
    /// The first lines that were kept when something was pruned, and what they carry.
    anchors: Vec<(u64, Digest)>,
    /// The first line of all: file, number, and what it carries.
    first: Option<(String, u64, Digest)>,
    /// The lines behind the one that `head` named before they were read, and when they happened.
    behind: Vec<(Head, UnixTime)>,
}

impl Walk {
    fn file(&mut self, file: &TrailFile, bytes: &[u8], newest: bool) {
        let name = file.name();
        self.found.files += 1;
        let mut rest = bytes;
        let mut number = 0;
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            number += 1;
            self.line(file, &name, number, &rest[..length]);
            rest = &rest[length + 1..];
        }
        if rest.is_empty() {
            return;
        }
        // Of a file without a line it is known only what `head` says came before.
        let next = self.next.unwrap_or(Next {
            seq: file.first,
            prev: self.head.map_or(NOTHING, |head| head.sha256),
        });
        if newest && !is_torn(next, rest) {
            return self.found.fault(&name, number + 1, NOT_TORN);
        }
        match newest && rest.len() < MAX_LINE_BYTES {
            true => self.found.notes.push(format!(
                "{name}: the last line is not finished: the agent is writing it, or was killed while \
                 it did; its next start says so in the trail"
            )),
            false => self.found.fault(&name, number + 1, "it ends within a line"),
        }
    }

    fn line(&mut self, file: &TrailFile, name: &str, number: u64, line: &[u8]) {
        self.found.lines += 1;
        let link: Option<Link> = serde_json::from_slice(line).ok();
        if self.next.is_none() {
            // Nothing is known of what was before.
            let seq = link.map_or(file.first, |link| link.seq);
            let prev = link.map_or(NOTHING, |link| link.prev);
            self.next = Some(Next { seq, prev });
            self.first = Some((name.to_owned(), seq, prev));
            self.found.since = link.map(|link| link.time);
        }
        if number == 1 && link.is_some_and(|link| link.seq != file.first) {
            let seq = link.map_or(0, |link| link.seq);
            self.found.fault(
                name,
                1,
                format!("the file begins with line {seq}, not as its name says"),
            );
        }
        let next = self.next.as_mut().expect("it has just been set");
        if let Err(what) = next.take(line) {
            self.found.fault(name, number, what);
        }
        let now = Head::before(*next);
        if let Some(link) = link.filter(|_| self.head.is_some_and(|head| now.seq > head.seq)) {
            self.behind.push((now, link.time));
        }
        self.found.last = Some(now);
        if self.head.is_some_and(|head| head.seq == now.seq && head != now) {
            let what = format!("line {} has been changed: `head` names another SHA-256", now.seq);
            self.found.fault(name, number, what);
        }
        if contains(line, b"\"event\":\"trail-") || contains(line, b"\"event\":\"lines-lost\"") {
            self.own(name, number, line);
        }
    }

    /// What the trail says about itself.
    fn own(&mut self, name: &str, number: u64, line: &[u8]) {
        let Ok(Line { entry: Entry::Own(own), time, .. }) = serde_json::from_slice(line) else {
            return;
        };
        match own {
            Own::TrailTorn { bytes, .. } => self.found.notes.push(format!(
                "{name}:{number}: {time}: a crash had left {bytes} bytes of an unfinished line"
            )),
            Own::LinesLost { lines, error } => self.found.notes.push(format!(
                "{name}:{number}: {time}: {lines} lines before this one were lost: {error}"
            )),
            Own::TrailDamaged { what } => {
                self.found.fault(name, number, format!("the agent found at its start: {what}"));
            }
            Own::TrailPruned { first_kept, anchor, .. } => self.anchors.push((first_kept, anchor)),
        }
    }

    /// Judges what is behind the line that `head` names, now that all has been read. `newest`: the first line
    /// of the newest file.
    fn behind(&mut self, newest: u64, again: Option<Head>) {
        let Some(mut head) = self.head else { return };
        if let Some(again) = again.filter(|again| again.seq > head.seq) {
            let mut named = self.behind.iter().filter(|(line, _)| line.seq == again.seq);
            if named.next().is_some_and(|(line, _)| *line != again) {
                let what = format!("it names another SHA-256 for line {} than that has", again.seq);
                self.found.fault(head::NAME, 1, what);
            }
            head = again;
        }
        self.behind.retain(|(line, _)| line.seq > head.seq);
        let since = self.behind.first().map(|(_, time)| *time);
        let apart = |(_, time): &(Head, UnixTime)| since.is_some_and(|one| are_apart(one, *time));
        if head.seq + 1 < newest || self.behind.iter().any(apart) {
            let last = self.found.last.map_or(0, |last| last.seq);
            let what = format!("it names line {}, of {last}: {TOO_OLD}", head.seq);
            self.found.fault(head::NAME, 1, what);
        }
    }

    /// What can be told only at the end.
    fn end(&mut self) {
        let name = self.first.as_ref().map_or(head::NAME, |(name, ..)| name).to_owned();
        match &self.first {
            Some((_, 1, prev)) if *prev == NOTHING => {}
            Some((_, seq, prev)) if self.anchors.contains(&(*seq, *prev)) => {}
            Some((_, seq, _)) => {
                let what = format!(
                    "the lines before line {seq} are missing, and the trail does not say that it \
                     removed them"
                );
                self.found.fault(&name, 1, what);
            }
            None => {}
        }
        let last = self.found.last.map_or(0, |last| last.seq);
        match self.head {
            None => self.found.fault(head::NAME, 0, "it is missing or cannot be read"),
            Some(head) if head.seq > last => {
                let what = format!(
                    "it names line {}, the trail ends with line {last}: the end has been cut off",
                    head.seq
                );
                self.found.fault(head::NAME, 1, what);
            }
            // Whoever may append can forge these, as a crash can leave them: the reader decides.
            Some(head) if last > head.seq => self.found.notes.push(format!(
                "{} lines are behind line {}, which `head` names: the agent is writing them, or was \
                 killed within a second of writing them",
                last - head.seq,
                head.seq
            )),
            Some(_) => {}
        }
    }
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    // It stands right behind the chain's fields: no need to look through the rest.
    line[..line.len().min(256)].windows(word.len()).any(|at| at == word)
}
