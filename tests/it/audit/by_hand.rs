//! `freeze`, `thaw` and `import`, as an operator uses them, and the log of a responder that fails.

use std::fs;

use crate::support::agent::{certificate, eventually};
use crate::support::authority::{Answer, now, wait_past};
use crate::support::ca::{Forge, Said};
use crate::support::scene::{Host, Scene, must, plain};

#[test]
fn what_is_frozen_stays_over_a_restart() {
    let mut scene = Scene::new(600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    let published = fs::read(scene.staple("a.test")).expect("it is published");
    let frozen = scene.agent.command(&["freeze", "a.test"]);
    assert!(
        frozen.code == 0 && frozen.out.contains("frozen: what is published stays"),
        "{frozen:?}"
    );
    wait_past(now());
    let refreshed = scene.agent.command(&["refresh", "a.test"]);
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    assert_eq!(fs::read(scene.staple("a.test")).expect("it is there"), published);

    scene.agent.kill();
    scene.agent.start();
    let status = scene.agent.wait_until("the freeze", |now| certificate(now, "a.test").frozen);
    assert!(certificate(&status, "a.test").reason.contains("frozen"), "{status:#?}");
    assert!(!certificate(&status, "b.test").frozen);
    wait_past(now());
    let refreshed = scene.agent.command(&["refresh"]);
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    assert_eq!(fs::read(scene.staple("a.test")).expect("it is there"), published);

    // Without an agent, too: the next one goes by it.
    scene.agent.stop();
    let thawed = scene.agent.command(&["thaw", "a.test"]);
    assert!(thawed.code == 0 && thawed.out.contains("thawed"), "{thawed:?}");
    scene.agent.start();
    let path = scene.staple("a.test");
    eventually("the newest to be published", || fs::read(&path).expect("there") != published);
    let unknown = scene.agent.command(&["freeze", "c.test"]);
    assert!(unknown.code != 0 && unknown.err.contains("no certificate called"), "{unknown:?}");
    let trail = scene.agent.command(&["audit", "--name", "a.test"]).out;
    assert!(trail.contains("frozen by uid") && trail.contains("thawed by uid"), "{trail}");
    let ran = trail.find("ran \"thaw\" without an agent").expect("who did it");
    assert!(trail.find("thawed by uid").is_some_and(|thawed| ran < thawed), "{trail}");
    assert_eq!(trail.matches("without an agent").count(), 1, "{trail}");
}

#[test]
fn a_response_is_brought_by_hand() {
    let mut scene = Scene::new(600, &[must("a.test")], "");
    let leaf = scene.leaf("a.test").clone();
    // The responder knows nothing of it: there is no other way.
    scene.authority.says(&leaf, Answer::Unauthorized);
    scene.agent.start();
    scene.nginx.start();
    let bring = |scene: &Scene, name: &str, der: &[u8]| {
        let path = scene.path(name);
        fs::write(&path, der).expect("ours");
        scene.agent.command(&["import", path.to_str().expect("UTF-8")])
    };
    let made = |from: i64| Forge::new(&leaf, from).from(from).until(Some(from + 600));
    let good = made(now() - 60).der();
    let taken = bring(&scene, "good.der", &good);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert_eq!(fs::read(scene.staple("a.test")).expect("published"), good);

    let again = bring(&scene, "good.der", &good);
    assert!(again.code == 1 && again.err.contains("held already"), "{again:?}");
    let older = bring(&scene, "older.der", &made(now() - 300).der());
    assert!(older.code == 1 && older.err.contains("what is held is newer"), "{older:?}");
    let mut broken = made(now()).der();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let refused = bring(&scene, "broken.der", &broken);
    assert!(refused.code == 1 && refused.err.contains("refused"), "{refused:?}");
    let other = scene.authority.issue(staple_draft("c.test"));
    let strange = bring(&scene, "other.der", &Forge::new(&other, now()).der());
    assert!(strange.code == 1 && strange.err.contains("none of the certificates"), "{strange:?}");
    let junk = bring(&scene, "junk.der", b"junk");
    assert_eq!(junk.code, 1, "{junk:?}");
    assert_eq!(fs::read(scene.staple("a.test")).expect("published"), good);

    // Without an agent.
    scene.agent.stop();
    let newer = made(now()).status(Said::Good).der();
    let taken = bring(&scene, "newer.der", &newer);
    assert_eq!(taken.code, 0, "{taken:?}");
    assert_eq!(fs::read(scene.staple("a.test")).expect("published"), newer);
    let sound = scene.agent.command(&["audit", "--verify"]);
    assert_eq!(sound.code, 0, "{sound:?}");
    let trail = scene.agent.command(&["audit", "--name", "a.test"]).out;
    assert_eq!(trail.matches("brought by uid").count(), 2, "{trail}");
    let uid = nix::unistd::getuid();
    let ran =
        trail.find(&format!("uid {uid} ran \"import\" without an agent")).expect("who did it");
    assert!(trail[..ran].contains("the agent stopped") && !trail[ran..].contains("started"));
    // The responder knows nothing still, and this says so.
    let refreshed = scene.agent.command(&["refresh"]);
    assert_eq!(refreshed.code, 1, "{refreshed:?}");
    let trail = scene.agent.command(&["audit"]).out;
    let ran = trail.find("ran \"refresh\" without an agent").expect("who did it");
    assert!(trail[ran..].contains("asked for a refresh of all"), "{trail}");
}

fn staple_draft(name: &str) -> crate::support::ca::Draft {
    crate::support::ca::Draft::leaf(name)
}

#[test]
fn a_responder_that_fails_does_not_fill_the_log() {
    let names: Vec<String> = (0..30).map(|number| format!("n{number}.test")).collect();
    let hosts: Vec<Host> = names.iter().map(|name| plain(name)).collect();
    let mut scene = Scene::new(600, &hosts, "");
    for name in &names {
        scene.authority.says(scene.leaf(name), Answer::Unauthorized);
    }
    scene.agent.start();
    for _ in 0..3 {
        // Each asks about all of them again.
        scene.agent.command(&["refresh"]);
    }
    let log = scene.agent.log();
    let lines = log.lines().filter(|line| line.contains("unauthorized")).count();
    assert_eq!(lines, 1, "{log}");
    for name in &names {
        let good = Answer::Status(Said::Good);
        scene.authority.says(scene.leaf(name), good);
    }
    let refreshed = scene.agent.command(&["refresh"]);
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    let log = scene.agent.log();
    assert_eq!(log.matches("answers again").count(), 1, "{log}");
}
