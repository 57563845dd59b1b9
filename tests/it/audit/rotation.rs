//! New files are begun, old ones go, and the chain holds over both.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use staplekeeper::audit::{Entry, Settings, Trail, verify};
use staplekeeper::time::{DAY, UnixTime};

use super::{THEN, files, published, trail};

fn append(folder: &Path, at: UnixTime, change: impl FnOnce(Settings) -> Settings) {
    let mut trail = Trail::open(change(Settings::new(folder))).expect("ours");
    trail.append(&[(at, Entry::Happening(published(0)))]).expect("room");
    trail.sync().expect("a disk");
}

#[test]
fn files_follow_one_another_by_size_and_by_age() {
    let folder = tempfile::tempdir().expect("a temp folder");
    trail(folder.path(), 40);
    let before = files(folder.path()).len();
    assert!(before > 4, "{before} files");
    append(folder.path(), THEN + 30 * DAY, |settings| settings);
    assert_eq!(files(folder.path()).len(), before);
    append(folder.path(), THEN + 31 * DAY, |settings| settings);
    assert_eq!(files(folder.path()).len(), before + 1);
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.lines == 42, "{found:#?}");
}

#[test]
fn old_files_go_and_the_trail_says_so() {
    let folder = tempfile::tempdir().expect("a temp folder");
    trail(folder.path(), 40);
    let before = files(folder.path());
    // The two oldest were written 400 days ago, as the next file is begun.
    let age = SystemTime::UNIX_EPOCH + Duration::from_secs(THEN.as_secs().unsigned_abs());
    for path in &before {
        let file = fs::File::options().append(true).open(path).expect("ours");
        let old = before[..2].contains(path);
        file.set_modified(if old { age } else { age + 300 * DAY }).expect("ours");
    }
    append(folder.path(), THEN + 400 * DAY, |settings| settings);
    let after = files(folder.path());
    assert_eq!(after[..after.len() - 1], before[2..]);
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact(), "{found:#?}");

    // Whoever removes one more is found out.
    fs::remove_file(&after[0]).expect("ours");
    assert!(!verify(folder.path()).expect("readable").is_intact());
}

#[test]
fn the_oldest_go_before_there_is_too_much() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let small = |settings| Settings { file_bytes: 2_048, total_bytes: 10_000, ..settings };
    for number in 0..60 {
        append(folder.path(), THEN + Duration::from_secs(number), small);
    }
    let files = files(folder.path());
    let bytes: u64 = files.iter().map(|path| fs::metadata(path).expect("ours").len()).sum();
    assert!(bytes < 12_500 && files.len() > 2, "{bytes} bytes in {} files", files.len());
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.lines < 40, "{found:#?}");
}
