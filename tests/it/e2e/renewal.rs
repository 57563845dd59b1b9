//! Certificates renewed on disk, by every way that ACME clients have, and reloads by any hand.
//!
//! nginx reads certificate and staple at its reload, one file after the other, and checks nothing. Our
//! part is to have the old staple out of the way when the reload comes. There is a physical limit: whoever
//! reloads within the instant between the new certificate and our swap of the staple makes nginx
//! present the new leaf with the old staple. [`how_long_the_old_staple_lies_beside_a_new_certificate`]
//! measures that instant; the other tests wait for the swap before they reload.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use staplekeeper::agent::status::{Served, State};

use crate::support::agent::{certificate, eventually, server};
use crate::support::authority::Answer;
use crate::support::ca::{Draft, Identity, Key, Kind};
use crate::support::judge::{self, Worth, fingerprint};
use crate::support::nginx::Site;
use crate::support::scene::{Scene, must, plain, replace};

/// How an ACME client lays out its files and exchanges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Two files, each by rename.
    Renamed,
    /// acme.sh: the same files are written over, in pieces.
    InPlace,
    /// `live/` with links into `archive/`, removed and made anew one by one.
    Certbot,
    /// Links to files with the time in their name, beside them.
    Dehydrated,
    /// Links through `..data`, which is swapped.
    Kubernetes,
}

const LAYOUTS: [(Layout, &str); 5] = [
    (Layout::Renamed, "renamed.test"),
    (Layout::InPlace, "in-place.test"),
    (Layout::Certbot, "certbot.test"),
    (Layout::Dehydrated, "dehydrated.test"),
    (Layout::Kubernetes, "kubernetes.test"),
];

impl Layout {
    /// What nginx is told to read: chain and key.
    fn paths(self, root: &Path) -> (PathBuf, PathBuf) {
        let (folder, chain, key) = match self {
            Layout::Renamed => ("renamed", "chain.pem", "key.pem"),
            Layout::InPlace => ("in-place_ecc", "fullchain.cer", "in-place.key"),
            Layout::Certbot => ("letsencrypt/live/certbot.test", "fullchain.pem", "privkey.pem"),
            Layout::Dehydrated => ("dehydrated.test", "fullchain.pem", "privkey.pem"),
            Layout::Kubernetes => ("secret", "tls.crt", "tls.key"),
        };
        (root.join(folder).join(chain), root.join(folder).join(key))
    }

    /// Puts the files there, the first ones (`number` 1) or others in their place.
    fn put(self, root: &Path, number: usize, leaf: &Identity) {
        let (chain, key) = self.paths(root);
        let folder = chain.parent().expect("it lies in a folder");
        fs::create_dir_all(folder).expect("ours");
        match self {
            Layout::Renamed => {
                replace(&key, leaf.key_pem().as_bytes());
                replace(&chain, leaf.chain_pem().as_bytes());
            }
            Layout::InPlace => {
                write_in_pieces(&key, &leaf.key_pem());
                write_in_pieces(&folder.join("in-place.cer"), &leaf.pem());
                write_in_pieces(&chain, &leaf.chain_pem());
            }
            Layout::Certbot => {
                let archive = root.join("letsencrypt/archive/certbot.test");
                fs::create_dir_all(&archive).expect("ours");
                let issuer = leaf.issuer().pem();
                let files = [
                    ("privkey", leaf.key_pem()),
                    ("cert", leaf.pem()),
                    ("chain", issuer),
                    ("fullchain", leaf.chain_pem()),
                ];
                for (name, contents) in &files {
                    fs::write(archive.join(format!("{name}{number}.pem")), contents).expect("ours");
                }
                for (name, _) in &files {
                    let link = folder.join(format!("{name}.pem"));
                    let end = format!("../../archive/certbot.test/{name}{number}.pem");
                    // As certbot does it: gone for an instant.
                    let _ = fs::remove_file(&link);
                    symlink(end, &link).expect("ours");
                }
            }
            Layout::Dehydrated => {
                for (name, contents) in
                    [("privkey", leaf.key_pem()), ("fullchain", leaf.chain_pem())]
                {
                    let file = format!("{name}-17636{number:05}.pem");
                    fs::write(folder.join(&file), contents).expect("ours");
                    let link = folder.join(format!("{name}.pem"));
                    let _ = fs::remove_file(&link);
                    symlink(file, &link).expect("ours");
                }
            }
            Layout::Kubernetes => {
                let version = format!("..2026_11_22_{number}");
                fs::create_dir(folder.join(&version)).expect("ours");
                fs::write(folder.join(&version).join("tls.key"), leaf.key_pem()).expect("ours");
                fs::write(folder.join(&version).join("tls.crt"), leaf.chain_pem()).expect("ours");
                symlink(&version, folder.join("..data_tmp")).expect("ours");
                fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("ours");
                for name in ["tls.key", "tls.crt"] {
                    // They stay when `..data` is swapped.
                    let _ = symlink(format!("..data/{name}"), folder.join(name));
                }
                if number > 1 {
                    let before = format!("..2026_11_22_{}", number - 1);
                    fs::remove_dir_all(folder.join(before)).expect("ours");
                }
            }
        }
    }
}

