//! A million lines of the audit trail: written, verified, and read for one certificate.
//!
//! `cargo bench --bench audit [-- LINES]`. Budget: a million lines are verified in under 10 s.

use std::time::Instant;

use staplekeeper::audit::{Entry, Past, Settings, Trail, lines, verify};
use staplekeeper::digest::Digest;
use staplekeeper::happening::{Happening, Lying, Subject};
use staplekeeper::ocsp::Status;
use staplekeeper::plan::Facts;
use staplekeeper::time::{DAY, UnixTime};

/// As many certificates publish one after another.
const CERTIFICATES: u64 = 10_000;
/// Lines handed over at once, as the recorder gathers them.
const BATCH: u64 = 4_096;

fn published(number: u64) -> (UnixTime, Entry) {
    let time = UnixTime::from_secs(1_790_000_000 + i64::try_from(number).expect("not so many"));
    let name = format!("www{}.example.com", number % CERTIFICATES);
    let certificate = Subject { fingerprint: Digest::of(name.as_bytes()), name: name.clone() };
    let digest = Digest::of(&number.to_be_bytes());
    let staple = Facts { digest, status: Status::Good, this_update: time, expires: time + 7 * DAY };
    let happening = Happening::Published {
        target: format!("/var/lib/staplekeeper/staples/{name}.der"),
        written: true,
        servers: vec!["nginx (/etc/nginx/nginx.conf)".to_owned()],
        content: Lying::Staple { certificate, staple },
    };
    (time, Entry::Happening(happening))
}

fn main() {
    let count = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temp folder");
    let begun = Instant::now();
    let mut trail = Trail::open(Settings::new(folder.path())).expect("the folder is ours");
    for first in (0..count).step_by(BATCH as usize) {
        let batch: Vec<_> = (first..count.min(first + BATCH)).map(published).collect();
        trail.append(&batch).expect("there is room");
    }
    trail.sync().expect("there is a disk");
    println!("{count} lines written in {:.2?}", begun.elapsed());

    let begun = Instant::now();
    let found = verify(folder.path()).expect("readable");
    assert!(found.is_intact() && found.lines == count, "{found:#?}");
    println!("{count} lines in {} files verified in {:.2?}", found.files, begun.elapsed());

    let begun = Instant::now();
    let mut past = Past::new(Some("www7.example.com"));
    lines(folder.path(), |line| {
        past.read(&line);
        true
    })
    .expect("readable");
    assert_eq!(past.handed().len(), 1);
    println!("what was stapled last, out of {count} lines, in {:.2?}", begun.elapsed());
}
