//! `staplekeeper hook`: renew, wait, reload; whoever does so never shows a client the new certificate
//! without its staple.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::support::agent::{Agent, Said, eventually};
use crate::support::authority::{Answer, Authority};
use crate::support::ca::{Draft, Said as Says};
use crate::support::judge::{Worth, fingerprint};
use crate::support::responder::{Reply, Responder};
use crate::support::scene::{Host, Scene, must, plain};

/// The hook for one site's certificate file, under way.
fn begin(scene: &Scene, name: &str, more: &[&str]) -> Child {
    let file = scene.certificate(name).display().to_string();
    let mut program = scene.agent.program(&[&["hook", &file], more].concat());
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program.spawn().expect("it can be executed")
}

fn hook(scene: &Scene, name: &str, more: &[&str]) -> Said {
    begin(scene, name, more).wait_with_output().expect("our own child").into()
}

fn reload(scene: &Scene) {
    kill(scene.nginx.master(), Signal::SIGHUP).expect("nginx runs");
}

/// The owner reloads in the same breath as it renews; the hook stands between.
#[test]
fn renewed_and_reloaded_in_one_breath() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    let clients = scene.clients(&["a.test", "b.test"], Duration::from_millis(3));
    for round in 0..6 {
        let name = ["a.test", "b.test"][round % 2];
        let leaf = scene.renew(name);
        let begun = Instant::now();
        let said = hook(&scene, name, &[]);
        assert_eq!(said.code, 0, "{said:?}");
        eprintln!("{name}: waited {:?}", begun.elapsed());
        reload(&scene);
        eventually("the new leaf", || {
            scene.handshake(name).is_ok_and(|shown| shown.leaf == fingerprint(&leaf))
        });
    }
    scene.wait_until_served();
    let counts = clients.end();
    assert_eq!(counts.not_good(), 0, "{counts:?}");
}

/// CAs publish a certificate minutes after they issue it. However soon the policy would have the
/// agent reload, nobody is shown the new certificate bare.
#[test]
fn the_publication_gap() {
    let tables = "[schedule]\nadopt_renewed_after = \"1s\"\nreload_at_most_every = \"1s\"\n";
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], tables);
    scene.start();
    let clients = scene.clients(&["a.test", "b.test"], Duration::from_millis(5));
    for name in ["a.test", "b.test"] {
        let leaf = scene.issue_next(name);
        scene.authority.says(&leaf, Answer::Unauthorized);
        scene.install(name, &leaf);
        let mut waits = begin(&scene, name, &[]);
        thread::sleep(Duration::from_secs(6));
        assert_eq!(waits.try_wait().expect("our own child"), None, "it waits");
        assert_ne!(scene.handshake(name).expect("a handshake").leaf, fingerprint(&leaf));
        scene.authority.says(&leaf, Answer::Status(Says::Good));
        let begun = Instant::now();
        let said = Said::from(waits.wait_with_output().expect("our own child"));
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.err.contains("unauthorized"), "{said:?}");
        assert!(said.out.starts_with(&format!("{name}\tok\t")), "{said:?}");
        eprintln!("{name}: {:?} after the CA published it", begun.elapsed());
        reload(&scene);
        eventually("the new leaf", || {
            scene.handshake(name).is_ok_and(|shown| shown.leaf == fingerprint(&leaf))
        });
    }
    let counts = clients.end();
    assert_eq!(counts.not_good(), 0, "{counts:?}");
}

#[test]
fn it_gives_up_at_its_deadline() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    for (name, consequence) in [("a.test", "locks out clients"), ("b.test", "without one")] {
        let leaf = scene.issue_next(name);
        scene.authority.says(&leaf, Answer::Unauthorized);
        scene.install(name, &leaf);
        let begun = Instant::now();
        let said = hook(&scene, name, &["--deadline", "3s"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.out.contains("unauthorized") && said.out.contains(consequence), "{said:?}");
        assert!(begun.elapsed() >= Duration::from_secs(3), "{said:?}");
    }
}

