//! Responders that others wrote, and responders as odd as they come, behind a real nginx.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use staplekeeper::agent::status::{Document, Published, State};

use crate::support::agent::{certificate, eventually};
use crate::support::authority::{Answer, now};
use crate::support::ca::{self, Draft, Forge, Identity, Question, answer, refusal};
use crate::support::judge::Worth;
use crate::support::port::free_port;
use crate::support::program::{Running, program};
use crate::support::responder::{Reply, Request, Responder};
use crate::support::scene::{Host, Scene, must, plain};

/// A host whose certificate names these responders.
fn asking(host: Host, urls: &[&str]) -> Host {
    let ocsp_urls = urls.iter().map(|url| (*url).to_owned()).collect();
    Host { draft: Draft { ocsp_urls, ..host.draft }, ..host }
}

/// Starts a responder and waits until it answers. `openssl ocsp` spins for ever on a connection that
/// brings no request, so whoever knocks has to say something.
fn listening(command: &mut Command, port: u16) -> Running {
    let running = Running::start(command);
    eventually("the responder listens", || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let said = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        said.and_then(|()| stream.read_to_end(&mut Vec::new())).is_ok()
    });
    running
}

/// `openssl ocsp` as a server that signs with the CA's key; answers live a minute.
struct Openssl<'a> {
    folder: &'a Path,
    port: u16,
}

impl Openssl<'_> {
    fn start(&self, ca: &Identity, good: &[&Identity], revoked: &[&Identity]) -> Running {
        let hex = |leaf: &Identity| -> String {
            leaf.serial.iter().map(|byte| format!("{byte:02X}")).collect()
        };
        let good = good.iter().map(|leaf| format!("V\t491231235959Z\t\t{}", hex(leaf)));
        let revoked = revoked
            .iter()
            .map(|leaf| format!("R\t491231235959Z\t260101000000Z,keyCompromise\t{}", hex(leaf)));
        // openssl wants every subject once.
        let lines = good.chain(revoked).enumerate();
        let lines = lines.map(|(n, line)| format!("{line}\tunknown\t/CN=leaf {n}\n"));
        let write = |name: &str, text: String| {
            fs::write(self.folder.join(name), text).expect("the folder is ours");
        };
        write("index.txt", lines.collect());
        write("ca.pem", ca.pem());
        write("ca.key", ca.key_pem());
        let mut command = Command::new(program("openssl"));
        command.current_dir(self.folder).args(["ocsp", "-index", "index.txt", "-CA", "ca.pem"]);
        command.args(["-rsigner", "ca.pem", "-rkey", "ca.key", "-nmin", "1", "-ignore_err"]);
        listening(command.args(["-port", &self.port.to_string()]), self.port)
    }
}

#[test]
fn openssl_ocsp_with_a_nonce_demanded() {
    let (folder, port) = (tempfile::tempdir().expect("a temp folder"), free_port());
    let url = format!("http://127.0.0.1:{port}/");
    let hosts = [asking(must("must.test"), &[&url]), asking(plain("plain.test"), &[&url])];
    let profile = "[[issuer]]\nmatch = { issuer = \"CN=E2E CA\" }\nnonce = \"require\"\n";
    let mut scene = Scene::new(0, &hosts, profile);
    let ca = scene.authority.intermediate.clone();
    let [must, plain] = ["must.test", "plain.test"].map(|name| scene.leaf(name).clone());
    let openssl = Openssl { folder: folder.path(), port };
    let running = openssl.start(&ca, &[&must, &plain], &[]);
    scene.start();
    scene.clients_connect("must.test");
    scene.clients_connect("plain.test");
    // A refresh brings a newer one: openssl signs for every request.
    let before = scene.handshake("must.test").expect("a handshake");
    let refresh = scene.agent.command(&["refresh", "must.test"]);
    assert_eq!(refresh.code, 0, "{refresh:?}");
    scene.clients_connect("must.test");
    let after = scene.handshake("must.test").expect("a handshake");
    assert!(after.this_update >= before.this_update && after.staple != before.staple);
    assert_eq!(before.this_update.map(|at| at < now() + 1), Some(true));

    drop(running);
    let _running = openssl.start(&ca, &[&plain], &[&must]);
    let refresh = scene.agent.command(&["refresh"]);
    assert_eq!(refresh.code, 1, "{refresh:?}");
    assert!(refresh.out.contains("revoked since 2026-01-01"), "{refresh:?}");
    let revoked = scene.handshake("must.test").expect("a handshake");
    assert_eq!(revoked.worth, Worth::Revoked, "{revoked:?}");
    scene.clients_connect("plain.test");
}

