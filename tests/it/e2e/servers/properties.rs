//! What is asked of every server; see [`Property`].

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::host::{Host, is_must, twin};
use super::record::Record;
use super::{Property, Server};
use crate::support::agent::Said as Output;
use crate::support::authority::{Answer, now, wait_past};
use crate::support::ca::Said;
use crate::support::judge::{Clients, Counts, Worth, fingerprint};

/// Answers that do not run out during a test, in seconds.
const LONG: i64 = 3_600;
/// What passes between an ACME client's writing and its hook's reload. The agent learns of the new
/// certificate within 300 ms; whoever reloads sooner races it.
const HOOK: Duration = Duration::from_secs(1);
/// For rotations on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn first_handshake<S: Server>() {
    let record = Record::begin::<S>(Property::FirstHandshake);
    let mut host = Host::<S>::new(LONG, "");
    host.agent.start();
    let mut settled = Vec::new();
    // Each of the three judges is the first client of a server that has just come up.
    for site in S::SITES {
        settled.push(host.begin());
        assert_eq!(host.gnutls(site), Ok(()), "gnutls-cli, {site}");
        host.server.stop();
        settled.push(host.begin());
        assert_eq!(host.curl(site), Ok(()), "curl --cert-status, {site}");
        host.server.stop();
        settled.push(host.begin());
        let shown = host.handshake(site).expect("a handshake");
        assert_eq!(shown.worth, Worth::Good, "{site}: {shown:?}");
        host.server.stop();
    }
    let all = S::SITES.iter().flat_map(|site| host.all_leaves(site));
    let asked: Vec<_> = all.map(|leaf| host.authority.asked(&leaf)).collect();
    assert!(asked.iter().all(|times| *times == 1), "before any client came, and once: {asked:?}");
    let longest = settled.iter().max().map_or(0.0, Duration::as_secs_f32);
    record.holds(&match S::WARMED {
        true => {
            let starts = settled.len();
            format!("{starts} starts, once each worker was met: {longest:.1} s later at most")
        }
        false => format!("{} starts", settled.len()),
    });
}

pub(super) fn rotation<S: Server>() {
    let record = Record::begin::<S>(Property::Rotation);
    let mut host = Host::<S>::new(S::LIFE, "");
    host.start();
    let clients = host.clients();
    let counts = rotated(&host.server, &clients, 3);
    host.all_judges_connect();
    drop(clients);
    assert_eq!(bad(&host.server, &counts), 0, "{counts:#?}");
    record.holds(&format!("{}, 3 staples", figures(&host.server, &counts)));
}

/// Waits until every site has shown so many good staples, or something else.
fn rotated<S: Server>(server: &S, clients: &Clients, staples: usize) -> Counts {
    clients.wait_until(PATIENCE, |counts| {
        bad(server, counts) > 0 || S::SITES.iter().all(|site| counts.staples(site) >= staples)
    })
}

/// How many handshakes a strict client would not go on after; those left out that the server's own way to
/// reload or to ask has cost.
fn bad<S: Server>(server: &S, counts: &Counts) -> usize {
    let resets = counts.notes.iter().filter(|note| note.contains("Connection reset by peer"));
    let by_reloads = if S::RELOADS_RESET { resets.count() } else { 0 };
    counts.not_good() - by_reloads - excused(server, counts)
}

/// How many handshakes went without a staple where nobody can help it.
fn excused<S: Server>(server: &S, counts: &Counts) -> usize {
    counts.bare.iter().filter(|at| server.excuses(**at)).count()
}

/// How many handshakes there were, and how many of them were excused.
fn figures<S: Server>(server: &S, counts: &Counts) -> String {
    let all = handshakes::<S>(counts);
    match excused(server, counts) {
        0 => format!("{all} handshakes"),
        bare => format!("{all} handshakes, {bare} of them bare while workers were new"),
    }
}

fn handshakes<S: Server>(counts: &Counts) -> usize {
    let twins = S::SITES.iter().map(|site| counts.total(&twin(site))).sum::<usize>();
    twins + S::SITES.iter().map(|site| counts.total(site)).sum::<usize>()
}

pub(super) fn outage<S: Server>() {
    let record = Record::begin::<S>(Property::Outage);
    let mut host = Host::<S>::new(S::LIFE, "");
    host.start();
    let clients = host.clients();
    host.authority.responder.kill();
    let down = now();
    // A staple serves until the server drops it.
    let half = (S::LIFE - S::STOPS_EARLY) / 2;
    wait_past(down + half);
    let away = now() - down;
    host.authority.responder.restart();
    let before = clients.so_far();
    let counts = clients.wait_until(PATIENCE, |counts| {
        let newer = |site: &&str| counts.staples(site) > before.staples(site);
        bad(&host.server, counts) > 0 || S::SITES.iter().all(newer)
    });
    drop(clients);
    assert_eq!(bad(&host.server, &counts), 0, "{counts:#?}");
    let serves = S::LIFE - S::STOPS_EARLY;
    record.holds(&format!("{away} s of {serves} s, {}", figures(&host.server, &counts)));
}

