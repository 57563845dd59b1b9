//! A full disk: nobody waits, nothing is torn, and what was lost is counted.

use std::fs;
use std::time::{Duration, Instant};

use staplekeeper::audit::{Entry, Own, Settings, Trail, lines, verify};
use staplekeeper::happening::Happening;

use super::{THEN, files, published, recorder};
use crate::support::disk::SmallDisk;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_finds_no_room_is_counted() {
    let Some(disk) = SmallDisk::mount() else { return };
    let recorder = recorder(disk.path());
    (0..10).for_each(|number| recorder.observe(THEN, published(number)));
    let patiently = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let written = || verify(disk.path()).is_ok_and(|found| found.lines == 10);
    patiently("ten lines are written", &written);
    disk.fill();
    // One after another, so that each meets the full disk by itself.
    for number in 10..40 {
        recorder.observe(THEN, published(number));
        std::thread::sleep(Duration::from_millis(5));
    }
    patiently("the problem is told", &|| recorder.problem().is_some());
    let problem = recorder.problem().expect("it was told");
    assert!(problem.contains("No space left") && problem.contains("make room"), "{problem}");
    // The last page may have had room for a few.
    let found = verify(disk.path()).expect("readable");
    let lost = found.notes.iter().filter(|note| note.contains("lost")).count();
    assert!(found.is_intact() && lost == 0, "{found:#?}");
    let kept = found.lines;

    disk.relieve();
    recorder.observe(THEN, published(40));
    patiently("the problem is over", &|| recorder.problem().is_none());
    drop(recorder);
    let found = verify(disk.path()).expect("readable");
    let lost = found.notes.iter().filter(|note| note.contains("lost")).count();
    assert!(found.is_intact() && lost == 1, "{found:#?}");
    let mut lost = Vec::new();
    lines(disk.path(), |line| {
        if let Entry::Own(Own::LinesLost { lines, .. }) = line.entry {
            lost.push(lines);
        }
        true
    })
    .expect("readable");
    assert_eq!(lost, [40 - kept]);
    assert_eq!(found.lines, kept + 2);
}

/// Whoever may talk to the agent cannot make files that nobody reads.
#[test]
fn long_lines_do_not_make_long_files() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let mut trail = Trail::open(Settings::new(folder.path())).expect("the folder is ours");
    let long = |bytes: usize| {
        let error = "x".repeat(bytes);
        (THEN, Entry::Happening(Happening::NotConfigured { error }))
    };
    // 70 MB at once, and a line that is too long by itself.
    let mut entries = vec![long(1_000_000); 70];
    entries.push(long(2 << 20));
    trail.append(&entries).expect("there is room");
    trail.sync().expect("there is a disk");
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.lines == 71 && found.files >= 4, "{found:#?}");
    assert!(found.notes.iter().any(|note| note.contains("it had 20")), "{found:#?}");
    for file in files(folder.path()) {
        assert!(fs::metadata(&file).expect("ours").len() < 24 << 20, "{}", file.display());
    }
}

/// A file that somebody made too long to be read keeps nobody from going on, and is found out.
#[test]
fn goes_on_behind_a_file_that_is_too_long() {
    let folder = tempfile::tempdir().expect("a temp folder");
    super::trail(folder.path(), 8);
    let newest = files(folder.path()).pop().expect("a file");
    fs::File::options()
        .write(true)
        .open(&newest)
        .and_then(|file| file.set_len(65 << 20))
        .expect("ours");
    let mut trail = Trail::open(Settings::new(folder.path())).expect("it goes on");
    trail.append(&[(THEN, Entry::Happening(published(9)))]).expect("there is room");
    trail.sync().expect("there is a disk");
    let mut last = 0;
    lines(folder.path(), |line| {
        last = line.seq;
        true
    })
    .expect("the others can be read");
    assert_eq!(last, 10, "8 lines, what was found, and the new one");
    let found = verify(folder.path()).expect("readable");
    assert!(found.faults[0].what.contains("68157440 bytes"), "{found:#?}");
}
