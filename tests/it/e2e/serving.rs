//! What clients are handed from the first handshake on, over rotations and outages.

use std::fs;
use std::time::Duration;

use staplekeeper::agent::status::{Published, Severity, State};

use crate::support::agent::certificate;
use crate::support::authority::{Answer, now, wait_past};
use crate::support::ca::Said;
use crate::support::judge::Worth;
use crate::support::scene::{Scene, must, plain};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_first_handshake_after_nginx_starts_is_stapled() {
    let mut scene = Scene::new(3_600, &[must("must.test"), plain("plain.test")], "");
    let complaint = scene.nginx.test().expect_err("nothing lies where nginx looks for staples");
    assert!(complaint.contains("staples/must.test.der"), "{complaint}");
    scene.agent.start();
    assert_eq!(scene.published("must.test").worth, Worth::Good, "ready means published");
    scene.nginx.start();
    // gnutls-cli's is the first handshake that this nginx has ever made.
    scene.clients_connect("must.test");
    scene.clients_connect("plain.test");
    scene.wait_until_served();
    let status = scene.agent.status().expect("it runs");
    assert_eq!(status.servers[0].last_reload, None, "there was nothing to reload");
}

#[test]
fn nginx_can_start_although_no_staple_could_be_had() {
    let mut scene = Scene::new(3_600, &[must("must.test"), plain("plain.test")], "");
    scene.authority.responder.kill();
    assert!(scene.nginx.test().is_err(), "nothing lies where nginx looks for staples");
    scene.agent.start();
    assert_eq!(scene.published("must.test").worth, Worth::Placeholder);
    scene.nginx.start();
    assert_eq!(scene.gnutls("plain.test"), Ok(()), "tryLater is as good as nothing");
    let refusal = scene.gnutls("must.test").expect_err("a placeholder is no staple");
    assert!(refusal.contains("OCSP status is missing"), "{refusal}");
    let status = scene.agent.wait_until("alarm", |status| {
        certificate(status, "must.test").severity == Severity::Critical
    });
    let must = certificate(&status, "must.test");
    assert_eq!(status.certificates[0].name, must.name, "what hurts comes first");
    assert_eq!((must.state, must.targets[0].published), (State::Waiting, Published::Placeholder));
    let error = must.last_error.as_deref().expect("the attempt failed");
    assert!(error.contains("cannot connect"), "{error}");

    scene.authority.responder.restart();
    scene.agent.command(&["refresh"]);
    scene.wait_until_served();
    scene.clients_connect("must.test");
    scene.clients_connect("plain.test");
}

/// Two rotations and more, with clients at it all the time.
#[test]
fn staples_are_rotated_before_they_run_out() {
    let names = ["must.test", "plain.test"];
    let mut scene = Scene::new(24, &[must(names[0]), plain(names[1])], "");
    scene.start();
    let clients = scene.clients(&names, Duration::from_millis(8));
    clients.wait_until(2 * MINUTE, |counts| {
        let handshakes: usize = names.iter().map(|name| counts.total(name)).sum();
        let rotated = names.iter().all(|name| counts.staples(name) >= 3);
        counts.not_good() > 0 || handshakes >= 2_000 && rotated
    });
    let counts = clients.end();
    assert_eq!(counts.not_good(), 0, "{counts:#?}");
}

#[test]
fn a_responder_that_is_down_for_half_of_the_validity_goes_unnoticed() {
    const LIFE: i64 = 36;
    let names = ["must.test", "plain.test"];
    let mut scene = Scene::new(LIFE, &[must(names[0]), plain(names[1])], "");
    scene.start();
    let clients = scene.clients(&names, Duration::from_millis(20));
    scene.authority.responder.kill();
    let down = now();
    let status = scene.agent.wait_at_most(MINUTE, "failures in the status", |status| {
        names.iter().all(|name| certificate(status, name).failures > 0)
    });
    for name in names {
        let one = certificate(&status, name);
        let error = one.last_error.as_deref().expect("there were failures");
        let url = scene.authority.responder.url();
        assert!(error.contains(&url) && error.contains("Connection refused"), "{error}");
        assert_eq!(one.state, State::Good, "the staple is good still: {one:#?}");
    }
    let said = scene.agent.command(&["status"]);
    assert!(said.out.contains("Connection refused"), "the table says what is wrong:\n{}", said.out);
    wait_past(down + LIFE / 2);
    scene.authority.responder.restart();
    clients.wait_until(MINUTE, |counts| {
        counts.not_good() > 0 || names.iter().all(|name| counts.staples(name) >= 2)
    });
    let counts = clients.end();
    assert_eq!(counts.not_good(), 0, "{counts:#?}");
    let status = scene.agent.status().expect("it runs");
    for name in names {
        let one = certificate(&status, name);
        assert_eq!((one.failures, &one.last_error), (0, &None), "all is well again: {one:#?}");
    }
}

#[test]
fn an_expired_staple_gives_way_unless_the_certificate_demands_one() {
    let mut scene = Scene::new(3_600, &[must("must.test"), plain("plain.test")], "");
    let next_update = now() + 30;
    for name in ["must.test", "plain.test"] {
        let answer = Answer::Between(next_update - 90, next_update);
        scene.authority.says(scene.leaf(name), answer);
    }
    scene.start();
    scene.authority.responder.kill();
    let clients = scene.clients(&["plain.test"], Duration::from_millis(20));
    wait_past(next_update + 1);
    assert!(clients.so_far().of("plain.test", Worth::Placeholder) > 0, "{:#?}", clients.so_far());
    assert_eq!(scene.gnutls("plain.test"), Ok(()));
    // Some clients ask for presence only.
    let kept = scene.handshake("must.test").expect("a handshake");
    assert_eq!(kept.worth, Worth::Expired, "{kept:?}");
    let status = scene.agent.wait_until("an alarm", |status| {
        certificate(status, "must.test").severity == Severity::Critical
    });
    let [must, plain] = ["must.test", "plain.test"].map(|name| certificate(&status, name));
    assert_eq!((must.state, plain.state), (State::Expired, State::Expired));
    assert!(must.reason.contains("ran out") && must.reason.contains("refuse"), "{}", must.reason);
    assert_eq!(plain.severity, Severity::Warning, "{plain:#?}");
    assert_eq!(fs::read(scene.staple("must.test")).ok(), kept.staple, "as it was");

    for name in ["must.test", "plain.test"] {
        scene.authority.says(scene.leaf(name), Answer::Status(Said::Good));
    }
    scene.authority.responder.restart();
    let refresh = scene.agent.command(&["refresh"]);
    assert_eq!(refresh.code, 0, "{refresh:?}");
    scene.clients_connect("must.test");
    scene.clients_connect("plain.test");
    let counts = clients.end();
    assert_eq!(counts.of("plain.test", Worth::Expired), 0, "{counts:#?}");
    assert_eq!(counts.failed + counts.all(Worth::Wrong), 0, "{counts:#?}");
}
