//! What the tests found, kept between runs, and the table made of it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::SystemTime;

use super::{Property, Server};

/// Every kind of server that there is to be, in the order of the table's rows.
pub(super) const ROWS: &[&str] = &[
    "nginx",
    "nginx, two key types",
    "Apache mod_ssl",
    "Apache mod_md",
    "HAProxy",
    "lighttpd",
    "hitch",
    "exim",
    "files, read by nginx",
];

/// A row of the other table: what clients saw without a responder.
pub(super) fn keep_day(server: &str, row: &str) {
    assert!(ROWS.contains(&server), "{server} has no row in the table");
    let path = day_path(server);
    fs::create_dir_all(path.parent().expect("it has one")).expect("cargo's folder is ours");
    fs::write(path, row).expect("cargo's folder is ours");
}

/// The row that was kept last.
pub(super) fn day(server: &str) -> Option<String> {
    fs::read_to_string(day_path(server)).ok()
}

fn day_path(server: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("servers").join(format!("{server} day"))
}

/// A property under test: dropped without a result, it does not hold.
pub(super) struct Record {
    path: PathBuf,
}

impl Record {
    /// A test begins.
    pub(super) fn begin<S: Server>(property: Property) -> Record {
        assert!(ROWS.contains(&S::NAME), "{} has no row in the table", S::NAME);
        let path = path(S::NAME, property);
        fs::create_dir_all(path.parent().expect("it has one")).expect("cargo's folder is ours");
        let _ = fs::remove_file(&path);
        Record { path }
    }

    /// It holds, and this was measured.
    pub(super) fn holds(self, figures: &str) {
        fs::write(&self.path, format!("yes: {figures}")).expect("cargo's folder is ours");
    }

    /// The server cannot have it, and nothing worse happened.
    pub(super) fn cannot_be(self, why: &str) {
        fs::write(&self.path, format!("no: {why}")).expect("cargo's folder is ours");
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = fs::write(&self.path, "**FAILED**");
        }
    }
}

/// The table, and whether every cell of it is as it should be.
pub(super) fn table() -> (String, bool) {
    let mut text = String::from("| server |");
    Property::ALL.iter().for_each(|one| write!(text, " {} |", one.title()).expect("a string"));
    text += &format!("\n|{}\n", " --- |".repeat(Property::ALL.len() + 1));
    let mut whole = true;
    for server in ROWS {
        write!(text, "| {server} |").expect("a string");
        for property in Property::ALL {
            let cell = cell(server, property);
            whole &= cell.as_ref().is_some_and(|cell| !cell.contains("FAILED"));
            write!(text, " {} |", cell.as_deref().unwrap_or("?")).expect("a string");
        }
        text.push('\n');
    }
    (text, whole)
}

/// What the last run found; nothing where the tests have been built anew since.
fn cell(server: &str, property: Property) -> Option<String> {
    let path = path(server, property);
    let built = std::env::current_exe().and_then(fs::metadata).and_then(|exe| exe.modified());
    let found = fs::metadata(&path).and_then(|found| found.modified()).ok()?;
    if built.unwrap_or(SystemTime::UNIX_EPOCH) > found {
        return None;
    }
    fs::read_to_string(path).ok()
}

fn path(server: &str, property: Property) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("servers");
    folder.join(format!("{server} {property:?}"))
}
