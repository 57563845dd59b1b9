//! nginx with two key types in a block, whose workers ask the agent's responder each for itself: after
//! every reload, whoever makes it, the agent meets the first handshake of each worker in its users' stead.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use staplekeeper::agent::status::Served;
use staplekeeper::confirm::{Address, KeyKind, Look, look};

use crate::support::agent::{certificate, eventually, server};
use crate::support::authority::{Answer, now};
use crate::support::ca::{Draft, Identity, Key, Kind, Said};
use crate::support::judge::{Worth, worth};
use crate::support::scene::{Scene, replace};

const KINDS: [KeyKind; 2] = [KeyKind::Rsa, KeyKind::Elliptic];
const SITE: &str = "dual.test";
const WORKERS: usize = 4;

/// One Must-Staple site with an RSA and an ECDSA certificate.
struct Dual {
    scene: Scene,
    leaves: [Identity; 2],
}

impl Dual {
    /// `tables` goes behind the configuration's `[[server]]`.
    fn new(life: i64, tables: &str) -> Dual {
        let mut scene = Scene::new(life, &[], "");
        let draft = |kind| Draft { key: Key::new(kind), must_staple: true, ..Draft::leaf(SITE) };
        let leaves = [Kind::Rsa2048, Kind::P256].map(|kind| scene.authority.issue(draft(kind)));
        let mut certificates = String::new();
        for (leaf, name) in leaves.iter().zip(["rsa", "ecdsa"]) {
            let [pem, key] = [scene.certificate(name), scene.key(name)];
            replace(&key, leaf.key_pem().as_bytes());
            replace(&pem, leaf.chain_pem().as_bytes());
            let (pem, key) = (pem.display(), key.display());
            certificates += &format!("ssl_certificate {pem}; ssl_certificate_key {key};\n");
        }
        let socket = scene.path("responder.sock");
        let (port, socket) = (scene.port, socket.display());
        scene.nginx.processes = WORKERS;
        scene.nginx.http(&format!(
            "server {{ listen 127.0.0.1:{port} ssl; server_name {SITE};\n{certificates}\
             ssl_stapling on; ssl_stapling_responder http://unix:{socket}:/;\nreturn 200 ok; }}"
        ));
        scene.configure(&format!("{tables}[responder]\nlisten = [\"unix:{socket}\"]\n"));
        Dual { scene, leaves }
    }

    fn start(&mut self) {
        self.scene.agent.start();
        self.scene.nginx.start();
    }

    fn look(&self, kind: KeyKind) -> Look {
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, self.scene.port)));
        Look { server_name: Some(SITE.to_owned()), key: Some(kind), ..Look::at(address) }
    }

    /// Handshakes with both key types, `count` each, in bursts; how many of them were `wanted`.
    fn knock(&self, count: usize, wanted: Worth) -> usize {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let mut found = 0;
        for _ in 0..count.div_ceil(WORKERS) {
            let looks: Vec<_> = KINDS
                .into_iter()
                .enumerate()
                .flat_map(|one| vec![one; WORKERS])
                .map(|(at, kind)| {
                    (
                        at,
                        runtime.spawn({
                            let wanted = self.look(kind);
                            async move { look(&wanted).await }
                        }),
                    )
                })
                .collect();
            for (at, handshake) in looks {
                let seen = runtime.block_on(handshake).expect("it does not panic");
                let seen = seen.expect("a handshake");
                let leaf = &self.leaves[at];
                assert_eq!(seen.chain[0], leaf.der, "the certificate with the other key");
                found += usize::from(worth(leaf, seen.staple.as_deref()).worth == wanted);
            }
        }
        found
    }

    fn workers(&self) -> BTreeSet<i32> {
        self.scene.nginx.workers().iter().map(|pid| pid.as_raw()).collect()
    }

    /// Waits until the agent says that each of nginx's workers has every staple.
    fn wait_until_ready(&mut self) {
        let workers = self.workers();
        self.scene.agent.wait_until("all workers to be ready", |now| {
            let warm = server(now).warm.as_ref();
            warm.is_some_and(|warm| workers.iter().all(|pid| warm.workers.contains(pid)))
        });
    }
}

/// What clients met around some reloads.
#[derive(Debug, Default)]
struct Figures {
    reloads: usize,
    /// Handshakes by clients that went on all the while, and those of them without a good staple.
    handshakes: usize,
    unstapled: usize,
    /// Handshakes after the agent was ready, and those of them without a good staple.
    after: usize,
    unstapled_after: usize,
    /// From the new workers to the agent's word.
    ready: Vec<Duration>,
}

/// Reloads nginx, with clients that come every 10 ms for each key type; `warmed`: by an agent that
/// looks after the workers.
fn reloads(count: usize, warmed: bool) -> Figures {
    let tables = if warmed { "" } else { "probe = false\n" };
    let mut dual = Dual::new(86_400, tables);
    dual.start();
    if warmed {
        dual.wait_until_ready();
    } else {
        eventually("staples", || dual.knock(8, Worth::Good) == 16);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let clients: Vec<_> = KINDS
        .into_iter()
        .enumerate()
        .map(|(at, kind)| {
            let (wanted, leaf) = (dual.look(kind), dual.leaves[at].clone());
            let (stop, counts) = (stop.clone(), counts.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime can be made");
                while !stop.load(Ordering::SeqCst) {
                    let seen = runtime.block_on(look(&wanted)).expect("a handshake");
                    let good = worth(&leaf, seen.staple.as_deref()).worth == Worth::Good;
                    counts[0].fetch_add(1, Ordering::SeqCst);
                    counts[1].fetch_add(usize::from(!good), Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(10));
                }
            })
        })
        .collect();
    let mut figures = Figures { reloads: count, ..Figures::default() };
    for _ in 0..count {
        dual.scene.nginx.reload().expect("it reloads");
        let begun = Instant::now();
        if warmed {
            dual.wait_until_ready();
            figures.ready.push(begun.elapsed());
            let before = dual.workers();
            let good = dual.knock(32, Worth::Good);
            assert_eq!(before, dual.workers(), "nobody else reloads it");
            figures.after += 64;
            figures.unstapled_after += 64 - good;
        } else {
            thread::sleep(Duration::from_millis(1_500));
        }
    }
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().expect("it does not panic"));
    figures.handshakes = counts[0].load(Ordering::SeqCst);
    figures.unstapled = counts[1].load(Ordering::SeqCst);
    figures
}