fn write_in_pieces(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("ours");
    let (first, second) = text.split_at(text.len() / 2);
    file.write_all(first.as_bytes()).expect("ours");
    thread::sleep(Duration::from_millis(3));
    file.write_all(second.as_bytes()).expect("ours");
}

/// One site a layout, under the scene's folder `certs`.
struct Hosts {
    scene: Scene,
    numbers: Vec<usize>,
}

impl Hosts {
    fn new(life: i64, tables: &str) -> Hosts {
        let hosts: Vec<_> = LAYOUTS.iter().map(|(_, name)| must(name)).collect();
        let mut scene = Scene::new(life, &hosts, tables);
        let root = scene.path("certs");
        let mut sites = String::new();
        for (layout, name) in LAYOUTS {
            layout.put(&root, 1, scene.leaf(name));
            let (chain, key) = layout.paths(&root);
            sites += &Site {
                port: scene.port,
                names: name,
                certificate: &chain.display().to_string(),
                key: &key.display().to_string(),
                staple: Some(&scene.staple(name).display().to_string()),
                ..Site::default()
            }
            .to_string();
        }
        scene.nginx.http(&sites);
        scene.agent.start();
        scene.nginx.start();
        scene.agent.wait_until("all to be served", |now| {
            now.certificates.len() == LAYOUTS.len()
                && now.certificates.iter().all(|one| one.served == Some(Served::Match))
        });
        Hosts { scene, numbers: vec![1; LAYOUTS.len()] }
    }

    /// Another certificate with another key in the place of the last one.
    fn renew(&mut self, at: usize) -> Identity {
        let (layout, name) = LAYOUTS[at];
        let draft = Draft { key: Key::new(Kind::P256), must_staple: true, ..Draft::leaf(name) };
        let next = self.scene.authority.issue(draft);
        self.numbers[at] += 1;
        layout.put(&self.scene.path("certs"), self.numbers[at], &next);
        next
    }

    /// Whether the target of a site could be read together with `leaf`.
    fn swapped(&self, at: usize, leaf: &Identity) -> bool {
        let bytes = fs::read(self.scene.staple(LAYOUTS[at].1)).expect("it never vanishes");
        let shown = judge::worth(leaf, Some(&bytes));
        matches!(shown.worth, Worth::Good | Worth::Placeholder)
    }
}

