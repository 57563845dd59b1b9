//! What is HAProxy's alone: the socket, files without an issuer, bundles, folders, CertIDs.

use std::fs;
use std::time::Duration;

use staplekeeper::agent::status::Served;
use staplekeeper::confirm::{Address, KeyKind, Look, look};

use super::Server;
use super::haproxy::Haproxy;
use super::host::Host;
use crate::support::agent::{certificate, eventually};
use crate::support::ca::{Draft, Identity, Key, Kind};
use crate::support::judge::{self, Worth};

const LONG: i64 = 3_600;

/// The pid of the worker.
fn worker(host: &Host<Haproxy>) -> Vec<i32> {
    host.server.process().children()
}

/// Started without staples, it has them from the agent; the worker that was there before.
fn started_bare_and_told(host: &mut Host<Haproxy>) -> Vec<i32> {
    host.server.start();
    for site in Haproxy::SITES {
        assert_eq!(host.handshake(site).expect("a handshake").worth, Worth::Nothing);
    }
    let before = worker(host);
    host.agent.start();
    for site in Haproxy::SITES {
        host.wait_until_served(site);
    }
    before
}

/// It was started without `.ocsp` files: what comes over the socket alone it would not take (52).
#[test]
fn one_that_runs_already_is_told_without_a_reload() {
    let mut host = Host::<Haproxy>::new(LONG, "");
    let before = started_bare_and_told(&mut host);
    host.all_judges_connect();
    // A second one goes the short way; the first proved that it is known now.
    for _ in 0..2 {
        let old = host.handshake("must.test").expect("a handshake").this_update;
        let refresh = host.agent.command(&["refresh"]);
        assert_eq!(refresh.code, 0, "{refresh:?}");
        eventually("a newer staple", || {
            host.handshake("must.test").expect("a handshake").this_update > old
        });
    }
    assert_eq!(worker(&host), before, "nobody reloaded it");
    let status = host.agent.wait_until("the agent to see it", |now| {
        Haproxy::SITES.iter().all(|site| certificate(now, site).served == Some(Served::Match))
    });
    assert_eq!(status.servers[0].last_reload, None, "{status:#?}");
    // What it was told it forgets; the files it reads.
    host.server.reload().expect("its configuration is good");
    host.all_judges_connect();
}

/// `present and activates OCSP but it is impossible to compute the OCSP certificate ID` (50).
#[test]
fn no_staple_lies_beside_a_certificate_without_its_issuer() {
    let mut host = Host::<Haproxy>::new(LONG, "");
    let bare = |leaf: &Identity| [leaf.pem(), leaf.key_pem()].concat();
    let file = |host: &Host<Haproxy>, site: &str| host.ground.combined(site);
    let staple = |host: &Host<Haproxy>, site: &str| {
        host.ground.path(&format!("certs/{site}.pem.ocsp")).exists()
    };
    fs::write(file(&host, "plain.test"), bare(host.leaf("plain.test"))).expect("ours");
    host.agent.start();
    host.server.start();
    host.wait_until_served("must.test");
    assert!(!staple(&host, "plain.test"));
    assert_eq!(host.handshake("plain.test").expect("a handshake").worth, Worth::Nothing);
    let status = host.agent.wait_until("a complaint", |now| {
        now.problems.iter().any(|problem| problem.contains("lacks its issuer"))
    });
    let about = |site: &str| status.problems.iter().filter(|one| one.contains(site)).count();
    assert_eq!((about("plain.test"), about("must.test")), (1, 0), "{:?}", status.problems);

    // One that comes without it takes the staple of its forerunner away.
    let next = host.issue_next("must.test");
    crate::support::scene::replace(&file(&host, "must.test"), bare(&next).as_bytes());
    eventually("the staple to be gone", || !staple(&host, "must.test"));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!staple(&host, "must.test"));
    host.server.stop();
    host.server.start();
}