/// What `cfssl ocspsign` signs about a leaf, base64.
fn cfssl_sign(folder: &Path, ca: &Identity, leaf: &Identity, status: &str) -> String {
    let delegate = ca.issue(Draft::delegate("cfssl"));
    let file = |name: &str, text: String| {
        fs::write(folder.join(name), text).expect("the folder is ours");
        name.to_owned()
    };
    let mut command = Command::new(program("cfssl"));
    command.current_dir(folder).args(["ocspsign", "-ca", &file("ca.pem", ca.pem())]);
    command.args(["-responder", &file("delegate.pem", delegate.pem())]);
    command.args(["-responder-key", &file("delegate.key", delegate.key_pem())]);
    command.args(["-cert", &file("leaf.pem", leaf.pem()), "-status", status, "-reason", "1"]);
    command.args(["-interval", "24h"]);
    let signed = command.stdin(Stdio::null()).output().expect("cfssl can be executed");
    let said = String::from_utf8_lossy(&signed.stdout);
    let response: Option<serde_json::Value> = serde_json::from_str(&said).ok();
    let response = response.as_ref().and_then(|said| said["ocspResponse"].as_str());
    response.unwrap_or_else(|| panic!("cfssl ocspsign: {signed:?}")).to_owned()
}

/// `cfssl ocspserve` with these responses.
fn cfssl_serve(folder: &Path, port: u16, responses: &[String]) -> Running {
    fs::write(folder.join("responses"), responses.join("\n")).expect("the folder is ours");
    let mut command = Command::new(program("cfssl"));
    command.current_dir(folder).args(["ocspserve", "-responses", "responses"]);
    listening(command.args(["-port", &port.to_string()]), port)
}

/// Signed beforehand by a delegate, thisUpdate rounded to the hour, no nonce ever, no GET.
#[test]
fn cfssl_with_a_nonce_tried() {
    let (folder, port) = (tempfile::tempdir().expect("a temp folder"), free_port());
    let url = format!("http://127.0.0.1:{port}/");
    let hosts = [asking(must("must.test"), &[&url]), asking(plain("plain.test"), &[&url])];
    let profile = "[[issuer]]\nmatch = { issuer = \"CN=E2E CA\" }\nnonce = \"try\"\n";
    let mut scene = Scene::new(0, &hosts, profile);
    let ca = scene.authority.intermediate.clone();
    let sign = |name: &str, status| cfssl_sign(folder.path(), &ca, scene.leaf(name), status);
    let good = [sign("must.test", "good"), sign("plain.test", "good")];
    let revoked = [sign("must.test", "revoked"), good[1].clone()];
    let running = cfssl_serve(folder.path(), port, &good);
    scene.start();
    scene.clients_connect("must.test");
    scene.clients_connect("plain.test");
    // The same bytes again: nothing is wrong with that.
    let refresh = scene.agent.command(&["refresh"]);
    assert_eq!(refresh.code, 0, "{refresh:?}");
    scene.clients_connect("must.test");

    drop(running);
    let _running = cfssl_serve(folder.path(), port, &revoked);
    let refresh = scene.agent.command(&["refresh"]);
    assert_eq!(refresh.code, 1, "{refresh:?}");
    let shown = scene.handshake("must.test").expect("a handshake");
    assert_eq!(shown.worth, Worth::Revoked, "the same thisUpdate and nextUpdate: {shown:?}");
    scene.clients_connect("plain.test");
}