/// Whatever a caller writes to the socket, nobody waits for more than a day, and the agent lives.
#[test]
fn no_deadline_is_too_long_for_the_agent() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    scene.start();
    let path = scene.certificate("a.test");
    for figures in [
        r#""deadline_seconds":18446744073709551615"#,
        r#""deadline_seconds":18446744073709551615,"waited_seconds":18446744073709551615"#,
        r#""deadline_seconds":9223372036854775807,"waited_seconds":9223372036854775807"#,
        r#""deadline_seconds":86400,"waited_seconds":1000000000000"#,
    ] {
        let order = format!(r#"{{"paths":["{}"],{figures}}}"#, path.display());
        let said = scene.agent.post("hook", &order);
        assert!(said.contains(r#""kind":"done","good":1,"bad":0"#), "{figures}: {said}");
    }
    let leaf = scene.issue_next("a.test");
    scene.authority.says(&leaf, Answer::Unauthorized);
    scene.install("a.test", &leaf);
    let file = path.display().to_string();
    let said = scene.agent.command(&["hook", &file, "--deadline", "25h"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("24h"), "{said:?}");
    let said = scene.agent.command(&["hook", &file, "--deadline", "1s"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(scene.agent.status().is_some(), "the agent lives");
}

/// A site whose chain lies nowhere, and an AIA URL that answers 404 late, or never: the hook holds back
/// for the issuer, and no longer.
#[test]
fn an_issuer_that_cannot_be_fetched() {
    let late = Responder::start(|_| Reply::html(404).after(Duration::from_secs(2)));
    let never = Responder::start(|_| Reply::Hang);
    let authority = Authority::new(3600);
    let mut agent = Agent::new();
    let folder = agent.folder().join("certs");
    agent.configure(&format!("server = []\n[[watch]]\npath = \"{}\"\n", folder.display()));
    agent.start();
    let renewed = |name: &str, shop: &Responder, host: Host| {
        let ca_issuers_urls = vec![format!("{}{name}.cer", shop.url())];
        let leaf = authority.issue(Draft { ca_issuers_urls, ..host.draft });
        let site = folder.join(name);
        fs::create_dir_all(&site).expect("ours");
        fs::write(site.join("privkey.pem"), leaf.key_pem()).expect("ours");
        fs::write(site.join("fullchain.pem"), leaf.pem()).expect("ours");
        let begun = Instant::now();
        let site = site.display().to_string();
        let said = agent.command(&["hook", &site, "--deadline", "8s"]);
        (said, begun.elapsed())
    };
    let (said, waited) = renewed("a.test", &late, plain("a.test"));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("issuer was not found"), "{said:?}");
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    let (said, waited) = renewed("b.test", &late, must("b.test"));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("issuer was not found"), "{said:?}");
    assert!(waited >= Duration::from_secs(8), "{waited:?}");
    let (said, waited) = renewed("c.test", &never, plain("c.test"));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("issuer was not found"), "{said:?}");
    assert!(waited < Duration::from_secs(8), "{waited:?}");
    assert!(late.requests() >= 2 && never.requests() >= 1, "they were asked");
}

/// An agent that is stopped (SIGSTOP) answers nobody: the ACME client goes on all the same.
#[test]
fn an_agent_that_does_not_answer() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    scene.start();
    scene.renew("a.test");
    kill(scene.agent.pid(), Signal::SIGSTOP).expect("our own child");
    let begun = Instant::now();
    let said = hook(&scene, "a.test", &["--deadline", "2s"]);
    let waited = begun.elapsed();
    kill(scene.agent.pid(), Signal::SIGCONT).expect("our own child");
    assert_eq!(said.code, 1, "{said:?}");
    let socket = scene.agent.runtime_dir().join("control.sock").display().to_string();
    assert!(said.err.contains(&socket) && said.err.contains("lock out clients"), "{said:?}");
    assert!((2..25).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(hook(&scene, "a.test", &[]).code, 0, "it goes on");
}

#[test]
fn what_needs_no_staple_is_not_waited_for() {
    let mut scene = Scene::new(3600, &[plain("a.test")], "");
    scene.start();
    let elsewhere = scene.path("elsewhere");
    fs::create_dir(&elsewhere).expect("ours");
    let leaf = scene.authority.issue(must("c.test").draft);
    let folder = elsewhere.display().to_string();
    let empty = scene.agent.command(&["hook", &folder]);
    assert_eq!(empty.code, 2, "{empty:?}");
    assert!(empty.err.contains("holds no certificate"), "{empty:?}");
    fs::write(elsewhere.join("fullchain.pem"), leaf.chain_pem()).expect("ours");
    let said = scene.agent.command(&["hook", &folder]);
    assert_eq!(said.code, 1, "nobody keeps a staple for a Must-Staple certificate: {said:?}");
    let other = scene.authority.issue(plain("d.test").draft);
    fs::write(elsewhere.join("fullchain.pem"), other.chain_pem()).expect("ours");
    let said = scene.agent.command(&["hook", &folder]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("nothing to wait for"), "{said:?}");
    // A copy of what a server presents, by the certificate itself.
    let copy = scene.leaf("a.test").chain_pem();
    fs::write(elsewhere.join("fullchain.pem"), copy).expect("ours");
    let said = scene.agent.command(&["hook", &folder]);
    assert_eq!((said.code, said.out.split('\t').next()), (0, Some("a.test")), "{said:?}");
}

/// What acme.sh is told to reload by: the shipped script, with what acme.sh sets, and the command behind it.
#[test]
fn the_reload_command_of_acme_sh() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    scene.start();
    scene.renew("a.test");
    let binary = Path::new(env!("CARGO_BIN_EXE_staplekeeper"));
    let ours = binary.parent().expect("it lies in a folder").display();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/acme/acme.sh");
    let run = |words: &[&str]| {
        let mut command = Command::new(&script);
        command.args(words).env("PATH", format!("{ours}:{}", env!("PATH")));
        command.env("STAPLEKEEPER_CONFIG", scene.agent.config());
        command.env("CERT_FULLCHAIN_PATH", scene.certificate("a.test"));
        Said::from(command.output().expect("it can be executed"))
    };
    let staple = scene.staple("a.test").display().to_string();
    let said = run(&["cmp", &staple, &staple]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("its staple is published"), "{said:?}");
    assert_eq!(scene.published("a.test").worth, Worth::Good);
    assert_eq!(run(&["false"]).code, 1, "the status is the command's");
    assert_eq!(run(&[]).code, 0);
}

/// An upgrade in the midst of a wait, and a host where no agent runs.
#[test]
fn the_agent_may_go_and_come_back() {
    let mut scene = Scene::new(3600, &[must("a.test")], "");
    scene.start();
    let leaf = scene.issue_next("a.test");
    scene.authority.says(&leaf, Answer::Unauthorized);
    scene.install("a.test", &leaf);
    let waits = begin(&scene, "a.test", &[]);
    eventually("the first answer", || scene.authority.asked(&leaf) > 0);
    let agent: &mut Agent = &mut scene.agent;
    agent.stop();
    agent.start();
    scene.authority.says(&leaf, Answer::Status(Says::Good));
    let said = Said::from(waits.wait_with_output().expect("our own child"));
    assert_eq!(said.code, 0, "{said:?}");
    scene.agent.stop();
    scene.renew("a.test");
    let said = hook(&scene, "a.test", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(scene.published("a.test").worth, Worth::Good);
}

/// More callers than the agent follows at once: who comes too late is told, and has his turn.
#[test]
fn who_comes_too_late_waits_for_his_turn() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    let leaf = scene.issue_next("a.test");
    scene.authority.says(&leaf, Answer::Unauthorized);
    scene.install("a.test", &leaf);
    let order = format!(r#"{{"paths":[{:?}]}}"#, scene.certificate("a.test"));
    let socket = scene.agent.runtime_dir().join("control.sock");
    let call = |_| {
        let mut stream = UnixStream::connect(&socket).expect("the agent listens");
        let head = "POST /hook HTTP/1.0\r\nHost: agent\r\nContent-Length:";
        let text = format!("{head} {}\r\n\r\n{order}", order.len());
        stream.write_all(text.as_bytes()).expect("it reads");
        stream
    };
    // The last ones are turned away, which shows that the others are followed.
    let calls: Vec<UnixStream> = (0..260).map(call).collect();
    eventually("the agent to have no room", || {
        scene.agent.log().contains("follows 256 hooks already")
    });
    let short = hook(&scene, "b.test", &["--deadline", "2s"]);
    assert_eq!(short.code, 1, "{short:?}");
    assert!(short.err.contains("follows 256 hooks already, and takes no more, for "), "{short:?}");
    let mut waits = begin(&scene, "b.test", &["--deadline", "5m"]);
    thread::sleep(Duration::from_secs(3));
    assert_eq!(waits.try_wait().expect("our own child"), None, "it waits");
    drop(calls);
    let said = Said::from(waits.wait_with_output().expect("our own child"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.err.matches("this one waits for its turn").count(), 1, "{said:?}");
    // Who was turned away is not in the record, and once in the log.
    assert_eq!(scene.agent.log().matches("follows 256 hooks already").count(), 1);
    let trail = scene.agent.command(&["audit"]).out;
    assert_eq!(trail.matches("waits for the staple").count(), 257, "{trail}");
}
