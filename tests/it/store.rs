//! The store with real staples: kept, found again, put into the history, and refused by a full disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use staplekeeper::digest::Digest;
use staplekeeper::files::{self, Entry};
use staplekeeper::store::{Answer, Attempt, Record, Settings, Store};

use crate::support::disk::SmallDisk;
use crate::support::staples::{leaves, staple};

fn open(folder: &Path) -> Store {
    Store::open(&Settings { state_dir: folder.to_owned() }).expect("nobody else holds it")
}

#[test]
fn staples_are_found_again_and_the_history_keeps_them_all() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let store = open(folder.path());
    let leaves = leaves(20);
    let old: Vec<_> = leaves.iter().map(|leaf| staple(leaf, 3600)).collect();
    let new: Vec<_> = leaves.iter().map(|leaf| staple(leaf, 0)).collect();
    for staples in [&old[..], &new[..1], &new[1..]] {
        assert!(store.keep(staples).iter().all(Result::is_ok));
    }
    drop(store);
    let store = open(folder.path());
    for (old, new) in old.iter().zip(&new) {
        let loaded = store.dir().load(new.certificate()).expect("readable");
        assert_eq!(loaded.as_deref(), Some(new.der()));
        for staple in [old, new] {
            let past = store.dir().history(staple.digest()).expect("readable");
            assert_eq!(past.as_deref(), Some(staple.der()));
        }
    }
    assert_eq!(store.dir().responses().expect("readable").len(), 20);
    assert_eq!(store.dir().load(Digest::of(b"unknown")).expect("nothing there"), None);

    store.forget(&[new[0].certificate(), Digest::of(b"unknown")]).expect("ours");
    assert_eq!(store.dir().load(new[0].certificate()).expect("nothing there"), None);
    assert!(
        store.dir().history(new[0].digest()).expect("readable").is_some(),
        "it stays on record"
    );
    assert_eq!(store.prune_history(SystemTime::UNIX_EPOCH).expect("readable"), 0);
    let later = SystemTime::now() + Duration::from_secs(60);
    assert_eq!(store.prune_history(later).expect("readable"), 40);
    assert!(store.dir().load(new[1].certificate()).expect("readable").is_some());
}

#[test]
fn a_damaged_history_is_no_evidence() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let store = open(folder.path());
    let staple = staple(&leaves(1)[0], 0);
    assert!(store.keep(std::slice::from_ref(&staple)).iter().all(Result::is_ok));
    let digest = staple.digest().to_string();
    let path = folder.path().join(format!("history/{}/{digest}.der", &digest[..2]));
    fs::write(&path, "tampered with").expect("ours");
    let error = store.dir().history(staple.digest()).expect_err("its digest is another");
    assert!(error.to_string().contains("is damaged: its bytes have the digest"), "{error}");
}

#[test]
fn a_full_disk_takes_nothing_and_breaks_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = disk.path();
    let store = open(folder);
    let leaves = leaves(12);
    let old: Vec<_> = leaves.iter().map(|leaf| staple(leaf, 3600)).collect();
    assert!(store.keep(&old).iter().all(Result::is_ok));
    let uptime = Duration::from_secs(5);
    let attempt = Record::Attempt(Attempt {
        certificate: old[0].certificate(),
        responder: format!("http://ocsp.example/{}", "x".repeat(8000)),
        failures: 1,
        wait: Duration::from_secs(60),
    });
    store.remember(std::slice::from_ref(&attempt), uptime).expect("room is left");
    disk.fill();

    let new: Vec<_> = leaves.iter().map(|leaf| staple(leaf, 0)).collect();
    for outcome in store.keep(&new) {
        let error = outcome.expect_err("no room is left");
        assert!(error.is_full() && error.hint().is_some(), "{error}");
    }
    let error = store.remember(&[attempt.clone(), attempt.clone()], uptime).expect_err("no room");
    assert!(error.is_full(), "{error}");
    assert_eq!(
        store.remember_names(&[("a".into(), "b".into())].into()).map_err(|e| e.is_full()),
        Err(true)
    );
    drop(store);

    let store = open(folder);
    for staple in &old {
        let loaded = store.dir().load(staple.certificate()).expect("readable");
        assert_eq!(loaded.as_deref(), Some(staple.der()), "the last good one stays");
    }
    assert_eq!(store.dir().remembered(uptime).expect("readable").attempts.len(), 1);
    disk.relieve();
    assert!(store.keep(&new).iter().all(Result::is_ok));
    store.remember(&[Record::Settled(new[0].certificate())], uptime).expect("room again");
    assert_eq!(store.dir().remembered(uptime).expect("readable").attempts.len(), 0);
    assert!(
        !fs::read_dir(folder.join("responses"))
            .expect("there")
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with('.') })
    );
}

#[test]
#[ignore = "a measurement: cargo test --test it -- --ignored --nocapture store::measure"]
fn measure_ten_thousand() {
    let folder = tempfile::tempdir_in("target").expect("ours");
    let store = open(folder.path());
    let fingerprints: Vec<_> = (0..10_000_u32).map(|n| Digest::of(&n.to_be_bytes())).collect();
    let bytes = vec![7; 1200];
    let paths = fingerprints.iter().map(|f| folder.path().join(format!("responses/{f}.der")));
    let entries: Vec<_> = paths.map(|path| Entry::public(path, &bytes)).collect();
    files::write_many(&entries).into_iter().for_each(|outcome| outcome.expect("room"));
    let url = "http://ocsp.example.org/".to_owned();
    let uptime = Duration::from_secs(100);
    for certificate in &fingerprints {
        let (certificate, responder) = (*certificate, url.clone());
        let (failures, wait) = (1, Duration::from_secs(60));
        let attempt = Attempt { certificate, responder: url.clone(), failures, wait };
        let fresh_for = Some(wait);
        let etag = Some("\"5f3e-1a2b3c\"".to_owned());
        let digest = certificate;
        let answer =
            Answer { certificate, responder, digest, etag, last_modified: None, fresh_for };
        store.remember(&[Record::Attempt(attempt), Record::Answer(answer)], uptime).expect("room");
    }
    drop(store);
    let start = Instant::now();
    let store = open(folder.path());
    let opened = start.elapsed();
    let loaded = fingerprints.iter().filter_map(|f| store.dir().load(*f).expect("readable"));
    assert_eq!(loaded.count(), 10_000);
    let read = start.elapsed() - opened;
    let remembered = store.dir().remembered(uptime).expect("readable");
    assert_eq!(remembered.attempts.len(), 10_000);
    let recalled = start.elapsed() - opened - read;
    store.remember(&[], uptime).expect("room");
    let compacted = start.elapsed() - opened - read - recalled;
    eprintln!(
        "open {opened:.1?}, load 10,000 {read:.1?}, attempts {recalled:.1?}, compact {compacted:.1?}"
    );
}
