//! The agent with a responder, and the servers that ask it.

use std::time::Duration;

use staplekeeper::agent::status::{Published, Served, Severity};
use staplekeeper::ocsp::{TRY_LATER, UNAUTHORIZED};

use super::client::{encoded, parse, request};
use crate::support::agent::{certificate, eventually};
use crate::support::authority::Answer;
use crate::support::ca::{Draft, Kind, Said};
use crate::support::judge::Worth;
use crate::support::port::free_port;
use crate::support::scene::{Host, Scene, must, plain};

/// What the agent's responder answers about a certificate.
fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let get = format!("GET /{} HTTP/1.0\r\n\r\n", encoded(request));
    stream.write_all(get.as_bytes()).expect("it listens");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("it answers");
    parse(&heard).remove(0).body
}

/// A site that asks for staples itself.
fn asking(host: Host) -> Host {
    Host { stapled: false, ..host }
}

#[test]
fn nginx_asks_over_a_unix_socket_and_staples_what_it_gets() {
    let mut scene = Scene::new(3600, &[asking(must("asks.test"))], "");
    let socket = scene.path("responder.sock");
    let listen = format!("[responder]\nlisten = [\"unix:{}\"]\n", socket.display());
    scene.configure(&listen);
    let leaf = scene.leaf("asks.test").clone();
    let (chain, key) = (scene.certificate("asks.test"), scene.key("asks.test"));
    scene.nginx.http(&format!(
        "server {{\n listen 127.0.0.1:{} ssl;\n server_name asks.test;\n ssl_certificate {};\n \
         ssl_certificate_key {};\n ssl_stapling on;\n \
         ssl_stapling_responder http://unix:{}:/some/path/;\n}}\n",
        scene.port,
        chain.display(),
        key.display(),
        socket.display()
    ));
    scene.agent.start();
    let document = scene.agent.status().expect("it runs");
    let loopback = document.loopback.as_ref().expect("it is configured");
    assert_eq!((loopback.certificates, loopback.answered), (1, 1));
    assert_eq!(loopback.listen.len(), 1, "{loopback:?}");
    assert_eq!(loopback.listen[0].error, None);
    let targets = &certificate(&document, "asks.test").targets;
    let answered = targets.iter().find(|target| target.path.starts_with("responder: "));
    let answered = answered.unwrap_or_else(|| panic!("{targets:?}"));
    assert_eq!(answered.path, format!("responder: {}", chain.display()));
    assert_eq!(answered.published, Published::Staple);
    assert_eq!(answered.servers.len(), 1);
    scene.nginx.start();
    // Each of two workers asks after its first handshake, which goes without.
    let mut good = 0;
    eventually("handshakes with the staple", || {
        let worth = scene.handshake("asks.test").map(|shown| shown.worth);
        good = if worth == Ok(Worth::Good) { good + 1 } else { 0 };
        good >= 20
    });
    let document = scene.agent.status().expect("it runs");
    let requests = document.loopback.expect("it is configured").requests;
    assert!((1..=4).contains(&requests), "{requests} requests by two workers");
    assert_eq!(scene.authority.asked(&leaf), 1);
    let told = scene.agent.command(&["status"]);
    let line = format!("responder unix:{}: answers about 1 of 1 certificates", socket.display());
    assert!(told.out.contains(&line), "{}", told.out);
}

#[test]
fn a_restart_goes_on_where_it_was_and_a_renewed_certificate_is_answered_beside_the_old() {
    let port = free_port();
    let listen = format!("[responder]\nlisten = [\"127.0.0.1:{port}\"]\n");
    let mut scene = Scene::new(3600, &[plain("www.test")], &listen);
    let old = scene.leaf("www.test").clone();
    scene.agent.start();
    let first = ask(port, &request(&old));
    assert!(first.len() > 100, "{first:x?}");
    scene.authority.responder.kill();
    scene.agent.kill();
    scene.agent.start();
    assert_eq!(ask(port, &request(&old)), first);
    // Renewed while the CA's responder is away: nothing about the new one yet, the old one stays.
    let new = scene.renew("www.test");
    eventually("the new certificate to be known", || ask(port, &request(&new)) == TRY_LATER);
    assert_eq!(ask(port, &request(&old)), first);
    scene.authority.responder.restart();
    scene.agent.command(&["refresh"]);
    eventually("the new certificate's staple", || ask(port, &request(&new)).len() > 100);
    assert_eq!(ask(port, &request(&old)), first);
    let stranger = scene.authority.issue(Draft::leaf("stranger.test"));
    assert_eq!(ask(port, &request(&stranger)), UNAUTHORIZED);
}

