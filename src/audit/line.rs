//! How a line of the trail is written and read.
//!
//! ```text
//! {"seq":17,"time":"2026-11-22T03:12:00Z","prev":"9f…","event":"published","target":…}
//! ```
//!
//! `seq` counts from 1. `prev` is the SHA-256 of the bytes of the line before, without its line feed;
//! 64 zeros stand before the first. `event` is one of [`Happening`]'s or of the trail's own.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::happening::Happening;
use crate::time::UnixTime;

/// What stands before the first line of all.
pub(super) const NOTHING: Digest = Digest::from_bytes([0; 32]);

/// Lines are shorter than this, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// What the trail says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Own {
    /// A crash had left an unfinished line at the end; it was cut off.
    TrailTorn {
        /// Of which file.
        file: String,
        /// How much was cut off.
        bytes: u64,
        /// Its beginning, where it is text.
        text: String,
    },
    /// The end of the trail was not as it had been left; what follows is a chain again.
    TrailDamaged {
        /// What is wrong, and where.
        what: String,
    },
    /// Lines could not be written.
    LinesLost {
        /// How many.
        lines: u64,
        /// Why.
        error: String,
    },
    /// The oldest file has been kept for long enough and is removed.
    TrailPruned {
        /// Which.
        file: String,
        /// The first line that is kept.
        first_kept: u64,
        /// The digest of the last line that is not, which that line carries.
        anchor: Digest,
    },
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entry {
    /// About the trail itself.
    Own(Own),
    /// About staples, servers and whoever asked for something.
    Happening(Happening),
    /// Something that another version of this program wrote.
    Other(serde_json::Map<String, serde_json::Value>),
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The first is 1.
    pub seq: u64,
    /// When it happened, UTC.
    pub time: UnixTime,
    /// SHA-256 of the line before.
    pub prev: Digest,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What the chain is made of; the rest of a line is the digest's to protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) time: UnixTime,
    pub(super) prev: Digest,
}

/// The next line of the chain: where it stands and what is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) seq: u64,
    pub(super) prev: Digest,
}

impl Next {
    /// Before the first line of all.
    pub(super) const FIRST: Next = Next { seq: 1, prev: NOTHING };

    /// Appends the line, with its line feed, to `bytes`. In place of one that nobody would read for its
    /// length stands that it was lost.
    pub(super) fn write(&mut self, time: UnixTime, entry: &Entry, bytes: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Written<'a> {
            seq: u64,
            time: UnixTime,
            prev: Digest,
            #[serde(flatten)]
            entry: &'a Entry,
        }
        let begin = bytes.len();
        let line = Written { seq: self.seq, time, prev: self.prev, entry };
        serde_json::to_writer(&mut *bytes, &line).expect("what happened is plain data");
        if bytes.len() - begin >= MAX_LINE_BYTES {
            let error = format!("it had {} bytes", bytes.len() - begin);
            bytes.truncate(begin);
            return self.write(time, &Entry::Own(Own::LinesLost { lines: 1, error }), bytes);
        }
        *self = Next { seq: self.seq + 1, prev: Digest::of(&bytes[begin..]) };
        bytes.push(b'\n');
    }

    /// Takes in a line, without its line feed, and goes on from there whatever it is.
    ///
    /// # Errors
    /// Why it is not the next one.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<Link, String> {
        let expected = *self;
        let link: Result<Link, _> = serde_json::from_slice(line);
        let seq = link.as_ref().map_or(self.seq, |link| link.seq);
        *self = Next { seq: seq.saturating_add(1), prev: Digest::of(line) };
        let link = link.map_err(|error| format!("it is not a line of the trail: {error}"))?;
        if link.seq != expected.seq {
            return Err(match link.seq > expected.seq {
                true => format!("lines {} to {} are missing before it", expected.seq, link.seq - 1),
                false => format!("it is line {}, where line {} belongs", link.seq, expected.seq),
            });
        }
        match link.prev == expected.prev {
            true => Ok(link),
            false => Err(format!(
                "the line before it has been changed: its SHA-256 is {}, line {} was written after \
                 {}",
                expected.prev, link.seq, link.prev
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[Entry]) -> Vec<u8> {
        let (mut next, mut bytes) = (Next::FIRST, Vec::new());
        for entry in entries {
            next.write(UnixTime::from_secs(1_800_000_000), entry, &mut bytes);
        }
        bytes
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let own = Entry::Own(Own::LinesLost { lines: 7, error: "no room".to_owned() });
        let entries = [Entry::Happening(Happening::Stopping), own];
        let bytes = written(&entries);
        let text = String::from_utf8(bytes).expect("JSON");
        let mut next = Next::FIRST;
        for (line, entry) in text.lines().zip(entries) {
            let read: Line = serde_json::from_str(line).expect("ours");
            assert_eq!(read.entry, entry);
            assert_eq!(next.take(line.as_bytes()).map(|link| link.seq), Ok(read.seq));
        }
        assert!(text.starts_with("{\"seq\":1,\"time\":\"2027-01-15T08:00:00Z\",\"prev\":\"0000"));
    }

    #[test]
    fn lines_of_another_version_are_read_too() {
        let line = format!(
            "{{\"seq\":1,\"time\":\"2027-01-15T08:00:00Z\",\"prev\":\"{NOTHING}\",\
             \"event\":\"beamed-up\",\"who\":\"Scotty\"}}"
        );
        let read: Line = serde_json::from_str(&line).expect("of the right shape");
        let Entry::Other(fields) = read.entry else { panic!("{read:?}") };
        assert_eq!(fields["event"], "beamed-up");
    }
}
