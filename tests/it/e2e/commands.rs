//! The operator's commands: `[[hook]]`, run at what happens, and `[expiry] renew`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use staplekeeper::agent::status::{Document, Severity};

use crate::support::agent::{certificate, eventually};
use crate::support::authority::{Answer, now};
use crate::support::ca::{Draft, Said};
use crate::support::judge::Worth;
use crate::support::scene::{Host, Scene, must, plain};

/// A program that writes what it is told to a file of its own, in `folder`.
fn recorder(folder: &Path) -> PathBuf {
    let program = folder.join("record");
    let script = "#!/bin/sh\nset -eu\nout=$(mktemp \"$0.XXXXXX\")\nenv >\"$out.new\"\n\
                  printf 'STDIN=' >>\"$out.new\"\ncat >>\"$out.new\"\nmv \"$out.new\" \"$out.told\"\n";
    fs::write(&program, script).expect("ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    program
}

/// What it was told so far, each with its environment.
fn told(folder: &Path) -> Vec<BTreeMap<String, String>> {
    let entries = fs::read_dir(folder).expect("ours").flatten().map(|entry| entry.path());
    let files = entries.filter(|path| path.extension().is_some_and(|end| end == "told"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(path).expect("ours");
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    files.map(read).collect()
}

fn events(folder: &Path, event: &str) -> Vec<BTreeMap<String, String>> {
    let of =
        |one: &BTreeMap<String, String>| one.get("STAPLEKEEPER_EVENT").is_some_and(|e| e == event);
    told(folder).into_iter().filter(of).collect()
}

#[test]
fn a_hook_is_told_what_happened() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], "");
    let folder = scene.path("hooks");
    fs::create_dir(&folder).expect("ours");
    let program = recorder(&folder);
    scene.configure(&format!(
        "[[hook]]\non = [\"discovered\", \"refreshed\", \"revoked\", \"unknown\"]\ncommand = [{program:?}]\n"
    ));
    scene.agent.environment("NOTIFY_SOCKET", "/nowhere");
    scene.start();
    eventually("both staples to be told", || events(&folder, "refreshed").len() == 2);
    let first = events(&folder, "refreshed");
    let a = first.iter().find(|one| one["STAPLEKEEPER_NAME"] == "a.test").expect("it was told");
    assert_eq!(a.get("NOTIFY_SOCKET"), None, "{a:?}");
    let document: Value = serde_json::from_str(&a["STDIN"]).expect("JSON");
    assert_eq!(document["schema"], 1);
    assert_eq!(document["hook"], "refreshed");
    assert_eq!(document["certificate"]["name"], "a.test");
    assert_eq!(document["certificate"]["fingerprint"], *a["STAPLEKEEPER_FINGERPRINT"]);
    assert_eq!(document["text"], *a["STAPLEKEEPER_TEXT"]);
    assert_eq!(document["staple"]["expires"], *a["STAPLEKEEPER_EXPIRES"]);
    // What was there when the record began is not new; what comes is, once and for ever.
    assert_eq!(events(&folder, "discovered").len(), 0);
    scene.renew("b.test");
    eventually("the new one to be told", || events(&folder, "discovered").len() == 1);
    eventually("its staple", || scene.published("b.test").worth == Worth::Good);
    scene.agent.stop();
    scene.agent.start();
    let leaf = scene.leaf("a.test").clone();
    let revoked = Said::Revoked { time: 1_700_000_000, reason: None };
    scene.authority.says(&leaf, Answer::Status(revoked));
    scene.agent.command(&["refresh", "a.test"]);
    eventually("the revocation to be told", || !events(&folder, "revoked").is_empty());
    let leaf = scene.leaf("b.test").clone();
    scene.authority.says(&leaf, Answer::Status(Said::Unknown));
    scene.agent.command(&["refresh", "b.test"]);
    scene.agent.command(&["refresh", "b.test"]);
    eventually("what is unknown to be told", || !events(&folder, "unknown").is_empty());
    assert_eq!(events(&folder, "discovered").len(), 1, "{:#?}", told(&folder));
}

/// It fails, every time: a line in the log, a problem in the status, and all goes on.
#[test]
fn a_hook_that_fails_stops_nothing() {
    let hook = "[[hook]]\non = [\"refreshed\"]\ncommand = [\"sh\", \"-c\", \"echo out of paper; exit 9\"]\n\
                [[hook]]\non = [\"refreshed\"]\ncommand = [\"/no/such/program\"]\n";
    let mut scene = Scene::new(3600, &[must("a.test")], hook);
    scene.start();
    let status = scene.agent.wait_until("both complaints", |now| {
        let complained = |words: &str| now.problems.iter().any(|one| one.contains(words));
        complained("out of paper") && complained("/no/such/program")
    });
    assert!(status.problems.iter().any(|one| one.contains("the hook at refreshed")), "{status:#?}");
    scene.wait_until_served();
}

/// A host is down, and up again; the hook hears of it once each, however many certificates there are.
#[test]
fn a_responder_that_goes_and_comes_back() {
    let hosts: Vec<_> = (0..5).map(|at| must(&format!("{at}.test"))).collect();
    let mut scene = Scene::new(12, &hosts, "");
    let folder = scene.path("hooks");
    fs::create_dir(&folder).expect("ours");
    let program = recorder(&folder);
    scene.configure(&format!(
        "[[hook]]\non = [\"responder-down\", \"responder-up\"]\ncommand = [{program:?}]\n"
    ));
    scene.start();
    scene.authority.responder.kill();
    eventually("it to be told", || events(&folder, "responder-down").len() == 1);
    assert_eq!(
        events(&folder, "responder-down")[0]["STAPLEKEEPER_RESPONDER"],
        scene.authority.responder.url()
    );
    scene.authority.responder.restart();
    eventually("its return to be told", || events(&folder, "responder-up").len() == 1);
    assert_eq!(events(&folder, "responder-down").len(), 1);
}

