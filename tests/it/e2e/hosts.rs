//! Hosts of every shape: what they present, name, share and lack.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use staplekeeper::agent::status::{Document, Published, Served, Severity, State};
use staplekeeper::ocsp::TRY_LATER;

use crate::support::agent::{Agent, certificate, eventually, server};
use crate::support::authority::Authority;
use crate::support::ca::Draft;
use crate::support::judge::{self, Worth};
use crate::support::nginx::{Nginx, Site};
use crate::support::responder::{Reply, Responder};
use crate::support::scene::{Scene, must, plain, replace};

#[test]
fn two_sites_are_stapled() {
    let mut scene = Scene::new(600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    for name in ["a.test", "b.test"] {
        assert_eq!(scene.handshake(name).expect("a handshake").worth, Worth::Good);
    }
    assert_eq!(scene.nginx.reloads(), 0, "it started with its staples");
}

/// One missing file keeps every site of an nginx from starting (facts/servers.md 1).
#[test]
fn nginx_starts_though_no_staple_was_ever_there() {
    let mut scene = Scene::new(600, &[must("a.test"), plain("b.test")], "");
    scene.authority.responder.kill();
    assert!(scene.nginx.test().is_err(), "nginx refuses without the files");
    scene.agent.start();
    for name in ["a.test", "b.test"] {
        assert_eq!(fs::read(scene.staple(name)).expect("put there"), TRY_LATER);
    }
    assert_eq!(scene.nginx.test(), Ok(()));
    scene.nginx.start();
    let status = scene.agent.wait_until("nginx to be seen", |now| server(now).running);
    let (a, b) = (certificate(&status, "a.test"), certificate(&status, "b.test"));
    assert_eq!((a.state, b.state), (State::Waiting, State::Waiting));
    assert_eq!(a.severity, Severity::Critical, "{a:#?}");
    assert!(b.severity < Severity::Critical, "{b:#?}");
    assert!(a.last_error.as_ref().is_some_and(|error| error.contains("127.0.0.1")), "{a:#?}");
    scene.authority.responder.restart();
    let said = scene.agent.command(&["refresh"]);
    assert_eq!(said.code, 0, "{said:?}");
    eventually("staples at the clients", || {
        let worth = |name| scene.handshake(name).map(|shown| shown.worth);
        worth("a.test") == Ok(Worth::Good) && worth("b.test") == Ok(Worth::Good)
    });
}

/// Somebody tidies up, or restores an old backup, while the agent runs.
#[test]
fn a_staple_file_that_others_remove_or_spoil_is_put_right() {
    let mut scene = Scene::new(3600, &[must("a.test"), plain("b.test")], "");
    scene.start();
    let worth = |scene: &Scene, name: &str| scene.published(name).worth;
    let restored = |scene: &Scene, name: &str| {
        let begun = Instant::now();
        eventually(&format!("the staple of {name} to be back"), || {
            worth(scene, name) == Worth::Good
        });
        eprintln!("{name} was put right after {:?}", begun.elapsed());
    };
    fs::remove_file(scene.staple("a.test")).expect("it was there");
    restored(&scene, "a.test");
    let of_b = fs::read(scene.staple("b.test")).expect("it is there");
    for spoiled in [&b""[..], b"junk", TRY_LATER.as_slice(), &of_b] {
        replace(&scene.staple("a.test"), spoiled);
        restored(&scene, "a.test");
    }
    let status = scene.agent.status().expect("it runs");
    assert!(certificate(&status, "a.test").severity == Severity::Ok, "{status:#?}");
    assert_eq!(scene.nginx.reloads(), 0, "what nginx holds was right all the time");

    // The folder with everything in it: there is nowhere to put the files before it is back.
    fs::remove_dir_all(scene.path("staples")).expect("it is there");
    thread::sleep(Duration::from_millis(500));
    fs::create_dir(scene.path("staples")).expect("it is gone");
    restored(&scene, "a.test");
    restored(&scene, "b.test");
    assert_eq!(scene.nginx.test(), Ok(()));

    // Just before a reload.
    let before = scene.handshake("a.test").expect("a handshake");
    fs::remove_file(scene.staple("b.test")).expect("it was there");
    let said = scene.agent.command(&["refresh", "a.test"]);
    assert_eq!(said.code, 0, "{said:?}");
    let after = scene.handshake("a.test").expect("a handshake");
    assert!(after.this_update > before.this_update, "{said:?}");
    assert_eq!(worth(&scene, "b.test"), Worth::Good);
}

/// Proxies are for responders far away.
#[test]
fn a_proxy_in_the_environment_is_not_asked_about_loopback() {
    let mut scene = Scene::new(600, &[must("a.test")], "");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        scene.agent.environment(name, "http://127.0.0.1:9/");
    }
    scene.start();
    assert_eq!(scene.handshake("a.test").expect("a handshake").worth, Worth::Good);
    for arguments in [&["status"][..], &["refresh"], &["refresh", "--no-reload"]] {
        let said = scene.agent.command(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    }
}

#[test]
fn a_host_without_certificates_is_calm() {
    let mut nginx = Nginx::new();
    let port = crate::support::port::free_port();
    nginx.http(&format!("server {{ listen 127.0.0.1:{port}; return 200 plain; }}")).start();
    let mut agent = Agent::new();
    agent.configure(&format!(
        "watch = []\n[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\nreload = \"signal:{}\"\n",
        nginx.configuration().display(),
        nginx.pid_file().display()
    ));
    agent.start();
    let status = agent.wait_until("nginx to be seen", |now| server(now).running);
    assert_eq!((&status.certificates[..], &status.problems[..]), (&[][..], &[][..]));
    for arguments in [&["refresh"][..], &["status"]] {
        let said = agent.command(arguments);
        assert_eq!(said.code, 0, "{said:?}");
    }
    calm(&agent);
    assert_eq!(nginx.reloads(), 0);
    agent.stop();
    assert_eq!(agent.command(&["refresh"]).code, 0, "without an agent too");
}

/// Staples for whoever reads them: no server is configured.
#[test]
fn without_servers_staples_are_published_all_the_same() {
    let authority = Authority::new(600);
    let leaf = authority.issue(Draft::leaf("a.test"));
    let mut agent = Agent::new();
    let live = agent.folder().join("live");
    fs::create_dir_all(live.join("a.test")).expect("ours");
    fs::write(live.join("a.test/fullchain.pem"), leaf.chain_pem()).expect("ours");
    agent.configure(&format!("server = []\n[[watch]]\npath = \"{}\"\n", live.display()));
    agent.start();
    let published = agent.state_dir().join("staples/a.test.der");
    let shown = judge::worth(&leaf, fs::read(&published).ok().as_deref());
    assert_eq!(shown.worth, Worth::Good, "{shown:?}");
    let status = agent.status().expect("it runs");
    assert!(status.servers.is_empty());
    let a = certificate(&status, "a.test");
    assert_eq!((a.state, a.severity), (State::Good, Severity::Ok), "what is published counts");
    assert_eq!(a.targets[0].path, published.display().to_string());
    calm(&agent);
    let said = agent.command(&["refresh"]);
    assert_eq!(said.code, 0, "{said:?}");
}

/// The normal state of public certificates since 2025, and the one case where it is an outage.
#[test]
fn no_ocsp_url() {
    let bare = |name: &str, must_staple| Draft { must_staple, ..Draft::leaf(name) };
    let mut scene = Scene::new(600, &[plain("a.test"), must("b.test"), must("c.test")], "");
    for (name, must_staple) in [("a.test", false), ("b.test", true)] {
        let leaf = scene.authority.issue_as_it_is(bare(name, must_staple));
        scene.install(name, &leaf);
        let entry = scene.leaves.iter_mut().find(|(host, _)| host.name == name);
        entry.expect("a site").1 = leaf;
    }
    scene.agent.start();
    scene.nginx.start();
    let status = scene.agent.wait_until("c.test to be served", |now| {
        certificate(now, "c.test").served == Some(Served::Match) && server(now).running
    });
    let (a, b) = (certificate(&status, "a.test"), certificate(&status, "b.test"));
    assert_eq!((a.state, a.severity), (State::NoOcspUrl, Severity::Info), "{a:#?}");
    assert_eq!((b.state, b.severity), (State::NoOcspUrl, Severity::Critical), "{b:#?}");
    assert!(b.reason.contains("Must-Staple") && b.reason.contains("responder"), "{}", b.reason);
    assert_eq!(scene.handshake("a.test").expect("nginx runs").worth, Worth::Placeholder);
    let said = scene.agent.command(&["refresh", "a.test", "c.test"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = scene.agent.command(&["refresh", "b.test"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("b.test") && said.out.contains("Must-Staple"), "{said:?}");
    let log = scene.agent.log();
    let loud = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    let about_a: Vec<_> = loud.filter(|line| line.contains("a.test")).collect();
    assert!(about_a.is_empty(), "{about_a:?}");
}

/// The chain file holds the leaf alone; the issuer is where the leaf's AIA says.
#[test]
fn an_issuer_is_fetched_from_where_the_leaf_says() {
    let authority = Authority::new(600);
    let der = authority.intermediate.der.clone();
    let shop = Responder::start(move |_| Reply::http(200, "application/pkix-cert", der.clone()));
    let url = format!("{}ca.cer", shop.url());
    let draft = Draft { ca_issuers_urls: vec![url], must_staple: true, ..Draft::leaf("a.test") };
    let leaf = authority.issue(draft);
    let mut nginx = Nginx::new();
    nginx.write("a.pem", leaf.pem());
    nginx.write("a.key", leaf.key_pem());
    let port = crate::support::port::free_port();
    let site = Site {
        port,
        names: "a.test",
        certificate: "a.pem",
        key: "a.key",
        staple: Some("a.der"),
        ..Site::default()
    };
    nginx.http(&site.to_string());
    let mut agent = Agent::new();
    agent.configure(&format!(
        "watch = []\n[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\nreload = \"signal:{}\"\n",
        nginx.configuration().display(),
        nginx.pid_file().display()
    ));
    // A look asks nobody; a refresh without a running agent fetches the issuer as well.
    let said = agent.command(&["status"]);
    assert!(said.out.contains("no issuer"), "{said:?}");
    assert_eq!(shop.requests(), 0);
    let said = agent.command(&["refresh"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(shop.requests(), 1);
    agent.start();
    nginx.start();
    agent.wait_until("the staple to be served", |now| {
        now.certificates.iter().any(|one| one.served == Some(Served::Match))
    });
    let shown = judge::handshake(&authority, port, "a.test").expect("a handshake");
    assert_eq!(shown.worth, Worth::Good);
    assert_eq!(shop.requests(), 1, "it is remembered");
}

#[test]
fn two_blocks_present_one_certificate_with_one_staple() {
    let mut scene = Scene::new(600, &[must("a.test")], "");
    let second = Site {
        port: scene.port,
        names: "www.a.test",
        certificate: &scene.certificate("a.test").display().to_string(),
        key: &scene.key("a.test").display().to_string(),
        staple: Some(&scene.staple("a.test").display().to_string()),
        ..Site::default()
    }
    .to_string();
    scene.sites(&second);
    scene.start();
    for name in ["a.test", "www.a.test"] {
        assert_eq!(scene.handshake(name).expect("a handshake").worth, Worth::Good);
    }
    let status = scene.agent.status().expect("it runs");
    assert_eq!((status.certificates.len(), certificate(&status, "a.test").targets.len()), (1, 1));
    assert_eq!(scene.authority.responder.requests(), 1);
    let said = scene.agent.command(&["refresh"]);
    assert_eq!(said.code, 0, "{said:?}");
    for name in ["a.test", "www.a.test"] {
        assert_eq!(scene.handshake(name).expect("a handshake").worth, Worth::Good);
    }
    assert_eq!(scene.nginx.reloads(), 1);
}

/// A fault of the configuration, and the file can hold one staple only: it holds one and the same.
#[test]
fn two_certificates_share_one_path() {
    let mut scene = Scene::new(16, &[plain("a.test"), must("b.test")], "");
    let shared = scene.staple("b.test").display().to_string();
    let config = fs::read_to_string(scene.nginx.configuration()).expect("it was written");
    let of_a = scene.staple("a.test").display().to_string();
    assert!(config.contains(&of_a));
    let site = |host: &str, staple: &str| {
        Site {
            port: scene.port,
            names: host,
            certificate: &scene.certificate(host).display().to_string(),
            key: &scene.key(host).display().to_string(),
            staple: Some(staple),
            ..Site::default()
        }
        .to_string()
    };
    let sites = site("a.test", &shared) + &site("b.test", &shared);
    scene.nginx.http(&sites);
    scene.agent.start();
    scene.nginx.start();
    // Must-Staple goes first.
    eventually("the staple of b.test at its clients", || {
        scene.handshake("b.test").is_ok_and(|shown| shown.worth == Worth::Good)
    });
    // Over two lives of the answers the path never changes hands.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let shown = scene.published("b.test");
        assert_eq!(shown.worth, Worth::Good, "{shown:?}");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(scene.handshake("b.test").expect("a handshake").worth, Worth::Good);
    let reloads = scene.nginx.reloads();
    assert!((1..=6).contains(&reloads), "{reloads} reloads in 20 s");
    let status = scene.agent.status().expect("it runs");
    let b = certificate(&status, "b.test");
    assert_eq!(b.targets[0].published, Published::Staple, "{b:#?}");
}

/// With nothing due the agent asks nobody and does nothing.
#[test]
fn idle() {
    let mut scene = Scene::new(7 * 86_400, &[must("a.test"), plain("b.test")], "");
    scene.start();
    scene.agent.wait_until("a quiet moment", |now| server(now).pending == 0);
    thread::sleep(Duration::from_secs(2));
    let (asked, spent) = (scene.authority.responder.requests(), scene.agent.cpu_time());
    thread::sleep(Duration::from_secs(5));
    let spent = scene.agent.cpu_time() - spent;
    assert_eq!(scene.authority.responder.requests(), asked);
    assert_eq!(asked, 2, "one request a certificate");
    assert!(spent <= Duration::from_millis(50), "{spent:?} of CPU in 5 s");
    calm(&scene.agent);
}

/// Nothing in the log that wants a person.
fn calm(agent: &Agent) {
    let log = agent.log();
    let loud: Vec<&str> =
        log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

/// A name that is not written down may be another's after the next start: said until it is written.
#[test]
fn names_that_cannot_be_written_down_are_a_problem() {
    let mut scene = Scene::new(600, &[must("a.test")], "");
    let names = scene.agent.state_dir().join("names.json");
    std::fs::create_dir_all(names.join("in the way")).expect("the folder is ours");
    scene.agent.launch();
    let said = |now: &Document| now.problems.iter().any(|text| text.contains("names.json"));
    scene.agent.wait_until("the problem", said);
    std::fs::remove_dir_all(&names).expect("the folder is ours");
    scene.agent.hang_up();
    scene.agent.wait_until("the problem to end", |now| !said(now));
    assert!(names.is_file());
}
