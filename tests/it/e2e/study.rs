//! What "Is the Web Ready for OCSP Must-Staple?" (IMC 2018, §7) asked of servers, asked of nginx with the
//! agent beside it. As shipped nginx does not prefetch, and forgets its staple at every reload
//! (facts/servers.md 21, 27).

use std::time::Duration;

use crate::support::agent::certificate;
use crate::support::authority::{Answer, now, wait_past};
use crate::support::ca::refusal;
use crate::support::judge::Worth;
use crate::support::nginx::Nginx;
use crate::support::responder::Reply;
use crate::support::scene::{Scene, must, plain};

/// So many handshakes in a row, all of them good.
fn all_good(scene: &Scene, name: &str, handshakes: usize) {
    for _ in 0..handshakes {
        let shown = scene.handshake(name).expect("a handshake");
        assert_eq!(shown.worth, Worth::Good, "{shown:?}");
    }
}

/// The study: nginx fetched only when the first client came, which got no staple.
#[test]
fn prefetches() {
    let mut scene = Scene::new(3_600, &[must("must.test")], "");
    scene.agent.start();
    let leaf = scene.leaf("must.test").clone();
    assert_eq!(scene.authority.asked(&leaf), 1, "before any client came");
    for _ in 0..3 {
        scene.nginx.start();
        // Two workers, and each of them is new: the first handshakes tell.
        all_good(&scene, "must.test", 6);
        scene.nginx.stop();
    }
    assert_eq!(scene.authority.asked(&leaf), 1);
}

/// The study: a response is fetched once, not for every client. Nor for every worker or reload.
#[test]
fn caches() {
    let mut scene = Scene::new(3_600, &[must("must.test")], "");
    scene.start();
    let leaf = scene.leaf("must.test").clone();
    for _ in 0..3 {
        all_good(&scene, "must.test", 50);
        scene.nginx.reload().expect("its configuration is good");
    }
    scene.agent.stop();
    scene.agent.start();
    all_good(&scene, "must.test", 50);
    assert_eq!(scene.authority.asked(&leaf), 1);
}

/// The study: nginx stopped stapling at nextUpdate, Apache did not.
#[test]
fn respects_next_update() {
    let mut scene = Scene::new(3_600, &[plain("plain.test")], "");
    let next_update = now() + 30;
    let answer = Answer::Between(next_update - 90, next_update);
    scene.authority.says(scene.leaf("plain.test"), answer);
    scene.start();
    scene.authority.responder.kill();
    let clients = scene.clients(&["plain.test"], Duration::from_millis(20));
    wait_past(next_update + 1);
    let counts = clients.end();
    assert!(counts.of("plain.test", Worth::Placeholder) > 0, "{counts:#?}");
    assert!(counts.all(Worth::Good) > 0, "{counts:#?}");
    assert_eq!(counts.all(Worth::Expired), 0, "{counts:#?}");
    assert_eq!(counts.failed + counts.all(Worth::Wrong), 0, "{counts:#?}");
}

/// The study: Apache deleted a valid response when the responder failed afterwards.
#[test]
fn retains_on_error() {
    let mut scene = Scene::new(3_600, &[must("must.test")], "");
    scene.start();
    let leaf = scene.leaf("must.test").clone();
    let good = scene.handshake("must.test").expect("a handshake").staple;
    let errors = [
        ("500", Reply::html(500)),
        ("503 with Retry-After", Reply::html(503).with("Retry-After", "3600")),
        ("an HTML page", Reply::html(200)),
        ("tryLater", Reply::ocsp(refusal(3))),
        ("unauthorized", Reply::ocsp(refusal(6))),
        ("nothing at all", Reply::ocsp([])),
        ("a connection broken off", Reply::Reset),
    ];
    for (what, reply) in errors {
        scene.authority.says(&leaf, Answer::Reply(reply));
        let refresh = scene.agent.command(&["refresh"]);
        assert_eq!(refresh.code, 1, "{what}: {refresh:?}");
        assert!(refresh.out.contains("still handed a staple that is good"), "{what}: {refresh:?}");
        scene.nginx.reload().expect("its configuration is good");
        let shown = scene.handshake("must.test").expect("a handshake");
        assert_eq!((shown.worth, &shown.staple), (Worth::Good, &good), "{what}");
    }
    scene.authority.responder.kill();
    restart(&mut scene.nginx);
    scene.agent.stop();
    scene.agent.start();
    scene.clients_connect("must.test");
    let status = scene.agent.status().expect("it runs");
    assert!(certificate(&status, "must.test").slack_seconds > Some(3_000), "{status:#?}");
}

fn restart(nginx: &mut Nginx) {
    nginx.stop();
    nginx.start();
}