/// Whatever the layout: after the swap anybody may reload at any moment, and no client ever sees the
/// new leaf with the old leaf's staple.
#[test]
fn reloads_by_others_right_after_a_renewal() {
    let mut hosts = Hosts::new(3600, "");
    let names = LAYOUTS.map(|(_, name)| name);
    let clients = hosts.scene.clients(&names, Duration::from_millis(5));
    for (round, delay) in [0, 40, 500, 150].into_iter().enumerate() {
        for (at, (layout, name)) in LAYOUTS.into_iter().enumerate() {
            let leaf = hosts.renew(at);
            eventually(&format!("the swap for {name}"), || hosts.swapped(at, &leaf));
            thread::sleep(Duration::from_millis(delay));
            kill(hosts.scene.nginx.master(), Signal::SIGHUP).expect("nginx runs");
            eventually(&format!("the new leaf of {layout:?} with a good staple"), || {
                let shown = hosts.scene.handshake(name).expect("a handshake");
                shown.leaf == fingerprint(&leaf) && shown.worth == Worth::Good
            });
            let counts = clients.so_far();
            assert_eq!(counts.all(Worth::Wrong), 0, "round {round} {layout:?}: {counts:?}");
        }
    }
    let status = hosts.scene.agent.wait_until("proof of all of them", |now| {
        now.certificates.iter().all(|one| one.served == Some(Served::Match))
    });
    assert_eq!(status.certificates.len(), LAYOUTS.len(), "{status:#?}");
    let counts = clients.end();
    assert_eq!((counts.all(Worth::Expired), counts.failed), (0, 0), "{counts:?}");
    let log = hosts.scene.agent.log();
    let loud: Vec<_> =
        log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
    assert!(loud.is_empty(), "a renewal is no fault: {loud:#?}");
}

/// Nobody reloads but the agent, and that after `adopt_renewed_after`.
#[test]
fn the_agent_takes_up_what_nobody_else_does() {
    let tables = "[schedule]\nadopt_renewed_after = \"2s\"\nreload_at_most_every = \"1s\"\n";
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], tables);
    scene.start();
    let clients = scene.clients(&["a.test", "b.test"], Duration::from_millis(10));
    for name in ["a.test", "b.test"] {
        let old = fingerprint(scene.leaf(name));
        let leaf = scene.renew(name);
        eventually(&format!("the new leaf of {name} with its staple"), || {
            let shown = scene.handshake(name).expect("a handshake");
            assert!(shown.leaf == old || shown.worth == Worth::Good, "{name}: {shown:?}");
            shown.leaf == fingerprint(&leaf)
        });
    }
    scene.wait_until_served();
    assert_eq!(scene.nginx.reloads(), 2, "one for each");
    let counts = clients.end();
    for name in ["a.test", "b.test"] {
        assert_eq!(counts.of(name, Worth::Good), counts.total(name), "{counts:?}");
    }
    assert_eq!(counts.failed, 0, "{counts:?}");
}

/// Responders often know a certificate only some time after it was issued. The old pair is still
/// fine; taking up a Must-Staple certificate without a staple would be an outage.
#[test]
fn a_must_staple_certificate_is_not_taken_up_without_a_staple() {
    let tables = "[schedule]\nadopt_renewed_after = \"1s\"\nreload_at_most_every = \"1s\"\n";
    let mut scene = Scene::new(3600, &[must("a.test")], tables);
    scene.start();
    let clients = scene.clients(&["a.test"], Duration::from_millis(10));
    let leaf = scene.issue_next("a.test");
    scene.authority.says(&leaf, Answer::Unauthorized);
    scene.install("a.test", &leaf);
    let status = scene.agent.wait_until("the answer", |now| {
        certificate(now, "a.test")
            .last_error
            .as_ref()
            .is_some_and(|why| why.contains("unauthorized"))
    });
    let a = certificate(&status, "a.test");
    assert_eq!((a.state, a.fingerprint), (State::Waiting, fingerprint(&leaf)));
    thread::sleep(Duration::from_secs(6));
    assert_eq!(scene.nginx.reloads(), 0, "the old pair is served as long as it is good");
    let status = scene.agent.status().expect("it runs");
    assert_eq!(server(&status).next_reload, None, "{status:#?}");
    scene.authority.says(&leaf, Answer::Status(crate::support::ca::Said::Good));
    let said = scene.agent.command(&["refresh"]);
    assert_eq!(said.code, 0, "{said:?}");
    eventually("the new leaf", || {
        scene.handshake("a.test").is_ok_and(|shown| shown.leaf == fingerprint(&leaf))
    });
    let counts = clients.end();
    assert_eq!(counts.of("a.test", Worth::Good), counts.total("a.test"), "{counts:?}");
    assert_eq!(counts.failed, 0, "{counts:?}");
}

