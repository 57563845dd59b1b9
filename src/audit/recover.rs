//! What an earlier agent left behind: where its trail ends, and whether that is where it left it.
//!
//! A crash leaves at most the beginning of the next line, and a power cut whatever was written in its last
//! second, whole or with holes. That is cut off, and the next line says so. All else that does not fit was done by
//! somebody: it stays as it is, and the trail goes on in a new file, after the line that `head` names.

use super::TrailError;
use super::folder::TrailFile;
use super::head::{Head, TOO_OLD, are_apart};
use super::line::{Link, Next, Own};
use crate::files::FileError;
use crate::time::UnixTime;

/// Said of an end that no crash left.
pub(super) const NOT_TORN: &str = "it ends with something that the agent did not write";
/// So much of a torn line is told.
const TOLD_CHARS: usize = 200;

/// Where to go on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) next: Next,
    /// The file to go on in, cut to its sound part; none: a new one.
    pub(super) file: Option<Tail>,
    /// What is to be said about it first.
    pub(super) say: Option<Own>,
}

/// The newest file, as far as it is sound.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: TrailFile,
    pub(super) bytes: u64,
    /// The time of its first line.
    pub(super) begun: UnixTime,
}

/// Looks at the newest of `files`, and at `head` as it was found.
///
/// # Errors
/// The file cannot be read.
pub(super) fn recover(files: &[TrailFile], head: Option<Head>) -> Result<Recovered, TrailError> {
    let Some(newest) = files.last() else {
        let next = head.unwrap_or(Head::NONE).next();
        let say = (next != Next::FIRST).then(|| damaged(missing(1, next.seq - 1)));
        return Ok(Recovered { next, file: None, say });
    };
    let bytes = match newest.read() {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) if error.is_too_long() => return Ok(not_ours(newest, head, &error)),
        Err(error) => return Err(error.into()),
    };
    let walked = walk(newest, &bytes, head);
    let after = |next: Next| match head {
        Some(head) if head.seq >= next.seq => head.next(),
        // What lies there keeps its name, whatever it is.
        _ => Next { seq: next.seq.max(newest.first + 1), ..next },
    };
    let anew = |what: String| Recovered {
        next: after(walked.next),
        file: None,
        say: Some(damaged(format!("{}: {what}", newest.name()))),
    };
    let Some(head) = head else {
        return Ok(anew(format!("{} is missing or cannot be read", super::head::NAME)));
    };
    if walked.at_head.is_some_and(|found| found != head) {
        return Ok(anew(format!("line {} was changed after it was written", head.seq)));
    }
    if head.seq >= walked.next.seq {
        let what = walked.wrong.unwrap_or_else(|| missing(walked.next.seq, head.seq));
        return Ok(anew(what));
    }
    if head.seq + 1 < newest.first || walked.apart {
        return Ok(anew(format!("{} names line {}: {TOO_OLD}", super::head::NAME, head.seq)));
    }
    let torn = &bytes[walked.sound..];
    if !is_torn(walked.next, torn) {
        let what = walked.wrong.unwrap_or_else(|| NOT_TORN.to_owned());
        return Ok(anew(what));
    }
    let say = (!torn.is_empty()).then(|| Own::TrailTorn {
        file: newest.name(),
        bytes: torn.len() as u64,
        text: String::from_utf8_lossy(torn).chars().take(TOLD_CHARS).collect(),
    });
    let begun = walked.begun.unwrap_or_default();
    let file = Some(Tail { file: newest.clone(), bytes: walked.sound as u64, begun });
    Ok(Recovered { next: walked.next, file, say })
}

/// Whether a crash can have left this where `next` belongs: nothing, the beginning of that line, or zeros
/// where a power cut kept bytes from the disk.
pub(super) fn is_torn(next: Next, left: &[u8]) -> bool {
    let hole = left.iter().position(|byte| *byte == 0);
    let line = &left[..hole.unwrap_or(left.len())];
    let begin = format!("{{\"seq\":{},\"time\":\"", next.seq);
    let time = b"0000-00-00T00:00:00Z";
    let behind = format!("\",\"prev\":\"{}\"", next.prev);
    let fits = |at: usize, byte: u8| {
        let in_time = at.checked_sub(begin.len());
        let behind_time = in_time.and_then(|at| at.checked_sub(time.len()));
        match (in_time, behind_time) {
            (None, _) => begin.as_bytes()[at] == byte,
            (Some(at), None) if time[at] == b'0' => byte.is_ascii_digit(),
            (Some(at), None) => time[at] == byte,
            (_, Some(at)) => behind.as_bytes().get(at).is_none_or(|wanted| *wanted == byte),
        }
    };
    let whole = hole.is_none() && left.contains(&b'\n');
    !whole && line.iter().enumerate().all(|(at, byte)| fits(at, *byte))
}

/// A file that was made so long by somebody else: it stays, and the trail goes on behind it.
fn not_ours(newest: &TrailFile, head: Option<Head>, error: &FileError) -> Recovered {
    let next = head.unwrap_or(Head::NONE).next();
    let next = Next { seq: next.seq.max(newest.first + 1), ..next };
    let what = format!("{}: {}", newest.name(), error.source);
    Recovered { next, file: None, say: Some(damaged(what)) }
}

/// The newest file, from its beginning as far as it is a chain.
struct Walked {
    next: Next,
    /// How many bytes of it are a chain.
    sound: usize,
    begun: Option<UnixTime>,
    /// The line that `head` names, as it is now.
    at_head: Option<Head>,
    /// Lines behind it are of instants that no crash leaves there.
    apart: bool,
    wrong: Option<String>,
}

fn walk(file: &TrailFile, bytes: &[u8], head: Option<Head>) -> Walked {
    // What the first line carries is `verify`'s to compare with the file before.
    let first: Option<Link> = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .and_then(|line| serde_json::from_slice(line).ok());
    let prev = match (first, head) {
        (Some(link), _) => link.prev,
        // A file that was begun and holds no line yet.
        (None, Some(head)) => head.sha256,
        (None, None) => super::line::NOTHING,
    };
    let mut walked = Walked {
        next: Next { seq: file.first, prev },
        sound: 0,
        begun: first.map(|link| link.time),
        at_head: None,
        apart: false,
        wrong: None,
    };
    let mut behind: Option<UnixTime> = None;
    while let Some(length) = bytes[walked.sound..].iter().position(|byte| *byte == b'\n') {
        let mut next = walked.next;
        match next.take(&bytes[walked.sound..walked.sound + length]) {
            Ok(link) if head.is_some_and(|head| link.seq > head.seq) => {
                walked.apart |= are_apart(*behind.get_or_insert(link.time), link.time);
            }
            Ok(_) => {}
            Err(what) => {
                walked.wrong = Some(format!("after line {}: {what}", walked.next.seq - 1));
                break;
            }
        }
        walked.next = next;
        walked.sound += length + 1;
        if head.is_some_and(|head| head.seq + 1 == next.seq) {
            walked.at_head = Some(Head::before(next));
        }
    }
    walked
}

fn damaged(what: String) -> Own {
    Own::TrailDamaged { what }
}

fn missing(first: u64, last: u64) -> String {
    format!("lines {first} to {last} are missing at the end")
}