fn print(what: &str, figures: &Figures) {
    let Figures { reloads, handshakes, unstapled, after, unstapled_after, ready } = figures;
    let mut ready = ready.clone();
    ready.sort_unstable();
    let each = *unstapled as f64 / *reloads as f64;
    println!(
        "{what}: {reloads} reloads, {handshakes} handshakes by clients, {unstapled} without a staple \
         ({each:.2} a reload); after the agent's word {unstapled_after} of {after}; ready after \
         {:?} (median), {:?} (longest)",
        ready.get(ready.len() / 2).copied().unwrap_or_default(),
        ready.last().copied().unwrap_or_default(),
    );
}

#[test]
fn no_handshake_goes_without_once_the_workers_are_ready() {
    let figures = reloads(5, true);
    print("with warm-up", &figures);
    assert_eq!(figures.unstapled_after, 0, "{figures:?}");
}

/// `cargo test --test it -- --ignored --exact e2e::warming::a_hundred_reloads --nocapture`
#[test]
#[ignore = "takes minutes"]
fn a_hundred_reloads() {
    let without = reloads(100, false);
    print("without warm-up", &without);
    let with = reloads(100, true);
    print("with warm-up", &with);
    assert_eq!(with.unstapled_after, 0, "{with:?}");
    assert!(with.unstapled < without.unstapled, "{with:?} {without:?}");
}

#[test]
fn both_key_types_are_served_and_strict_clients_connect() {
    let mut dual = Dual::new(86_400, "");
    dual.start();
    dual.wait_until_ready();
    assert_eq!(dual.knock(32, Worth::Good), 64);
    let status = dual.scene.agent.wait_until("both to be served", |now| {
        ["rsa", "ecdsa"].iter().all(|name| certificate(now, name).served == Some(Served::Match))
    });
    let spot = format!("responder: {}", dual.scene.certificate("rsa").display());
    let rsa = certificate(&status, "rsa");
    assert!(rsa.targets.iter().any(|target| target.path == spot), "{rsa:#?}");
    assert_eq!(dual.scene.nginx.reloads(), 0, "nothing was reloaded");
    assert_eq!(dual.scene.gnutls(SITE), Ok(()));
    assert_eq!(dual.scene.curl(SITE), Ok(()));
}

/// nginx serves no revoked staple it is answered with: strict clients go away, as they should.
#[test]
fn a_revocation_is_not_covered_by_what_workers_remember() {
    let mut dual = Dual::new(86_400, "");
    dual.start();
    dual.wait_until_ready();
    dual.scene
        .authority
        .says(&dual.leaves[0], Answer::Status(Said::Revoked { time: now() - 60, reason: None }));
    let said = dual.scene.agent.command(&["refresh", "rsa"]);
    let begun = Instant::now();
    eventually("the good staple to go", || {
        let kinds = dual.knock(8, Worth::Nothing);
        kinds == 8
    });
    println!("clients went without {:?} after the refresh: {said:?}", begun.elapsed());
    assert_eq!(dual.knock(8, Worth::Good), 8, "the other key type keeps its own");
}

/// The agent is away while nginx reloads; its workers have nothing then, and have it seconds after
/// the agent is back.
#[test]
fn an_agent_that_comes_back_puts_the_workers_right() {
    let mut dual = Dual::new(86_400, "");
    dual.start();
    dual.wait_until_ready();
    dual.scene.agent.kill();
    dual.scene.nginx.reload().expect("it reloads");
    assert_eq!(dual.knock(32, Worth::Good), 0, "nobody answers the workers");
    dual.scene.agent.start();
    eventually("every worker to have its staples", || dual.knock(16, Worth::Good) == 32);
    dual.wait_until_ready();
    assert_eq!(dual.knock(32, Worth::Good), 64);
}

/// Two certificates, one file: said before anybody wonders, with what to write instead.
#[test]
fn a_file_for_two_key_types_is_complained_about() {
    let mut dual = Dual::new(86_400, "");
    let file = dual.scene.staple("dual");
    let configuration = dual.scene.nginx.configuration();
    let text = fs::read_to_string(&configuration).expect("it was written");
    let (before, rest) = text.split_once("ssl_stapling_responder").expect("it is there");
    let (_, after) = rest.split_once(';').expect("a directive ends");
    let text = format!("{before}ssl_stapling_file {};{after}", file.display());
    replace(&configuration, text.as_bytes());
    dual.scene.agent.start();
    dual.scene.agent.wait_until("the complaint", |now| {
        now.problems.iter().any(|text| text.contains("two key types share one"))
    });
}

#[test]
fn a_socket_that_is_no_more_is_made_again() {
    let mut dual = Dual::new(86_400, "");
    dual.start();
    let socket: PathBuf = dual.scene.path("responder.sock");
    assert!(fs::symlink_metadata(&socket).is_ok());
    dual.scene.agent.kill();
    dual.scene.agent.start();
    dual.wait_until_ready();
}
