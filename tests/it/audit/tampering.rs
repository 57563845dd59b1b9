//! Whoever changes a line of the trail, takes one away or puts one in is found out, with the place.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use staplekeeper::audit::{Entry, Fault, Found, Settings, Trail, verify};
use staplekeeper::happening::Happening;
use staplekeeper::time::UnixTime;

use super::{THEN, files, trail};

/// What was done to a trail of 40 lines in files of a few lines each.
type Deed = fn(&Path);
/// A deed, what is said about it first, and of which line: the file's number from 0, the line's from 1.
type Case = (&'static str, Deed, &'static str, Option<(usize, u64)>);

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("ours").lines().map(str::to_owned).collect()
}

fn write(path: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).expect("ours");
}

/// Does something to the lines of one of the files.
fn change(folder: &Path, file: usize, deed: impl FnOnce(&mut Vec<String>)) {
    let path = &files(folder)[file];
    let mut all = lines(path);
    deed(&mut all);
    write(path, &all);
}

fn append(folder: &Path, bytes: &[u8]) {
    let path = &files(folder)[newest(folder)];
    let mut file = fs::File::options().append(true).open(path).expect("ours");
    file.write_all(bytes).expect("room");
}

fn newest(folder: &Path) -> usize {
    files(folder).len() - 1
}

