//! Files survive a killed writer: whenever it dies, each is the old one or the new one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use staplekeeper::files::{self, Entry};

/// Tells the child where to write.
const FOLDER: &str = "STAPLEKEEPER_CRASH_FOLDER";
const KILLS: u32 = 60;
/// More than are synced one by one, so that both ways are killed in turn.
const MANY: usize = 12;

#[test]
fn a_killed_writer_leaves_the_old_file_or_the_new_one() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let paths = paths(folder.path(), MANY);
    for path in &paths {
        fs::write(path, generation(0)).expect("the folder is ours");
    }
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "files::writer_that_will_be_killed", "--ignored", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("this test can be run again");
        let moment = paths.iter().map(|path| modified(path)).max();
        while paths.iter().map(|path| modified(path)).max() == moment {
            assert!(child.try_wait().expect("our child").is_none(), "the writer ended by itself");
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_micros(u64::from(kill * 7919 % 9973)));
        child.kill().and_then(|()| child.wait()).expect("our child");
        for path in &paths {
            let content = fs::read(path).expect("never missing");
            let number = content.first().copied().expect("never empty");
            assert_eq!(content, generation(number), "{} after kill {kill}", path.display());
        }
    }
    let stray = fs::read_dir(folder.path()).expect("there").count() - paths.len();
    assert_eq!(files::clean(folder.path()).expect("there"), stray);
}

/// Rewrites the files for ever, a batch and a single one in turn.
#[test]
#[ignore = "the crash test runs it, and kills it"]
fn writer_that_will_be_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let paths = paths(&folder, MANY);
    for number in (1..=250).cycle() {
        let bytes = generation(number);
        let entries: Vec<_> = paths.iter().map(|path| Entry::public(path, &bytes)).collect();
        assert!(files::write_many(&entries).iter().all(Result::is_ok));
        let next = generation(number + 1);
        files::write(&paths[0], &next, 0o644).expect("the folder is ours");
    }
}

/// What a file holds in a generation: its number, again and again, of a length that differs.
fn generation(number: u8) -> Vec<u8> {
    vec![number; 300 + usize::from(number) * 40]
}

fn paths(folder: &Path, count: usize) -> Vec<PathBuf> {
    (0..count).map(|n| folder.join(format!("{n}.der"))).collect()
}

fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).and_then(|found| found.modified()).expect("never missing")
}

#[test]
#[ignore = "a measurement: cargo test --test it -- --ignored --nocapture files::measure"]
fn measure_a_batch_beside_a_loop() {
    let bytes = vec![7; 300];
    for count in [1, 2, 4, 8, 16, 64, 250, 1000] {
        let folder =
            tempfile::Builder::new().prefix("measure-").tempdir_in("target").expect("ours");
        let paths = paths(folder.path(), count);
        let entries: Vec<_> = paths.iter().map(|path| Entry::public(path, &bytes)).collect();
        let batch = || assert!(files::write_many(&entries).iter().all(Result::is_ok));
        let each = || paths.iter().for_each(|path| write_alone(path, &bytes));
        let (fresh, renewed, alone) = (time(batch), time(batch), time(each));
        eprintln!(
            "{count:5} files: batch {fresh:>10.1?} new, {renewed:>10.1?} again; loop {alone:>10.1?}"
        );
    }
}

/// The plain way: two fsyncs a file.
fn write_alone(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("new");
    let file = fs::File::create(&temporary).expect("ours");
    fs::write(&temporary, bytes).expect("ours");
    file.set_permissions(fs::Permissions::from_mode(0o644)).expect("ours");
    file.sync_all().expect("ours");
    fs::rename(&temporary, path).expect("ours");
    fs::File::open(path.parent().expect("a folder")).and_then(|at| at.sync_all()).expect("ours");
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