/// A restart in the midst of it: what lasts is told once, what ended meanwhile is told.
#[test]
fn what_lasts_is_told_once_over_restarts() {
    let mut scene = Scene::new(12, &[must("a.test")], "");
    let leaf = scene.leaf("a.test").clone();
    let folder = scene.path("hooks");
    fs::create_dir(&folder).expect("ours");
    let program = recorder(&folder);
    let on = r#"["responder-down", "responder-up", "at-risk", "unknown"]"#;
    scene.configure(&format!("[[hook]]\non = {on}\ncommand = [{program:?}]\n"));
    scene.start();
    scene.authority.responder.kill();
    let count = |event: &str| events(&folder, event).len();
    eventually("both to be told", || count("responder-down") == 1 && count("at-risk") == 1);
    for _ in 0..2 {
        scene.agent.stop();
        scene.agent.start();
        let critical = |now: &Document| certificate(now, "a.test").severity == Severity::Critical;
        scene.agent.wait_until("the risk to be known", critical);
        thread::sleep(Duration::from_secs(3));
    }
    assert_eq!((count("responder-down"), count("at-risk"), count("responder-up")), (1, 1, 0));

    // It comes back while no agent runs.
    scene.agent.stop();
    scene.authority.responder.restart();
    scene.agent.start();
    eventually("its return to be told", || count("responder-up") == 1);
    scene
        .agent
        .wait_until("all to be well", |now| certificate(now, "a.test").severity == Severity::Ok);
    scene.authority.responder.kill();
    eventually("what begins again to be told", || count("responder-down") == 2);
    eventually("the new risk to be told", || count("at-risk") == 2);

    // Who is not known to the CA is told once, too.
    scene.agent.stop();
    scene.authority.responder.restart();
    scene.authority.says(&leaf, Answer::Status(Said::Unknown));
    scene.agent.start();
    eventually("it to be told", || count("unknown") == 1);
    scene.agent.stop();
    scene.agent.start();
    let asked = scene.agent.command(&["refresh", "a.test"]);
    assert_eq!(asked.code, 1, "{asked:?}");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(count("unknown"), 1, "{:#?}", told(&folder));
}

/// A certificate in its last third, whose successor lies ready for a script to install.
fn running_out(tables: &str) -> (Scene, String) {
    let life = |host: Host| {
        let (not_before, not_after) = (now() - 3_000, now() + 600);
        Host { draft: Draft { not_before, not_after, ..host.draft }, ..host }
    };
    let mut scene = Scene::new(3600, &[life(must("a.test")), must("b.test")], "");
    let fresh = must("a.test").draft;
    let next = scene.authority.issue(Draft { serial: Draft::leaf("a.test").serial, ..fresh });
    let folder = scene.path("acme");
    fs::create_dir(&folder).expect("ours");
    fs::write(folder.join("a.test.pem"), next.chain_pem()).expect("ours");
    fs::write(folder.join("a.test.key"), next.key_pem()).expect("ours");
    let client = folder.join("client").display().to_string();
    scene.configure(&format!("[expiry]\nrenew = [{client:?}, \"--name\", \"{{name}}\"]\n{tables}"));
    let host = scene.leaves[0].0.clone();
    scene.leaves.push((Host { name: "next".to_owned(), stapled: false, ..host }, next));
    (scene, client)
}

fn write_client(client: &str, script: &str) {
    let text = format!(
        "#!/bin/sh\nset -eu\necho \"$*\" >>\"$0.calls\"\ncd \"$(dirname \"$0\")\"\n{script}\n"
    );
    fs::write(client, text).expect("ours");
    fs::set_permissions(client, fs::Permissions::from_mode(0o755)).expect("ours");
}

fn calls(client: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{client}.calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// `[expiry] renew`: run once, for the one that runs out; success is the new certificate.
#[test]
fn a_certificate_that_runs_out_is_renewed() {
    let (mut scene, client) = running_out("");
    let certs = scene.path("certs").display().to_string();
    write_client(&client, &format!("echo renewing\nmv a.test.key a.test.pem {certs}/"));
    scene.agent.start();
    let soon = now() + 3_600;
    scene.agent.wait_until("the new certificate", |now| {
        let a = certificate(now, "a.test");
        !a.expiring && a.not_after.as_secs() > soon
    });
    assert_eq!(calls(&client), ["--name a.test"]);
    let log = scene.agent.log();
    assert!(log.contains("a.test: the certificate itself runs out at"), "{log}");
    assert!(log.contains("the renewal has ended: renewing"), "{log}");
    assert!(log.contains("over: a.test: the certificate itself"), "{log}");
}

/// One that fails is not run again for minutes, however often the agent is killed.
#[test]
fn a_renewal_that_fails_hammers_no_ca() {
    let hook = "[[hook]]\non = [\"expiring\"]\ncommand = [\"sh\", \"-c\", \"echo expiring: $STAPLEKEEPER_NAME\"]\n";
    let (mut scene, client) = running_out(hook);
    write_client(&client, "echo too many certificates already; exit 3");
    scene.agent.start();
    let status = scene.agent.wait_until("the complaint", |now| {
        now.problems.iter().any(|one| one.contains("too many certificates already"))
    });
    assert!(certificate(&status, "a.test").expiring && !certificate(&status, "b.test").expiring);
    for _ in 0..3 {
        scene.agent.kill();
        scene.agent.start();
    }
    scene.agent.wait_until("the condition again", |now| certificate(now, "a.test").expiring);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(calls(&client).len(), 1);
    eventually("the hook", || scene.agent.log().contains("expiring: a.test"));
}