pub(super) fn renewal<S: Server>() {
    let record = Record::begin::<S>(Property::Renewal);
    let tables = "[schedule]\nadopt_renewed_after = \"2s\"\nreload_at_most_every = \"1s\"\n";
    let mut host = Host::<S>::new(LONG, tables);
    host.start();

    let clients = host.clients();
    // Its owner reloads.
    for site in S::SITES {
        host.renew(site);
        thread::sleep(HOOK);
        if let Err(refusal) = host.server.reload() {
            println!("{}: not reloaded by its owner: {refusal}", S::NAME);
        }
        host.wait_until_served(site);
    }
    // Nobody reloads but the agent.
    for site in S::SITES {
        host.renew(site);
        host.wait_until_served(site);
    }
    let counts = clients.end();
    host.all_judges_connect();

    assert_eq!(counts.all(Worth::Wrong), 0, "{counts:#?}");
    if let Some(why) = S::lacks(Property::Renewal) {
        return record.cannot_be(why);
    }
    assert_eq!(bad(&host.server, &counts), 0, "{counts:#?}");
    let all = figures(&host.server, &counts);
    record.holds(&format!("{} renewals, {all}", 2 * S::SITES.len()));
}

pub(super) fn revocation<S: Server>() {
    let record = Record::begin::<S>(Property::Revocation);
    let mut host = Host::<S>::new(LONG, "");
    host.start();
    for site in S::SITES {
        let said = Said::Revoked { time: now() - 60, reason: Some(1) };
        for leaf in host.all_leaves(site) {
            host.authority.says(&leaf, Answer::Status(said.clone()));
        }
    }
    host.all_judges_connect();
    let asked = Instant::now();
    let mut command = host.agent.program(&["refresh"]);
    let refresh = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let refresh = refresh.expect("the program can be executed");
    // The command may have more to wait for than clients have.
    let sees = S::lacks(Property::Revocation).is_none();
    for site in S::SITES.iter().filter(|_| sees) {
        host.wait_until("revoked staple", |host| {
            let shown = host.handshake(site)?;
            if shown.worth == S::REVOKED { Ok(()) } else { Err(format!("{shown:?}")) }
        });
    }
    let took = asked.elapsed();
    let refresh = Output::from(refresh.wait_with_output().expect("it ends"));
    assert_eq!(refresh.code, 1, "{refresh:?}");
    assert!(refresh.out.contains("revoked since"), "{refresh:?}");
    if let Some(why) = S::lacks(Property::Revocation) {
        // The last good staple stays, and the server lives.
        thread::sleep(Duration::from_secs(5));
        host.all_judges_connect();
        host.server.stop();
        host.server.start();
        host.all_judges_connect();
        return record.cannot_be(why);
    }
    assert!(took < Duration::from_secs(10), "{took:?}");
    for site in S::SITES {
        assert!(host.curl(site).is_err(), "curl --cert-status, {site}");
        if S::REVOKED == Worth::Revoked {
            let refusal = host.gnutls(site).expect_err("it is revoked");
            assert!(refusal.contains("revoked"), "{refusal}");
        } else if is_must(site) {
            assert!(host.gnutls(site).is_err(), "gnutls-cli, {site}");
        }
    }
    let took = took.as_secs_f32();
    record.holds(&match S::REVOKED {
        Worth::Nothing => format!("{took:.1} s, by having no staple"),
        _ => format!("{took:.1} s"),
    });
}

pub(super) fn agent_restart<S: Server>() {
    let record = Record::begin::<S>(Property::AgentRestart);
    let mut host = Host::<S>::new(S::LIFE, "");
    host.start();
    let clients = host.clients();
    for _ in 0..3 {
        host.agent.kill();
        thread::sleep(Duration::from_millis(200));
        host.agent.start();
    }
    let counts = rotated(&host.server, &clients, 2);
    drop(clients);
    assert_eq!(bad(&host.server, &counts), 0, "{counts:#?}");
    let mut figures = figures(&host.server, &counts);
    // Without an agent, a server that starts has what was left to it.
    host.agent.kill();
    host.server.stop();
    host.server.start();
    match S::lacks(Property::AgentRestart) {
        Some(why) => figures += &format!("; {why}"),
        None => host.all_judges_connect(),
    }
    host.agent.start();
    for site in S::SITES {
        host.wait_until_served(site);
    }
    let must = S::SITES.iter().filter(|site| is_must(site));
    for site in must {
        let leaf = fingerprint(host.leaf(site));
        assert_eq!(host.handshake(site).expect("a handshake").leaf, leaf);
    }
    record.holds(&figures);
}
