//! A certificate is revoked: who learns of it, how soon, and what each policy makes of it.

use std::time::{Duration, Instant};

use staplekeeper::agent::status::{Severity, State};

use crate::support::agent::{Said as Output, certificate, eventually};
use crate::support::authority::{Answer, now, wait_past};
use crate::support::ca::Said;
use crate::support::judge::Worth;
use crate::support::scene::{Scene, must, plain};

/// What clients see of a site.
fn worth(scene: &Scene, name: &str) -> Worth {
    scene.handshake(name).expect("a handshake").worth
}

/// The responder says that a site's certificate is revoked from now on.
fn revoke(scene: &Scene, name: &str) {
    let said = Said::Revoked { time: now() - 60, reason: Some(1) };
    scene.authority.says(scene.leaf(name), Answer::Status(said));
}

/// Asserts that a refresh failed for one certificate, because it is revoked, and says so.
fn says_revoked(refresh: &Output, name: &str) {
    assert_eq!(refresh.code, 1, "{refresh:?}");
    let line = refresh.out.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("a line about {name}: {refresh:?}"));
    assert!(line.contains("FAILED") && line.contains("revoked since"), "{line}");
}

#[test]
fn a_revocation_reaches_clients_within_ten_seconds() {
    let names = ["must.test", "plain.test"];
    let mut scene = Scene::new(3_600, &[must(names[0]), plain(names[1]), plain("other.test")], "");
    scene.start();
    for name in names {
        revoke(&scene, name);
    }
    assert_eq!(worth(&scene, "must.test"), Worth::Good, "nobody has asked yet");
    let asked = Instant::now();
    let refresh = scene.agent.command(&["refresh"]);
    eventually("clients see the revocation", || {
        names.iter().all(|name| worth(&scene, name) == Worth::Revoked)
    });
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    for name in names {
        says_revoked(&refresh, name);
        let refusal = scene.gnutls(name).expect_err("it is revoked");
        assert!(refusal.contains("revoked"), "{refusal}");
        assert!(scene.curl(name).is_err());
    }
    scene.clients_connect("other.test");
    let status = scene.agent.status().expect("it runs");
    for name in names {
        let one = certificate(&status, name);
        assert_eq!((one.state, one.severity), (State::Revoked, Severity::Critical), "{one:#?}");
    }

    // A hold that is lifted: only an answer that is newer undoes it.
    for name in names {
        scene.authority.says(scene.leaf(name), Answer::Status(Said::Good));
    }
    let refresh = scene.agent.command(&["refresh"]);
    assert_eq!(refresh.code, 0, "{refresh:?}");
    names.iter().for_each(|name| scene.clients_connect(name));
}

#[test]
fn the_last_good_staple_is_kept_where_policy_wants_it() {
    let policy = "[policy]\non_revoked = \"keep-last-good\"\n";
    let mut scene = Scene::new(3_600, &[plain("plain.test")], policy);
    let next_update = now() + 30;
    let good = Answer::Between(next_update - 90, next_update);
    scene.authority.says(scene.leaf("plain.test"), good);
    scene.start();
    let good = scene.handshake("plain.test").expect("a handshake");
    revoke(&scene, "plain.test");
    let refresh = scene.agent.command(&["refresh"]);
    says_revoked(&refresh, "plain.test");
    let then = scene.handshake("plain.test").expect("a handshake");
    assert_eq!((then.worth, then.staple), (Worth::Good, good.staple));
    // Not beyond its end: no staple beats a bad one.
    let clients = scene.clients(&["plain.test"], Duration::from_millis(50));
    wait_past(next_update + 1);
    let counts = clients.end();
    assert!(counts.all(Worth::Placeholder) > 0, "{counts:#?}");
    assert_eq!(counts.all(Worth::Expired) + counts.all(Worth::Revoked), 0, "{counts:#?}");
}

#[test]
fn the_staple_is_withdrawn_where_policy_wants_it() {
    let policy = "[policy]\non_revoked = \"withdraw\"\n";
    let mut scene = Scene::new(3_600, &[must("must.test"), plain("plain.test")], policy);
    scene.start();
    for name in ["must.test", "plain.test"] {
        revoke(&scene, name);
        let refresh = scene.agent.command(&["refresh", name]);
        says_revoked(&refresh, name);
        eventually("the placeholder is served", || worth(&scene, name) == Worth::Placeholder);
    }
    assert_eq!(scene.gnutls("plain.test"), Ok(()));
    let refusal = scene.gnutls("must.test").expect_err("a placeholder is no staple");
    assert!(refusal.contains("OCSP status is missing"), "{refusal}");
}