#[test]
fn what_policy_withdraws_is_answered_no_more() {
    let port = free_port();
    let listen = format!("[responder]\nlisten = [\"127.0.0.1:{port}\"]\n");
    let revoked = Answer::Status(Said::Revoked { time: 1_700_000_000, reason: Some(1) });
    for (policy, kept) in [("withdraw", false), ("keep-last-good", true)] {
        let tables = format!("{listen}[policy]\non_revoked = \"{policy}\"\n");
        let mut scene = Scene::new(3600, &[plain("www.test")], &tables);
        let leaf = scene.leaf("www.test").clone();
        scene.agent.start();
        let good = ask(port, &request(&leaf));
        assert!(good.len() > 100);
        scene.authority.says(&leaf, revoked.clone());
        scene.agent.command(&["refresh", "--no-reload"]);
        let wanted = if kept { good } else { TRY_LATER.to_vec() };
        eventually("the policy to be carried out", || ask(port, &request(&leaf)) == wanted);
    }
    // As shipped, clients are told.
    let mut scene = Scene::new(3600, &[plain("www.test")], &listen);
    let leaf = scene.leaf("www.test").clone();
    scene.agent.start();
    let good = ask(port, &request(&leaf));
    scene.authority.says(&leaf, revoked);
    scene.agent.command(&["refresh", "--no-reload"]);
    eventually("the revocation", || {
        let answer = ask(port, &request(&leaf));
        answer != good && answer.len() > 100
    });
}

#[test]
fn an_expired_staple_goes_unless_the_certificate_demands_one() {
    let port = free_port();
    let listen = format!("[responder]\nlisten = [\"127.0.0.1:{port}\"]\n");
    let hosts = [plain("plain.test"), must("must.test")];
    let mut scene = Scene::new(6, &hosts, &listen);
    scene.agent.start();
    let (plain, must) = (scene.leaf("plain.test").clone(), scene.leaf("must.test").clone());
    assert!(ask(port, &request(&plain)).len() > 100);
    scene.authority.responder.kill();
    eventually("the plain one to go", || ask(port, &request(&plain)) == TRY_LATER);
    std::thread::sleep(Duration::from_secs(7));
    assert!(ask(port, &request(&must)).len() > 100);
    let document = scene.agent.status().expect("it runs");
    assert_eq!(certificate(&document, "must.test").severity, Severity::Critical);
}

#[test]
fn two_key_types_in_one_block_get_a_staple_each() {
    let mut scene = Scene::new(3600, &[], "");
    let socket = scene.path("responder.sock");
    scene.configure(&format!("[responder]\nlisten = [\"unix:{}\"]\n", socket.display()));
    let mut block =
        format!("server {{\n listen 127.0.0.1:{} ssl;\n server_name dual.test;\n", scene.port);
    for (number, kind) in [Kind::Rsa2048, Kind::P256].into_iter().enumerate() {
        let leaf = scene.authority.issue(Draft::leaf("dual.test").keyed(kind, 7));
        let name = format!("dual-{number}");
        scene.install(&name, &leaf);
        let (chain, key) = (scene.certificate(&name), scene.key(&name));
        block += &format!(
            " ssl_certificate {};\n ssl_certificate_key {};\n",
            chain.display(),
            key.display()
        );
    }
    block += &format!(
        " ssl_stapling on;\n ssl_stapling_responder http://unix:{}:/;\n}}\n",
        socket.display()
    );
    scene.nginx.http(&block);
    scene.agent.start();
    let document = scene.agent.status().expect("it runs");
    assert_eq!(document.loopback.as_ref().map(|loopback| loopback.answered), Some(2));
    for one in &document.certificates {
        let answered: Vec<_> =
            one.targets.iter().filter(|target| target.path.starts_with("responder: ")).collect();
        assert_eq!(answered.len(), 1, "{one:?}");
        assert_eq!(answered[0].servers.len(), 1, "{one:?}");
        assert_ne!(one.served, Some(Served::Mismatch));
    }
}