/// A staple with another CertID it ignores; so nothing else is asked for, and none is given to it (49).
#[test]
fn answers_with_other_certificate_ids_are_kept_from_it() {
    let profile = "[[issuer]]\nmatch = { issuer = \"CN=E2E CA\" }\ncert_id_hash = \"sha256\"\n";
    let mut host = Host::<Haproxy>::new(LONG, profile);
    host.agent.start();
    host.server.start();
    let status = host.agent.wait_until("a complaint", |now| {
        now.problems.iter().any(|problem| problem.contains("hashed by SHA-1"))
    });
    let said = status.problems.join("\n");
    assert!(said.contains("cert_id_hash") && said.contains("must.test.pem.ocsp"), "{said}");
    assert_eq!(host.handshake("must.test").expect("a handshake").worth, Worth::Nothing);
    let tables = host.server.tables();
    host.agent.configure(&format!("watch = []\n{tables}"));
    host.agent.hang_up();
    host.wait_until("a good staple", |host| {
        host.agent.command(&["refresh"]);
        let worth = host.handshake("must.test")?.worth;
        if worth == Worth::Good { Ok(()) } else { Err(format!("{worth:?}")) }
    });
    let status = host.agent.status().expect("it runs");
    assert!(status.problems.is_empty(), "{:?}", status.problems);
}

/// One certificate for each kind of key, in a folder that HAProxy loads whole.
#[test]
fn a_bundle_in_a_folder_has_a_staple_for_each_key() {
    let mut host = Host::<Haproxy>::new(LONG, "");
    let folder = host.ground.path("folder");
    fs::create_dir(&folder).expect("ours");
    let mut leaves = Vec::new();
    for (kind, extension) in [(Kind::P256, "ecdsa"), (Kind::Rsa2048, "rsa")] {
        let draft = Draft { key: Key::new(kind), must_staple: true, ..Draft::leaf("both.test") };
        let leaf = host.authority.issue(draft);
        let pem = [leaf.chain_pem(), leaf.key_pem()].concat();
        fs::write(folder.join(format!("both.pem.{extension}")), pem).expect("ours");
        leaves.push(leaf);
    }
    let text = fs::read_to_string(host.server.configuration()).expect("ours");
    let crt = format!("ssl crt {}", folder.display());
    fs::write(host.server.configuration(), text.replacen("ssl", &crt, 1)).expect("ours");
    host.agent.start();
    host.server.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    for (leaf, key) in leaves.iter().zip([KeyKind::Elliptic, KeyKind::Rsa]) {
        let address = Address::Tcp(([127, 0, 0, 1], host.ground.port).into());
        let name = Some("both.test".to_owned());
        let wanted = Look { server_name: name, key: Some(key), ..Look::at(address) };
        let seen = runtime.block_on(look(&wanted)).expect("a handshake");
        assert!(seen.chain[0] == leaf.der, "{key:?}");
        let shown = judge::worth(leaf, seen.staple.as_deref());
        assert_eq!(shown.worth, Worth::Good, "{key:?}: {shown:?}");
    }
    host.agent.wait_until("the agent to see both", |now| {
        now.certificates.iter().all(|one| one.served == Some(Served::Match))
    });
    // While the agent writes into the folder, HAProxy may load it at any instant.
    for _ in 0..5 {
        host.agent.command(&["refresh"]);
        host.server.reload().expect("nothing unfinished is in its way");
    }
    host.all_judges_connect();
}

/// Certificates by relative paths, a base and variables: HAProxy calls them by the names that they have in
/// its configuration, on its socket too.
#[test]
fn relative_paths_and_variables_mean_what_haproxy_takes_them_for() {
    let mut host = Host::<Haproxy>::new(LONG, "");
    let mut text = fs::read_to_string(host.server.configuration()).expect("ours");
    let root = host.ground.path("certs");
    let root = root.parent().expect("it has one").display().to_string();
    for site in Haproxy::SITES {
        let path = format!("crt {}", host.ground.combined(site).display());
        assert!(text.contains(&path), "{text}");
        text = text.replacen(&path, &format!("crt \"${{NOT_SET}}{site}$NOT_SET.pem\""), 1);
    }
    let bind = format!("bind 127.0.0.1:{}", host.ground.port);
    assert!(text.contains(&bind), "{text}");
    let (address, port) = ("\"${HOST}:${PORT-", format!("{}}}\"", host.ground.port));
    text = text.replacen(&bind, &format!("bind {address}{port}"), 1);
    let said = format!(
        "global\n  default-path origin \"{root}\"\n  crt-base certs\n  setenv HOST 127.0.0.1\n\
         \x20 unsetenv NOT_SET\n"
    );
    text = text.replacen("global\n", &said, 1);
    fs::write(host.server.configuration(), text).expect("ours");
    let before = started_bare_and_told(&mut host);
    assert_eq!(worker(&host), before, "nobody reloaded it");
    host.server.reload().expect("its configuration is good");
    host.all_judges_connect();
}
