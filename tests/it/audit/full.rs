//! A full disk: nobody waits, nothing is torn, and what was lost is counted.

use std::time::{Duration, Instant};

use staplekeeper::audit::{Entry, Own, lines, verify};

use super::{THEN, published, recorder};
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
    assert!(found.is_intact() && found.notes.is_empty(), "{found:#?}");
    let kept = found.lines;

    disk.relieve();
    recorder.observe(THEN, published(40));
    patiently("the problem is over", &|| recorder.problem().is_none());
    drop(recorder);
    let found = verify(disk.path()).expect("readable");
    assert!(found.is_intact() && found.notes.len() == 1, "{found:#?}");
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