/// Whoever reloads in the instant before the swap gets the new leaf with the old staple: the physical
/// limit. The agent sees it and has nginx reload again.
#[test]
fn a_reload_that_came_too_soon_is_mended() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    for name in ["a.test", "b.test", "a.test"] {
        let leaf = scene.renew(name);
        kill(scene.nginx.master(), Signal::SIGHUP).expect("nginx runs");
        let begun = Instant::now();
        eventually("the new leaf", || {
            scene.handshake(name).is_ok_and(|shown| shown.leaf == fingerprint(&leaf))
        });
        let first = scene.handshake(name).expect("a handshake").worth;
        eventually("its own staple", || {
            let shown = scene.handshake(name).expect("a handshake");
            shown.leaf == fingerprint(&leaf) && shown.worth == Worth::Good
        });
        eprintln!("{name}: {first:?} at first, good after {:?}", begun.elapsed());
    }
    scene.wait_until_served();
}

/// Renewals at any instant around a reload of the agent's own, which was for another certificate.
#[test]
fn a_renewal_in_the_midst_of_our_own_reload() {
    let mut scene = Scene::new(3600, &[must("a.test"), must("b.test")], "");
    scene.start();
    let clients = scene.clients(&["a.test"], Duration::from_millis(3));
    for delay in [1_900, 2_000, 2_060, 2_120] {
        let mut refresh = scene.agent.program(&["refresh", "b.test"]);
        let mut refresh = refresh.stdout(Stdio::null()).spawn().expect("it can be executed");
        thread::sleep(Duration::from_millis(delay));
        scene.renew("a.test");
        assert!(refresh.wait().expect("our own child").success());
        eventually("a good staple, whichever leaf", || {
            scene.handshake("a.test").expect("a handshake").worth == Worth::Good
        });
    }
    // Which leaf it is depends on the instant; the staple is that leaf's.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(scene.handshake("a.test").expect("a handshake").worth, Worth::Good);
    let counts = clients.end();
    assert_eq!(counts.failed, 0, "{counts:?}");
    eprintln!(
        "{} of {} clients met the instant",
        counts.of("a.test", Worth::Wrong),
        counts.total("a.test")
    );
}

/// Measured, not promised: how long after the last write of a renewal the target still holds the old
/// staple. A tenth of a second on an idle machine; an ACME client takes longer to run its hook.
#[test]
fn how_long_the_old_staple_lies_beside_a_new_certificate() {
    let mut hosts = Hosts::new(3600, "");
    let mut slowest = Duration::ZERO;
    for round in 0..3 {
        for (at, (layout, _)) in LAYOUTS.into_iter().enumerate() {
            let leaf = hosts.renew(at);
            let begun = Instant::now();
            eventually("the swap", || hosts.swapped(at, &leaf));
            let took = begun.elapsed();
            eprintln!("round {round}, {layout:?}: swapped after {took:?}");
            slowest = slowest.max(took);
            // The next one comes while the last is still being digested, as `certbot renew` does it.
            thread::sleep(Duration::from_millis(100 * (at as u64 + 1)));
        }
    }
    eprintln!("slowest: {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "no owner's hook waits that long: {slowest:?}");
}
