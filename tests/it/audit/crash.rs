//! The process that writes the trail is killed in the midst of it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use staplekeeper::audit::{Entry, Own, Settings, Trail, lines, verify};

use super::{THEN, files, published, recorder, trail};

/// Says to a copy of this program which folder it is to write to until it is killed.
const VARIABLE: &str = "STAPLEKEEPER_TEST_AUDIT";

#[test]
fn writer() {
    let Some(folder) = std::env::var_os(VARIABLE) else { return };
    let recorder = recorder(Path::new(&folder));
    for number in 0.. {
        recorder.observe(THEN, published(number));
        if number % 100 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Fifty times a process that writes as fast as it can is killed; the chain holds, and every line that
/// the next one found cut off is told of.
#[test]
fn killed_fifty_times() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let program = std::env::current_exe().expect("a test runs");
    let mut before = 0;
    for round in 0..50_u64 {
        let mut child = Command::new(&program)
            .args(["--exact", "audit::crash::writer", "--nocapture"])
            .env(VARIABLE, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be executed");
        // Not before it writes, and at another moment each time.
        let length = || {
            files(folder.path()).iter().map(|p| fs::metadata(p).map_or(0, |f| f.len())).sum::<u64>()
        };
        let (begun, deadline) = (length(), Instant::now() + Duration::from_secs(30));
        while length() == begun {
            assert!(Instant::now() < deadline, "it does not write");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(round * 773 % 20_000));
        child.kill().expect("it is our own");
        child.wait().expect("it is our own");
        let found = verify(folder.path()).expect("readable");
        assert!(found.is_intact() && found.lines > before, "round {round}: {found:#?}");
        before = found.lines;
    }
    let found = verify(folder.path()).expect("readable");
    eprintln!("{} lines, {} were torn", found.lines, found.notes.len());
}

/// A line that is not finished is cut off at the next start, and said so.
#[test]
fn a_torn_line_is_told_of() {
    let folder = tempfile::tempdir().expect("a temp folder");
    trail(folder.path(), 8);
    let newest = files(folder.path()).pop().expect("a file");
    let mut file = fs::File::options().append(true).open(newest).expect("ours");
    file.write_all(b"{\"seq\":9,\"time\":\"2026-").expect("room");
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.notes.len() == 1, "{found:#?}");

    let mut trail = Trail::open(Settings::new(folder.path())).expect("ours");
    trail.append(&[(THEN, Entry::Happening(published(9)))]).expect("room");
    trail.sync().expect("a disk");
    let mut entries = Vec::new();
    lines(folder.path(), |line| {
        entries.push((line.seq, line.entry));
        true
    })
    .expect("readable");
    let (9, Entry::Own(Own::TrailTorn { bytes: 22, text, .. })) = &entries[8] else {
        panic!("{entries:#?}")
    };
    assert_eq!(text, "{\"seq\":9,\"time\":\"2026-");
    assert_eq!(entries.len(), 10);
    assert!(verify(folder.path()).expect("readable").is_intact());
}

/// A power cut loses what was not brought to disk; the head was not, either.
#[test]
fn lines_of_the_last_second_may_be_lost() {
    let folder = tempfile::tempdir().expect("a temp folder");
    trail(folder.path(), 8);
    let newest = files(folder.path()).pop().expect("a file");
    let safe = fs::metadata(&newest).expect("ours").len();
    let settings = || Settings::new(folder.path());
    let mut open = Trail::open(settings()).expect("ours");
    open.append(&[(THEN, Entry::Happening(published(9)))]).expect("room");
    drop(open);
    // A file that grew before its bytes came: zeros.
    let file = fs::File::options().write(true).open(&newest).expect("ours");
    let grown = file.metadata().expect("ours").len();
    file.set_len(safe).and_then(|()| file.set_len(grown)).expect("ours");
    let mut open = Trail::open(settings()).expect("ours");
    open.append(&[(THEN, Entry::Happening(published(10)))]).expect("room");
    open.sync().expect("a disk");
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.lines == 10 && found.notes.len() == 1, "{found:#?}");
}
