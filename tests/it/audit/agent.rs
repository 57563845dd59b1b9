//! The built agent beside a real nginx: what it records, and what the command makes of it.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use staplekeeper::digest::Digest;

use crate::support::agent::{Agent, eventually};
use crate::support::authority::{now, wait_past};
use crate::support::scene::{Scene, must, plain};

/// The JSON that a command prints.
fn json(agent: &Agent, arguments: &[&str]) -> Value {
    let said = agent.command(arguments);
    assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

/// The lines of the trail of one kind, about this certificate.
fn events(agent: &Agent, name: &str, event: &str) -> Vec<Value> {
    let document = json(agent, &["audit", "--name", name, "--format", "json"]);
    let lines = document["lines"].as_array().expect("a list").clone();
    lines.into_iter().filter(|line| line["event"] == event).collect()
}

fn instant(second: i64) -> String {
    staplekeeper::time::UnixTime::from_secs(second).to_string()
}

#[test]
fn says_what_was_stapled_when() {
    let mut scene = Scene::new(600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    let first = fs::read(scene.staple("a.test")).expect("it is published");
    // The trail is written behind the agent's back: within a moment.
    let agent = &scene.agent;
    eventually("the handshake is recorded", || !events(agent, "a.test", "confirmed").is_empty());
    let then = now();
    wait_past(then);

    let refreshed = scene.agent.command(&["refresh", "a.test"]);
    assert_eq!(refreshed.code, 0, "{refreshed:?}");
    let second = fs::read(scene.staple("a.test")).expect("it is published");
    assert_ne!(first, second);
    let agent = &scene.agent;
    eventually("the new handshake is recorded", || events(agent, "a.test", "confirmed").len() > 1);
    wait_past(now());

    let stapled = |at: &str| {
        let document = json(agent, &["audit", "--name", "a.test", "--at", at, "--format", "json"]);
        assert_eq!((&document["schema"], &document["trail_intact"]), (&1.into(), &true.into()));
        let all = document["stapled"].as_array().expect("a list").clone();
        let [one] = &*all else { panic!("{document:#}") };
        one.clone()
    };
    let (before, after) = (stapled(&instant(then)), stapled(&instant(now())));
    for (found, bytes) in [(&before, &first), (&after, &second)] {
        let response = &found["response"];
        let encoded = response["base64"].as_str().expect("text");
        assert_eq!(BASE64_STANDARD.decode(encoded).expect("base64"), *bytes);
        let path = response["path"].as_str().expect("a path");
        assert_eq!(fs::read(path).expect("in the history"), *bytes);
        assert_eq!(found["staple"]["digest"], Digest::of(bytes).to_string());
        assert_eq!(found["proof"], "handshake", "{found:#}");
        assert!(response["next_update"].is_string(), "{found:#}");
    }

    // For people: an openssl command line that works, and which certificate's it was.
    let said = agent.command(&["audit", "--name", "a.test", "--at", &instant(then)]);
    assert_eq!(said.code, 0, "{said:?}");
    let line = said.out.lines().find(|line| line.contains("openssl ocsp")).expect("a command line");
    let words: Vec<_> = line.split_whitespace().skip(1).collect();
    let shown = std::process::Command::new("openssl").args(&words).output().expect("openssl runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("Cert Status: good"), "{shown}");
    assert!(said.out.starts_with("a.test at "), "{}", said.out);

    // Who asked, and what came of it.
    let uid = nix::unistd::getuid().as_raw();
    let asked = events(agent, "a.test", "refresh-asked");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0]["uid"], uid);
    assert!(events(agent, "b.test", "refresh-asked").is_empty());
    let answered = events(agent, "a.test", "answered");
    assert_eq!(answered.len(), 2);
    assert_eq!(answered[0]["responder"], scene.authority.responder.url());
    assert!(!events(agent, "a.test", "reloaded").is_empty());
    let unknown = agent.command(&["audit", "--name", "c.test"]);
    assert!(unknown.code != 0 && unknown.err.contains("no certificate called"), "{unknown:?}");

    let instant = instant(now());
    let nothing =
        agent.command(&["audit", "--name", "c.test", "--at", &instant, "--format", "json"]);
    assert_eq!(nothing.code, 1, "{nothing:?}");
    let document: Value = serde_json::from_str(&nothing.out).expect("a document all the same");
    assert_eq!(document["stapled"], Value::Array(Vec::new()));
    assert!(nothing.err.contains("knows nothing of a certificate \"c.test\""), "{nothing:?}");

    // All of it holds, until somebody touches it.
    let sound = agent.command(&["audit", "--verify"]);
    assert!(sound.code == 0 && sound.out.contains("is intact"), "{sound:?}");
    let trail = agent.state_dir().join("audit/trail-000000000001.jsonl");
    let text = fs::read_to_string(&trail).expect("ours");
    fs::write(&trail, text.replacen("\"uid\":", "\"uid\":1", 1)).expect("ours");
    let line = text.lines().position(|line| line.contains("\"uid\":")).expect("a refresh") + 2;
    let found = agent.command(&["audit", "--verify"]);
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.out.starts_with(&format!("{}:{line}: ", trail.display())), "{}", found.out);
}