#[test]
fn every_tampering_is_found() {
    let deeds: &[Case] = &[
        (
            "a character is changed",
            |at| change(at, 1, |all| all[2] = all[2].replace("\"good\"", "\"goOd\"")),
            "the line before it has been changed",
            Some((1, 4)),
        ),
        (
            "a line is dropped",
            |at| change(at, 1, |all| drop(all.remove(2))),
            "are missing before it",
            Some((1, 3)),
        ),
        (
            "two lines are swapped",
            |at| change(at, 1, |all| all.swap(1, 2)),
            "are missing before it",
            Some((1, 2)),
        ),
        (
            "a line is there twice",
            |at| change(at, 1, |all| all.insert(2, all[2].clone())),
            "it is line",
            Some((1, 4)),
        ),
        (
            "a line is put in",
            |at| {
                let forged = |all: &mut Vec<String>| all.insert(2, all[2].replace("www", "xxx"));
                change(at, 1, forged);
            },
            "it is line",
            Some((1, 4)),
        ),
        (
            "the end is cut off",
            |at| change(at, newest(at), |all| drop(all.pop())),
            "the end has been cut off",
            None,
        ),
        (
            "the last line is changed",
            |at| {
                let last = |all: &mut Vec<String>| {
                    let line = all.pop().expect("a line");
                    all.push(line.replace("www", "xxx"));
                };
                change(at, newest(at), last);
            },
            "`head` names another SHA-256",
            None,
        ),
        (
            "a file in the middle is removed",
            |at| fs::remove_file(&files(at)[2]).expect("ours"),
            "are missing before it",
            Some((2, 1)),
        ),
        (
            "the oldest file is removed",
            |at| fs::remove_file(&files(at)[0]).expect("ours"),
            "does not say that it removed them",
            Some((0, 1)),
        ),
        (
            "the newest file is removed",
            |at| fs::remove_file(&files(at)[newest(at)]).expect("ours"),
            "the end has been cut off",
            None,
        ),
        (
            "the first line of all is removed",
            |at| change(at, 0, |all| drop(all.remove(0))),
            "not as its name says",
            Some((0, 1)),
        ),
        (
            "two files change their names",
            |at| {
                let all = files(at);
                fs::rename(&all[1], at.join("kept")).expect("ours");
                fs::rename(&all[2], &all[1]).expect("ours");
                fs::rename(at.join("kept"), &all[2]).expect("ours");
            },
            "not as its name says",
            Some((1, 1)),
        ),
        (
            "a file in the middle ends within a line",
            |at| {
                let path = &files(at)[1];
                let text = fs::read(path).expect("ours");
                fs::write(path, &text[..text.len() - 20]).expect("ours");
            },
            "it ends within a line",
            Some((1, 4)),
        ),
        (
            "the newest file is cut within a line",
            |at| {
                let path = &files(at)[newest(at)];
                let text = fs::read(path).expect("ours");
                fs::write(path, &text[..text.len() - 20]).expect("ours");
            },
            "the end has been cut off",
            None,
        ),
        (
            "white space is put into a line",
            |at| change(at, 1, |all| all[2] = all[2].replace("\"seq\":", "\"seq\": ")),
            "the line before it has been changed",
            Some((1, 4)),
        ),
        (
            "a line is changed and all behind it are made to fit",
            |at| {
                // The chain is public: whoever may write can make a new one. `head` tells.
                let end = newest(at);
                let text: Vec<_> = files(at).iter().flat_map(|path| lines(path)).collect();
                files(at).iter().for_each(|path| fs::remove_file(path).expect("ours"));
                let head = fs::read(at.join("head")).expect("ours");
                fs::remove_file(at.join("head")).expect("ours");
                super::trail(at, text.len() - 1);
                let mut trail = Trail::open(Settings { file_bytes: 2_048, ..Settings::new(at) })
                    .expect("the folder is ours");
                let forged = staplekeeper::happening::Happening::Stopping;
                let forged = staplekeeper::audit::Entry::Happening(forged);
                trail.append(&[(super::THEN, forged)]).expect("there is room");
                assert_eq!(newest(at), end);
                fs::write(at.join("head"), head).expect("ours");
            },
            "`head` names another SHA-256",
            None,
        ),
        (
            "something is written behind the end",
            |at| append(at, b"JUNK not a line"),
            "it ends with something that the agent did not write",
            None,
        ),
        (
            "the beginning of another line is written behind the end",
            |at| append(at, b"{\"seq\":41,\"time\":\"2026-11-18T11:06:40Z\",\"prev\":\"00"),
            "it ends with something that the agent did not write",
            None,
        ),
        (
            "a line that does not fit is written behind the end",
            |at| append(at, b"{\"seq\":41}\n"),
            "it is not a line of the trail",
            None,
        ),
        (
            "the head is removed",
            |at| fs::remove_file(at.join("head")).expect("ours"),
            "missing",
            None,
        ),
        (
            "all is removed",
            |at| {
                files(at).iter().for_each(|path| fs::remove_file(path).expect("ours"));
                fs::remove_file(at.join("head")).expect("ours");
            },
            "there is no trail",
            None,
        ),
    ];
    for (what, deed, words, place) in deeds {
        let folder = tempfile::tempdir().expect("a temp folder");
        trail(folder.path(), 40);
        let sound = verify(folder.path()).expect("readable");
        assert!(sound.is_intact() && sound.lines == 40 && sound.files > 4, "{sound:?}");
        deed(folder.path());
        let found = verify(folder.path()).expect("readable");
        let fault = found.faults.first().unwrap_or_else(|| panic!("{what}: not found"));
        assert!(fault.what.contains(words), "{what}: {found:#?}");
        if let Some((file, line)) = place {
            let name = files(folder.path())[*file].file_name().expect("a name").to_owned();
            assert_eq!(
                (fault.file.as_str(), fault.line),
                (name.to_str().expect("ASCII"), *line),
                "{what}"
            );
        }
        goes_on(folder.path(), what);
    }
}

/// The agent goes on writing, and does not cover up what was done.
fn goes_on(folder: &Path, what: &str) {
    let intact = |found: &Found| found.is_intact();
    let before = files(folder).len();
    let mut trail = Trail::open(Settings::new(folder)).expect("it can always go on");
    let entry = staplekeeper::audit::Entry::Happening(super::published(99));
    trail.append(&[(super::THEN, entry)]).expect("there is room");
    trail.sync().expect("there is a disk");
    let found = verify(folder).expect("readable");
    // Where nothing is left, a trail begins and knows of no other.
    assert_eq!(intact(&found), before == 0, "{what}: {found:#?}");
}

