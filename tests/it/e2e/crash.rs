//! The agent is killed: nothing is torn, nothing is forgotten, nobody is asked twice.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use staplekeeper::agent::status::{Published, Served, State};

use crate::support::agent::{certificate, eventually, server};
use crate::support::judge::{self, Worth};
use crate::support::scene::{Host, Scene, must, plain};

/// Numbers that look random and can be had again: `STAPLEKEEPER_TEST_SEED` sets the first.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let seed = std::env::var("STAPLEKEEPER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).expect("past 1970").as_nanos();
        let seed = seed.unwrap_or_else(|| clock() as u64);
        eprintln!("STAPLEKEEPER_TEST_SEED={seed}");
        Dice(seed)
    }

    /// From `low` to below `high`. (SplitMix64)
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (mixed ^ (mixed >> 31)) % (high - low)
    }
}

/// Fifty times the agent is killed somewhere between its start and 400 ms later, while refreshes
/// are asked for one after another. Whoever looks at a staple file at any time finds a whole staple
/// of the right certificate; clients never notice anything.
#[test]
fn killed_at_any_moment() {
    let mut dice = Dice::new();
    let names = ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test"];
    let host = |(at, name): (usize, &&str)| if at % 2 == 0 { must(name) } else { plain(name) };
    let hosts: Vec<Host> = names.iter().enumerate().map(host).collect();
    let mut scene = Scene::new(600, &hosts, "");
    scene.start();
    let clients = scene.clients(&names, Duration::from_millis(20));

    let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let watched: Vec<_> =
        names.iter().map(|name| (scene.staple(name), scene.leaf(name).clone())).collect();
    let (told, counted) = (stop.clone(), looks.clone());
    let reader = thread::spawn(move || {
        let mut last = vec![Vec::new(); watched.len()];
        let mut versions = 0;
        while !told.load(Ordering::SeqCst) {
            for ((path, leaf), last) in watched.iter().zip(&mut last) {
                let bytes = fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
                counted.fetch_add(1, Ordering::SeqCst);
                if bytes != *last {
                    let shown = judge::worth(leaf, Some(&bytes));
                    assert_eq!(shown.worth, Worth::Good, "{path:?}: {}", shown.why);
                    *last = bytes;
                    versions += 1;
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        versions
    });

    scene.agent.stop();
    let mut refreshed = 0;
    for round in 0..50 {
        let life = Duration::from_millis(dice.between(50, 400));
        scene.agent.launch();
        let call = scene.agent.keep_refreshing();
        thread::sleep(life);
        scene.agent.kill();
        refreshed += call.join().expect("it ends with the agent");
        assert_eq!(scene.nginx.test(), Ok(()), "round {round}, killed after {life:?}");
        assert!(!reader.is_finished(), "the reader found something");
    }
    eprintln!("{refreshed} lines of progress over 50 short lives");
    assert!(refreshed > 50, "the agent was hardly ever at work: {refreshed}");

    // Once more without being killed: everything is where it should be, and stays so.
    scene.agent.start();
    let said = scene.agent.command(&["refresh"]);
    assert_eq!(said.code, 0, "{said:?}");
    scene.wait_until_served();
    scene.agent.kill();
    let asked = scene.authority.responder.requests();
    scene.agent.start();
    let status = scene.agent.wait_until("what it held", |now| {
        now.certificates.len() == names.len()
            && now
                .certificates
                .iter()
                .all(|one| one.state == State::Good && one.served == Some(Served::Match))
    });
    assert_eq!(server(&status).pending, 0);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(scene.authority.responder.requests(), asked, "it asks for what it holds");

    stop.store(true, Ordering::SeqCst);
    let versions = reader.join().expect("every file was whole at all times");
    eprintln!("{versions} staples in {} looks", looks.load(Ordering::SeqCst));
    assert!(versions > 50, "{versions}");
    let counts = clients.end();
    for name in names {
        assert_eq!(counts.of(name, Worth::Good), counts.total(name), "{name}: {counts:?}");
    }
    assert_eq!(counts.failed, 0, "{counts:?}");
    let strays = [scene.path("staples"), scene.agent.state_dir().join("responses")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("it is there").flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'))
        .count();
    assert_eq!(strays, 0, "temporary files of killed agents are cleared away");
}

/// A newer staple is published and its reload waits for the close; the agent dies. The next one
/// reloads at the close.
#[test]
fn a_reload_that_was_due_happens_after_the_restart() {
    pending_reload(Duration::ZERO);
}

/// The same, and the agent comes back only after the close: it reloads at once.
#[test]
fn a_reload_that_is_overdue_happens_at_the_start() {
    pending_reload(Duration::from_secs(8));
}

fn pending_reload(away: Duration) {
    let mut scene = Scene::new(24, &[must("a.test")], "");
    scene.start();
    let first = scene.handshake("a.test").expect("a handshake");
    scene.authority.life(3600);
    let clients = scene.clients(&["a.test"], Duration::from_millis(20));
    scene.agent.wait_until("a newer staple that waits for its reload", |now| {
        let target = &certificate(now, "a.test").targets[0];
        target.published == Published::Staple && target.loaded == Some(Published::OlderStaple)
    });
    scene.agent.kill();
    let published = scene.published("a.test");
    assert!(published.this_update > first.this_update, "{published:?}");
    let shown = scene.handshake("a.test").expect("a handshake");
    assert_eq!(shown.this_update, first.this_update, "nobody has reloaded nginx");
    let asked = scene.authority.responder.requests();

    thread::sleep(away);
    scene.agent.start();
    eventually("the newer staple at the clients", || {
        let shown = scene.handshake("a.test").expect("a handshake");
        shown.this_update == published.this_update
    });
    let status = scene.agent.wait_until("the proof of it", |now| {
        certificate(now, "a.test").targets[0].loaded == Some(Published::Staple)
    });
    assert_eq!(certificate(&status, "a.test").served, Some(Served::Match));
    assert_eq!(scene.authority.responder.requests(), asked, "it asks for what it holds");
    let counts = clients.end();
    assert_eq!(counts.of("a.test", Worth::Good), counts.total("a.test"), "{counts:?}");
    assert_eq!(counts.failed, 0, "{counts:?}");
}