/// A host with a responder of its own, which is in trouble until it is told what to do.
struct Odd {
    responder: Responder,
    name: &'static str,
}

impl Odd {
    fn new(name: &'static str) -> Odd {
        Odd { responder: Responder::start(|_| Reply::html(503)), name }
    }

    fn host(&self) -> Host {
        asking(must(self.name), &[&self.responder.url()])
    }

    /// Does this with each request; `script` is given a sound answer to it, good for a week.
    fn does(
        &self,
        scene: &Scene,
        mut script: impl FnMut(&Request, Vec<u8>) -> Reply + Send + 'static,
    ) {
        let leaf = scene.leaf(self.name).clone();
        self.responder.script(move |request| {
            let der = request.ocsp.as_deref().map(|der| answer(der, &[&leaf], now()));
            script(request, der.unwrap_or_default())
        });
    }
}

fn asks_by_sha1(request: &Request) -> bool {
    let asked = request.ocsp.as_deref().map(Question::of);
    asked.is_some_and(|asked| asked.claim.issuer_name_hash.len() == 20)
}

fn has_nonce(request: &Request) -> bool {
    request.ocsp.as_deref().map(Question::of).is_some_and(|asked| asked.nonce.is_some())
}

#[test]
fn odd_responders_are_understood() {
    let dead = format!("http://127.0.0.1:{}/", free_port());
    let error = Odd::new("http-error.test");
    let sha256 = Odd::new("only-sha256.test");
    let sha256_files = Odd::new("sha256-files.test");
    let post = Odd::new("only-post.test");
    let moved = Odd::new("moved.test");
    let second = Odd::new("second-url.test");
    let slow = Odd::new("slow.test");
    let plain_text = Odd::new("plain-text.test");
    let no_nonce = Odd::new("no-nonce.test");
    let no_nonce_breaks = Odd::new("no-nonce-breaks.test");
    let by_name = |odd: &Odd| format!("http://localhost:{}/", odd.responder.port());
    let hosts = [
        error.host(),
        sha256.host(),
        sha256_files.host(),
        post.host(),
        moved.host(),
        asking(must(second.name), &[&dead, &second.responder.url()]),
        slow.host(),
        plain_text.host(),
        asking(must(no_nonce.name), &[&by_name(&no_nonce)]),
        asking(must(no_nonce_breaks.name), &[&by_name(&no_nonce_breaks)]),
    ];
    let profile = "[[issuer]]\nmatch = { ocsp_host = \"localhost\" }\nnonce = \"try\"\n";
    let mut scene = Scene::new(0, &hosts, profile);
    error.does(&scene, |_, der| Reply::ocsp(der).status(500));
    sha256.does(&scene, |request, der| match asks_by_sha1(request) {
        true => Reply::ocsp(refusal(6)),
        false => Reply::ocsp(der),
    });
    sha256_files.does(&scene, |request, der| match asks_by_sha1(request) {
        true => Reply::html(404),
        false => Reply::ocsp(der),
    });
    post.does(&scene, |request, der| match request.method.as_str() {
        "POST" => Reply::ocsp(der),
        _ => Reply::html(405),
    });
    moved.does(&scene, |request, der| match request.target.strip_prefix("/new") {
        Some(_) => Reply::ocsp(der),
        None => Reply::redirect(302, &format!("/new{}", request.target)),
    });
    second.does(&scene, |_, der| Reply::ocsp(der));
    slow.does(&scene, |_, der| Reply::ocsp(der).after(Duration::from_secs(4)));
    plain_text.does(&scene, |_, der| Reply::http(200, "text/plain", der));
    no_nonce.does(&scene, |request, der| match has_nonce(request) {
        true => Reply::ocsp(refusal(1)),
        false => Reply::ocsp(der),
    });
    no_nonce_breaks.does(&scene, |request, der| match has_nonce(request) {
        true => Reply::Reset,
        false => Reply::ocsp(der),
    });
    scene.start();
    for host in &hosts {
        let shown = scene.handshake(&host.name).expect("a handshake");
        assert_eq!(shown.worth, Worth::Good, "{}: {shown:?}", host.name);
    }
    for name in ["no-nonce.test", "second-url.test"] {
        scene.clients_connect(name);
    }
    // curl looks for a SHA-1 CertID only, whatever anybody does; gnutls computes whichever it finds.
    assert_eq!(scene.gnutls("only-sha256.test"), Ok(()));

    // It has learned SHA-1 since: what was remembered of a responder does not bind it.
    sha256.does(&scene, |request, der| match asks_by_sha1(request) {
        true => Reply::ocsp(der),
        false => Reply::ocsp(refusal(6)),
    });
    let refresh = scene.agent.command(&["refresh"]);
    assert_eq!(refresh.code, 0, "{refresh:?}");
}

