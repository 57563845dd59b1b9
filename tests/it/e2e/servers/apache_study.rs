//! What "Is the Web Ready for OCSP Must-Staple?" (IMC 2018, §7) asked of servers, asked of Apache with the
//! agent beside it, by both of its ways; `e2e::study` asks it of nginx. As shipped mod_ssl fetches
//! when the first client comes, drops a good staple when its responder fails, and hands one out for 300 s
//! beyond nextUpdate; mod_md for ever (facts/servers.md 48).

use std::time::{Duration, Instant};

use super::host::Host;
use super::{Server, apache_md, apache_ssl};
use crate::support::authority::{Answer, now, wait_past};
use crate::support::ca::{Said, refusal};
use crate::support::judge::Worth;
use crate::support::responder::Reply;

const LONG: i64 = 3_600;
const MUST: &str = "must.test";
const PLAIN: &str = "plain.test";

/// Answers stay in its cache for an hour: what cannot wait takes a restart.
type AsShipped = apache_ssl::Apache<3_600>;

/// So many handshakes in a row, all of them good.
fn all_good<S: Server>(host: &Host<S>, handshakes: usize) {
    for _ in 0..handshakes {
        let shown = host.handshake(MUST).expect("a handshake");
        assert_eq!(shown.worth, Worth::Good, "{shown:?}");
    }
}

/// The study: no server fetched before the first client came.
fn prefetches<S: Server>() {
    let mut host = Host::<S>::new(LONG, "");
    host.agent.start();
    assert_eq!(host.authority.asked(host.leaf(MUST)), 1, "before any client came");
    for _ in 0..3 {
        host.server.start();
        all_good(&host, 6);
        host.server.stop();
    }
    assert_eq!(host.authority.asked(host.leaf(MUST)), 1);
}

/// The study: a response is fetched once, not for every client. Nor for every restart.
fn caches<S: Server>() {
    let mut host = Host::<S>::new(LONG, "");
    host.start();
    for _ in 0..3 {
        all_good(&host, 50);
        host.server.reload().expect("its configuration is good");
    }
    host.agent.stop();
    host.agent.start();
    all_good(&host, 50);
    assert_eq!(host.authority.asked(host.leaf(MUST)), 1);
}

/// The study: Apache handed a response out beyond its nextUpdate.
fn respects_next_update<S: Server>() {
    let mut host = Host::<S>::new(LONG, "");
    let next_update = now() + 30;
    let answer = Answer::Between(next_update - 90, next_update);
    host.authority.says(host.leaf(PLAIN), answer);
    host.start();
    host.authority.responder.kill();
    let clients = host.clients();
    wait_past(next_update + 2);
    let counts = clients.end();
    let without = counts.of(PLAIN, Worth::Nothing) + counts.of(PLAIN, Worth::Placeholder);
    assert!(without > 0 && counts.of(PLAIN, Worth::Good) > 0, "{counts:#?}");
    assert_eq!(counts.all(Worth::Expired), 0, "{counts:#?}");
    assert_eq!(counts.failed + counts.all(Worth::Wrong), 0, "{counts:#?}");
    assert_eq!(counts.of(MUST, Worth::Good), counts.total(MUST), "{counts:#?}");
}

/// The study: Apache deleted a valid response when the responder failed afterwards.
fn retains_on_error<S: Server>() {
    let mut host = Host::<S>::new(LONG, "");
    host.start();
    let leaf = host.leaf(MUST).clone();
    let good = host.handshake(MUST).expect("a handshake").staple;
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
        host.authority.says(&leaf, Answer::Reply(reply));
        let refresh = host.agent.command(&["refresh", MUST]);
        assert_eq!(refresh.code, 1, "{what}: {refresh:?}");
        host.server.reload().expect("its configuration is good");
        let shown = host.handshake(MUST).expect("a handshake");
        assert_eq!((shown.worth, &shown.staple), (Worth::Good, &good), "{what}");
    }
    host.authority.responder.kill();
    host.server.stop();
    host.server.start();
    host.agent.stop();
    host.agent.start();
    all_good(&host, 10);
}

/// Staples come and go, and nobody is disturbed: no restart, no word that wants a person.
fn rotates_quietly<S: Server>(restarts: fn(&S) -> usize) {
    let mut host = Host::<S>::new(S::LIFE, "");
    host.start();
    let clients = host.clients();
    let counts = clients.wait_until(Duration::from_secs(120), |counts| {
        counts.not_good() > 0 || S::SITES.iter().all(|site| counts.staples(site) >= 3)
    });
    assert_eq!(counts.not_good(), 0, "{counts:#?}");
    let log = host.agent.log();
    let loud = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    assert_eq!(log.lines().filter(loud).collect::<Vec<_>>(), Vec::<&str>::new(), "{log}");
    assert_eq!(restarts(&host.server), 0, "{log}");
}

#[test]
fn mod_ssl_asks_for_new_staples_without_a_restart() {
    rotates_quietly::<apache_ssl::Apache>(|server| server.process.restarts());
}

#[test]
fn mod_md_looks_for_new_staples_without_a_restart() {
    rotates_quietly::<apache_md::Apache>(|server| server.process.restarts());
}

#[test]
fn a_revocation_does_not_wait_for_mod_ssls_cache() {
    let mut host = Host::<AsShipped>::new(LONG, "");
    host.start();
    let said = Said::Revoked { time: now() - 60, reason: Some(1) };
    host.authority.says(host.leaf(MUST), Answer::Status(said));
    let asked = Instant::now();
    let refresh = host.agent.command(&["refresh", MUST]);
    assert!(refresh.out.contains("revoked since"), "{refresh:?}");
    host.wait_until("revoked staple", |host| {
        let shown = host.handshake(MUST)?;
        if shown.worth == Worth::Revoked { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(host.server.process.restarts(), 1);
    assert_eq!(host.handshake(PLAIN).expect("a handshake").worth, Worth::Good);
}

/// The four of them for one way.
macro_rules! four_cells {
    ($module:ident, $server:ty) => {
        mod $module {
            use super::*;

            #[test]
            fn prefetches() {
                super::prefetches::<$server>();
            }

            #[test]
            fn caches() {
                super::caches::<$server>();
            }

            #[test]
            fn respects_next_update() {
                super::respects_next_update::<$server>();
            }

            #[test]
            fn retains_on_error() {
                super::retains_on_error::<$server>();
            }
        }
    };
}

four_cells!(mod_ssl, apache_ssl::Apache);
four_cells!(mod_ssl_with_its_own_timings, AsShipped);
four_cells!(mod_md, apache_md::Apache);