/// Lines behind the one that `head` names fit as well where somebody put them there: the reader is told.
#[test]
fn lines_behind_the_head_are_told_of() {
    let folder = tempfile::tempdir().expect("a temp folder");
    trail(folder.path(), 40);
    let head = fs::read(folder.path().join("head")).expect("ours");
    trail(folder.path(), 2);
    fs::write(folder.path().join("head"), head).expect("ours");
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact(), "{found:#?}");
    assert!(
        found.notes[0].starts_with("2 lines are behind line 40, which `head` names"),
        "{found:#?}"
    );
}

/// A trail whose lines happened ten seconds apart, in one file, each safe on disk before the next.
fn slow_trail(folder: &Path, lines: i64) {
    let mut trail = Trail::open(Settings::new(folder)).expect("the folder is ours");
    for number in 0..lines {
        let time = UnixTime::from_secs(THEN.as_secs() + 10 * number);
        trail.append(&[(time, Entry::Happening(Happening::Stopping))]).expect("there is room");
        trail.sync().expect("there is a disk");
    }
}

/// An older `head` hides that the end was cut off, up to the line that it names.
#[test]
fn an_old_head_beside_newer_lines_is_found() {
    let folder = tempfile::tempdir().expect("a temp folder");
    slow_trail(folder.path(), 5);
    let head = fs::read(folder.path().join("head")).expect("ours");
    slow_trail(folder.path(), 20);
    assert!(verify(folder.path()).expect("readable").is_intact());
    fs::write(folder.path().join("head"), head).expect("ours");
    change(folder.path(), 0, |all| all.truncate(15));
    let found = verify(folder.path()).expect("readable");
    let [fault] = &*found.faults else { panic!("{found:#?}") };
    assert!(fault.what.starts_with("it names line 5, of 15: "), "{found:#?}");
    assert!(fault.what.contains("an older `head` was put there"), "{found:#?}");

    // The agent finds it at its start, and the trail says so ever after.
    slow_trail(folder.path(), 1);
    let found = verify(folder.path()).expect("readable");
    let told = |one: &&Fault| one.what.contains("jsonl: head names line 5: ");
    assert_eq!(found.faults.iter().filter(told).count(), 1, "{found:#?}");
    assert_eq!(files(folder.path()).len(), 2);
}

/// The last line of a file is safe before the next file begins.
#[test]
fn a_head_that_is_older_than_the_newest_file_is_found() {
    let folder = tempfile::tempdir().expect("a temp folder");
    trail(folder.path(), 10);
    let head = fs::read(folder.path().join("head")).expect("ours");
    trail(folder.path(), 30);
    fs::write(folder.path().join("head"), head).expect("ours");
    let found = verify(folder.path()).expect("readable");
    assert!(found.faults[0].what.starts_with("it names line 10, of 40: "), "{found:#?}");
    trail(folder.path(), 1);
    let found = verify(folder.path()).expect("readable");
    let told = |one: &Fault| one.what.contains("jsonl: head names line 10: ");
    assert!(found.faults.iter().any(told), "{found:#?}");
}

/// However long a disk hangs or a clock jumps, honest lines are never so far behind `head`.
#[test]
fn lines_that_waited_for_the_disk_are_no_fault() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let mut trail = Trail::open(Settings::new(folder.path())).expect("the folder is ours");
    let at = |seconds: i64| UnixTime::from_secs(THEN.as_secs() + seconds);
    let line = |seconds| (at(seconds), Entry::Happening(Happening::Stopping));
    let times = [0, 20, 400, 410, 9_000, -5_000, -4_990];
    trail.append(&times.map(line)).expect("there is room");
    // As a SIGKILL leaves it: not synced by us.
    std::mem::forget(trail);
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.lines == 7, "{found:#?}");
    assert!(found.notes[0].starts_with("2 lines are behind line 5"), "{found:#?}");
    // What is written days later is not counted with what the crash left.
    let mut trail = Trail::open(Settings::new(folder.path())).expect("the folder is ours");
    trail.append(&[line(300_000)]).expect("there is room");
    std::mem::forget(trail);
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.lines == 8, "{found:#?}");
}
