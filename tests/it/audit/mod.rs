//! The audit trail: what was done to it is found, and what was done by accident is survived.

mod agent;
mod by_hand;
mod crash;
mod full;
mod rotation;
mod tampering;

use std::fs;
use std::path::{Path, PathBuf};

use staplekeeper::audit::{Entry, Recorder, Settings, Trail};
use staplekeeper::digest::Digest;
use staplekeeper::happening::{Happening, Lying, Subject};
use staplekeeper::ocsp::Status;
use staplekeeper::plan::Facts;
use staplekeeper::time::UnixTime;

/// When the lines of these tests happened.
const THEN: UnixTime = UnixTime::from_secs(1_795_000_000);

/// Something that happens again and again.
fn published(number: usize) -> Happening {
    let name = format!("www{number}.example");
    let staple = Facts {
        digest: Digest::of(format!("staple {number}").as_bytes()),
        status: Status::Good,
        this_update: THEN,
        expires: UnixTime::from_secs(THEN.as_secs() + 7 * 86_400),
    };
    let fingerprint = Digest::of(name.as_bytes());
    let certificate = Subject { name, fingerprint };
    Happening::Published {
        target: format!("/var/lib/staplekeeper/staples/www{number}.example.der"),
        written: true,
        servers: vec!["nginx (/etc/nginx/nginx.conf)".to_owned()],
        content: Lying::Staple { certificate, staple },
    }
}

/// A trail of this many lines, in files of some 2 KiB: about six lines each.
fn trail(folder: &Path, lines: usize) {
    let settings = Settings { file_bytes: 2_048, ..Settings::new(folder) };
    let mut trail = Trail::open(settings).expect("the folder is ours");
    for number in 0..lines {
        let entry = Entry::Happening(published(number));
        trail.append(&[(THEN, entry)]).expect("there is room");
    }
    trail.sync().expect("there is a disk");
}

/// The files of a trail, oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("ours").flatten().map(|entry| entry.path());
    let is_trail = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "jsonl");
    let mut files: Vec<_> = entries.filter(is_trail).collect();
    files.sort();
    files
}

/// A recorder on this folder.
fn recorder(folder: &Path) -> Recorder {
    Recorder::start(Settings::new(folder))
}