#[test]
fn what_is_wrong_with_a_responder_is_said() {
    let html = Odd::new("html.test");
    let huge = Odd::new("huge.test");
    let hangs = Odd::new("hangs.test");
    let maze = Odd::new("maze.test");
    let metadata = Odd::new("metadata.test");
    let vault = Odd::new("vault.test");
    let other = Odd::new("other.test");
    let breaks = Odd::new("breaks.test");
    let later = Odd::new("later.test");
    let expired = Odd::new("expired.test");
    let unknown = Odd::new("unknown.test");
    let sound = Odd::new("sound.test");
    let expected = [
        (&html, "HTTP 200 with text/html of 52 bytes instead of an OCSP response"),
        (&huge, "the answer exceeds 65536 bytes"),
        (&hangs, "no answer within 10s"),
        (&maze, "more than 3 redirects"),
        (&metadata, "169.254.169.254, which must not be asked"),
        (&vault, "answers unauthorized"),
        (&other, "answer refused: answers for serial"),
        (&breaks, "the answer broke off"),
        (&later, "answers tryLater"),
        (&expired, "answer refused: nextUpdate"),
        (&unknown, "does not know the certificate"),
    ];
    let hosts: Vec<Host> = expected
        .iter()
        .map(|(odd, _)| Host {
            draft: Draft { must_staple: false, ..odd.host().draft },
            ..odd.host()
        })
        .chain([sound.host()])
        .collect();
    let mut scene = Scene::new(0, &hosts, "");
    html.does(&scene, |_, _| Reply::html(200));
    huge.does(&scene, |_, _| Reply::huge(10 << 20));
    hangs.does(&scene, |_, _| Reply::Hang);
    maze.does(&scene, |request, _| Reply::redirect(302, &format!("/deeper{}", request.target)));
    metadata.does(&scene, |_, _| Reply::redirect(302, "http://169.254.169.254/latest"));
    vault.does(&scene, |_, _| Reply::ocsp(refusal(6)).status(401));
    let stranger = scene.authority.issue(Draft::leaf("stranger.test"));
    other.does(&scene, move |_, _| Reply::ocsp(Forge::new(&stranger, now()).der()));
    breaks.does(&scene, |_, _| Reply::Reset);
    later.does(&scene, |_, _| Reply::ocsp(refusal(3)));
    let leaf = scene.leaf("expired.test").clone();
    let day = Duration::from_secs(86_400).as_secs() as i64;
    expired.does(&scene, move |_, _| {
        let old = Forge::new(&leaf, now()).from(now() - 8 * day).until(Some(now() - day));
        Reply::ocsp(old.der())
    });
    let leaf = scene.leaf("unknown.test").clone();
    unknown.does(&scene, move |_, _| {
        Reply::ocsp(Forge::new(&leaf, now()).status(ca::Said::Unknown).der())
    });
    sound.does(&scene, |_, der| Reply::ocsp(der));
    scene.agent.start();
    scene.nginx.start();
    // One that hangs holds nobody else up.
    scene.clients_connect("sound.test");
    let all_failed = |status: &Document| {
        expected.iter().all(|(odd, _)| certificate(status, odd.name).last_error.is_some())
    };
    let status = scene.agent.wait_until("every one to fail", all_failed);
    for (odd, words) in expected {
        let one = certificate(&status, odd.name);
        let error = one.last_error.as_deref().expect("it failed");
        assert!(error.contains(words), "{}: {error}", odd.name);
        assert!(error.contains(&odd.responder.url()), "it says where: {error}");
        assert_eq!((one.state, one.targets[0].published), (State::Waiting, Published::Placeholder));
    }
    assert_eq!(scene.gnutls("hangs.test"), Ok(()), "no staple, and none is demanded");

    let begun = Instant::now();
    let refresh = scene.agent.command(&["refresh"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(refresh.code, 1, "{refresh:?}");
    for (odd, words) in expected {
        let line = refresh.out.lines().find(|line| line.starts_with(odd.name));
        let line = line.unwrap_or_else(|| panic!("a line about {}: {refresh:?}", odd.name));
        assert!(line.contains("FAILED") && line.contains(words), "{line}");
    }
    let line = refresh.out.lines().find(|line| line.starts_with("sound.test"));
    assert!(line.is_some_and(|line| line.contains("ok")), "{refresh:?}");
    assert!(refresh.err.contains("1 of 12 certificates"), "{}", refresh.err);
}

#[test]
fn an_older_answer_never_replaces_a_newer_one() {
    let mut scene = Scene::new(3_600, &[must("must.test")], "");
    let leaf = scene.leaf("must.test").clone();
    scene.start();
    let mut newest = scene.handshake("must.test").expect("a handshake").this_update;
    for (age, life) in [(600, 7_200), (1_800, 86_400), (0, 3_600), (900, 86_400), (0, 3_600)] {
        let from = now() - age;
        scene.authority.says(&leaf, Answer::Between(from, from + life));
        let refresh = scene.agent.command(&["refresh"]);
        assert_eq!(refresh.code, 0, "what is held is good and current: {refresh:?}");
        let shown = scene.handshake("must.test").expect("a handshake");
        assert_eq!(shown.worth, Worth::Good, "{shown:?}");
        assert!(shown.this_update >= newest, "{:?} after {newest:?}", shown.this_update);
        newest = newest.max((age == 0).then_some(from));
        assert_eq!(shown.this_update, newest);
    }
}

/// CAs issue first and tell their responders later.
#[test]
fn a_responder_that_does_not_know_a_new_certificate_yet_is_asked_again_soon() {
    let mut scene = Scene::new(3_600, &[must("must.test")], "");
    let leaf = scene.leaf("must.test").clone();
    scene.authority.says(&leaf, Answer::Unauthorized);
    scene.agent.start();
    scene.nginx.start();
    let status = scene
        .agent
        .wait_until("the failure", |status| certificate(status, "must.test").failures > 0);
    let one = certificate(&status, "must.test");
    let error = one.last_error.as_deref().expect("it failed");
    assert!(error.contains("unauthorized"), "{error}");
    assert_eq!(one.state, State::Waiting);
    let next = one.next_attempt.expect("it will be asked again");
    assert!(next.since(status.at) <= Duration::from_secs(61), "{one:#?}");
    scene.authority.says(&leaf, Answer::Status(ca::Said::Good));
    scene.agent.wait_at_most(Duration::from_secs(90), "a staple", |status| {
        certificate(status, "must.test").targets[0].loaded == Some(Published::Staple)
    });
    scene.clients_connect("must.test");
}