#[test]
fn a_restart_is_no_news() {
    let mut scene = Scene::new(600, &[plain("a.test"), plain("b.test")], "");
    scene.start();
    let agent = &scene.agent;
    eventually("both are recorded", || {
        ["a.test", "b.test"].iter().all(|name| events(agent, name, "discovered").len() == 1)
    });
    scene.agent.stop();
    scene.agent.start().stop();
    assert_eq!(events(&scene.agent, "a.test", "discovered").len(), 1);
    assert_eq!(events(&scene.agent, "a.test", "started").len(), 2);

    // While no agent runs, a site goes.
    scene.leaves.retain(|(host, _)| host.name != "b.test");
    scene.sites("");
    fs::remove_file(scene.certificate("b.test")).expect("ours");
    scene.agent.start().stop();
    let removed = events(&scene.agent, "b.test", "removed");
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert!(events(&scene.agent, "a.test", "removed").is_empty());

    // While no agent runs, a site gets another staple path, with the staple in it.
    let (old, new) = (scene.staple("a.test"), scene.path("staples/moved.der"));
    let shown = |path: &std::path::Path| path.display().to_string();
    fs::copy(&old, &new).expect("ours");
    let site = fs::read_to_string(scene.nginx.configuration()).expect("ours");
    fs::write(scene.nginx.configuration(), site.replace(&shown(&old), &shown(&new))).expect("ours");
    scene.agent.start().stop();
    scene.agent.start().stop();
    let trail = json(&scene.agent, &["audit", "--format", "json"]);
    let about = |event: &str, path: &std::path::Path| {
        let of = |line: &&Value| line["event"] == event && line["target"] == shown(path);
        trail["lines"].as_array().expect("a list").iter().filter(of).cloned().collect::<Vec<_>>()
    };
    assert_eq!(about("unplaced", &old).len(), 1, "{trail:#}");
    let placed = about("placed", &new);
    let [placed] = &*placed else { panic!("{trail:#}") };
    assert_eq!(
        (&placed["content"], &placed["certificate"]["name"]),
        (&"staple".into(), &"a.test".into())
    );
    assert_eq!(placed["servers"].as_array().map(Vec::len), Some(1), "{placed:#}");
    assert_eq!(about("placed", &old).len(), 1, "once, at the first start");
    let at = instant(now());
    let stapled =
        json(&scene.agent, &["audit", "--name", "a.test", "--at", &at, "--format", "json"]);
    let targets = stapled["stapled"].as_array().expect("a list").iter().map(|one| &one["target"]);
    assert!(targets.clone().any(|target| *target == shown(&new)), "{stapled:#}");

    // The configuration is changed under it; then a bad one is refused.
    scene.agent.start();
    let digest = |agent: &Agent| Digest::of(&fs::read(agent.config()).expect("ours")).to_string();
    scene.configure("[schedule]\nrescan_every = \"1h\"\n");
    scene.agent.hang_up();
    let changed = |agent: &Agent| json(agent, &["audit", "--since", "1h", "--format", "json"]);
    let has = |agent: &Agent, event: &str, digest: &str| {
        let lines = changed(agent)["lines"].as_array().expect("a list").clone();
        let of = |line: &&Value| line["event"] == event;
        lines.iter().filter(of).any(|line| digest.is_empty() || line["configuration"] == digest)
    };
    let wanted = digest(&scene.agent);
    eventually("the change is recorded", || has(&scene.agent, "configured", &wanted));
    scene.configure("[schedule]\nrescan_every = \"soon\"\n");
    scene.agent.hang_up();
    eventually("the refusal is told", || scene.agent.log().contains("was not taken"));
    scene.configure("");
    eventually("the refusal is recorded", || has(&scene.agent, "not-configured", ""));
    scene.agent.stop();
    let sound = scene.agent.command(&["audit", "--verify"]);
    assert!(sound.code == 0, "{sound:?}");
}
