//! `staplekeeper probe` as a user has it, against real servers, its verdicts beside gnutls-cli's.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::ca::{self, DAY, Draft, Forge, HOUR, Identity, Said};
use crate::support::nginx::{Nginx, Site};
use crate::support::port::free_port;
use crate::support::program::program;

/// Exit status, standard output, standard error.
struct Outcome {
    status: i32,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().expect("it can be executed");
    Outcome {
        status: output.status.code().expect("it exits"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn probe(arguments: &[&str]) -> Outcome {
    run(Command::new(env!("CARGO_BIN_EXE_staplekeeper")).arg("probe").args(arguments))
}

/// Whether gnutls, which judges staples by itself, would connect; with what it says.
fn gnutls(name: &str, port: u16, ca: &Path) -> (bool, String) {
    let mut command = Command::new(program("gnutls-cli"));
    command.args(["--sni-hostname", name, "--verify-hostname", name]);
    command.args(["--port", &port.to_string(), "--x509cafile"]).arg(ca).arg("127.0.0.1");
    let Outcome { status, out, err } = run(&mut command);
    (status == 0, out + &err)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

/// A root, a CA below it, and `root.pem` in the folder.
fn authority(nginx: &Nginx) -> Identity {
    let root = Identity::root("Probe Root");
    nginx.write("root.pem", root.pem());
    root.issue(Draft::authority("Probe CA"))
}

fn install(nginx: &Nginx, stem: &str, leaf: &Identity, staple: Option<&[u8]>) {
    nginx.write(&format!("{stem}.pem"), leaf.chain_pem());
    nginx.write(&format!("{stem}.key"), leaf.key_pem());
    if let Some(staple) = staple {
        nginx.write(&format!("{stem}.der"), staple);
    }
}

/// What is stapled, whether a strict client connects with and without Must-Staple, whether gnutls
/// disagrees, and what the reason says.
const TABLE: &[(&str, [bool; 2], bool, &str)] = &[
    ("none", [false, true], false, "demands a staple (RFC 7633) and none came"),
    ("good", [true, true], false, ""),
    ("delegated", [true, true], false, ""),
    ("expired", [false, false], false, "the staple is refused: nextUpdate"),
    (
        "try-later",
        [false, true],
        false,
        "demands a staple (RFC 7633) and an unsigned tryLater came",
    ),
    ("other", [false, false], false, "the staple is refused: answers for serial"),
    ("revoked", [false, false], false, "says that the certificate is revoked"),
    // facts/servers.md 66: gnutls has no objection.
    ("unknown", [false, false], true, "does not know the certificate"),
    ("broken", [false, false], false, "the staple is refused: "),
    ("stranger", [false, false], false, "the staple is refused: is signed by"),
];

#[test]
fn verdicts_agree_with_gnutls() {
    let mut nginx = Nginx::new();
    let (ca, now, port) = (authority(&nginx), now(), free_port());
    let delegate = ca.issue(Draft::delegate("Responder"));
    let stranger = Identity::root("Stranger");
    let mut blocks = String::new();
    let rows = TABLE.iter().flat_map(|row| [(row, true), (row, false)]);
    for ((staple, ..), must_staple) in rows.clone() {
        let name = host(staple, must_staple);
        let leaf = ca.issue(Draft { must_staple, ..Draft::leaf(&name) });
        let other = ca.issue(Draft::leaf(&name));
        let good = || Forge::new(&leaf, now);
        let der = match *staple {
            "none" => None,
            "good" => Some(good().der()),
            "delegated" => Some(good().delegated(&delegate).der()),
            "expired" => Some(good().from(now - 8 * DAY).until(Some(now - HOUR)).der()),
            "try-later" => Some(ca::refusal(3)),
            "other" => Some(Forge::new(&other, now).der()),
            "revoked" => {
                let said = Said::Revoked { time: now - DAY, reason: Some(1) };
                Some(good().status(said).der())
            }
            "unknown" => Some(good().status(Said::Unknown).der()),
            "broken" => {
                let mut der = good().der();
                // Inside the last INTEGER of the ECDSA signature.
                let at = der.len() - 4;
                der[at] ^= 1;
                Some(der)
            }
            "stranger" => Some(Forge { signer: &stranger, ..good() }.der()),
            unheard_of => panic!("{unheard_of} is not in the table"),
        };
        install(&nginx, &name, &leaf, der.as_deref());
        let [certificate, key, file] = ["pem", "key", "der"].map(|end| format!("{name}.{end}"));
        let staple = der.is_some().then_some(file.as_str());
        let (certificate, key) = (certificate.as_str(), key.as_str());
        let site = Site { port, names: &name, certificate, key, staple, ..Site::default() };
        blocks += &site.to_string();
    }
    nginx.http(&blocks).start();
    let root = nginx.path("root.pem");
    for ((staple, expected, gnutls_disagrees, reason), must_staple) in rows {
        let name = host(staple, must_staple);
        let expected = expected[usize::from(!must_staple)];
        let to = format!("127.0.0.1:{port}");
        let found = probe(&[&name, "--connect", &to, "--ca", &root.display().to_string()]);
        let Outcome { status, out, err } = found;
        assert_eq!(status, i32::from(!expected), "{name}: {out}{err}");
        assert!(expected || err.contains(reason), "{name}: {err}");
        assert!(!expected || err.is_empty(), "{name}: {err}");
        let (connects, said) = gnutls(&name, port, &root);
        assert_eq!(connects, expected != *gnutls_disagrees, "{name}: {said}");
    }
}

fn host(staple: &str, must_staple: bool) -> String {
    format!("{staple}.{}.test", if must_staple { "must-staple" } else { "plain" })
}

#[test]
fn facts_are_printed() {
    let mut nginx = Nginx::new();
    let (ca, now, port) = (authority(&nginx), now(), free_port());
    let leaf = ca.issue(Draft { must_staple: true, ..Draft::leaf("www.test") });
    install(&nginx, "www", &leaf, Some(&Forge::new(&leaf, now).der()));
    let socket = nginx.path("sock").display().to_string();
    let more = format!("listen unix:{socket} ssl; ssl_protocols TLSv1.2 TLSv1.3;");
    let site = Site {
        port,
        certificate: "www.pem",
        key: "www.key",
        staple: Some("www.der"),
        more: &more,
        ..Site::default()
    };
    nginx.http(&site.to_string()).start();
    let root = nginx.path("root.pem").display().to_string();
    let to = format!("127.0.0.1:{port}");
    let Outcome { out, .. } = probe(&["www.test", "--connect", &to, "--ca", &root]);
    for line in [
        &format!("host         www.test at {to}\n"),
        "protocol     TLSv1.3, handshake in ",
        "certificate  CN=www.test (P-256, serial ",
        "issuer       CN=Probe CA\n",
        "must-staple  yes\n",
        "staple       good, ",
        "signer       CN=Probe CA\n",
        "thisUpdate   ",
        "(1h ago)\nnextUpdate   ",
        "(in 6d 2",
        "verdict      a strict client would connect: Must-Staple is honoured\n",
    ] {
        assert!(out.contains(line), "{line:?} is missing:\n{out}");
    }
    let unix = format!("unix:{socket}");
    let json = probe(&["www.test:443", "--connect", &unix, "--ca", &root, "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(report["schema"], 1);
    assert_eq!(report["verdict"], "connects");
    assert_eq!(report["address"], unix);
    assert_eq!(report["tls_version"], "TLSv1.3");
    assert_eq!(report["chain_length"], 2);
    assert_eq!(report["certificate"]["must_staple"], true);
    assert_eq!(report["staple"]["kind"], "proven");
    assert_eq!(report["staple"]["status"], "good");
    assert_eq!(report["staple"]["bytes"], fs::read(nginx.path("www.der")).expect("ours").len());

    // Everything is in order but whom it is for, or who says so.
    let other = probe(&["other.test", "--connect", &to, "--ca", &root]);
    assert_eq!(other.status, 1);
    assert!(other.err.contains("not valid for name \"other.test\""), "{}", other.err);
    let stranger = nginx.write("stranger.pem", Identity::root("Stranger").pem());
    let untrusted = probe(&["www.test", "--connect", &to, "--ca", &stranger.display().to_string()]);
    assert_eq!(untrusted.status, 1);
    assert!(untrusted.err.contains("UnknownIssuer"), "{}", untrusted.err);
}

#[test]
fn openssl_servers_are_understood() {
    let folder = Nginx::new();
    let (ca, now) = (authority(&folder), now());
    let leaf = ca.issue(Draft { must_staple: true, ..Draft::leaf("www.test") });
    let revoked = Said::Revoked { time: now - DAY, reason: Some(1) };
    let root = folder.path("root.pem").display().to_string();
    for (version, staple, expected) in [
        ("-tls1_2", Forge::new(&leaf, now).der(), (0, "TLSv1.2")),
        ("-tls1_3", Forge::new(&leaf, now).der(), (0, "TLSv1.3")),
        ("-tls1_2", Forge::new(&leaf, now).status(revoked.clone()).der(), (1, "keyCompromise")),
        ("-tls1_3", Forge::new(&leaf, now).status(revoked).der(), (1, "keyCompromise")),
    ] {
        install(&folder, "www", &leaf, Some(&staple));
        fs::write(folder.path("ca.pem"), ca.pem()).expect("the folder is ours");
        let server = Server::start(&folder, version);
        let found = server.probe(&["--ca", &root]);
        let (status, needle) = expected;
        assert_eq!(found.status, status, "{version}: {}{}", found.out, found.err);
        assert!(found.out.contains(needle), "{}", found.out);
    }
    // The issuer is not presented: it is found among the trusted.
    fs::write(folder.path("www.pem"), leaf.pem()).expect("the folder is ours");
    fs::write(folder.path("ca.pem"), "").expect("the folder is ours");
    install_staple(&folder, &Forge::new(&leaf, now).der());
    let both =
        folder.write("both.pem", [ca.pem(), fs::read_to_string(root).expect("ours")].concat());
    let server = Server::start(&folder, "-tls1_3");
    let found = server.probe(&["--ca", &both.display().to_string()]);
    assert_eq!(found.status, 0, "{}{}", found.out, found.err);
}

fn install_staple(folder: &Nginx, der: &[u8]) {
    folder.write("www.der", der);
}

/// `openssl s_server`, ended with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Nginx, version: &str) -> Server {
        let port = free_port();
        let mut command = Command::new(program("openssl"));
        command.args(["s_server", "-quiet", version, "-accept", &port.to_string()]);
        command.arg("-cert").arg(folder.path("www.pem"));
        command.arg("-key").arg(folder.path("www.key"));
        command.arg("-status_file").arg(folder.path("www.der"));
        if fs::read(folder.path("ca.pem")).is_ok_and(|pem| !pem.is_empty()) {
            command.arg("-cert_chain").arg(folder.path("ca.pem"));
        }
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Server { child: quiet.spawn().expect("openssl can be executed"), port }
    }

    /// Probes it, as soon as it listens.
    fn probe(&self, arguments: &[&str]) -> Outcome {
        let to = format!("127.0.0.1:{}", self.port);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = probe(&[&["www.test", "--connect", &to], arguments].concat());
            if found.status != 5 || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn other_exit_statuses() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let folder = tempfile::tempdir().expect("a temp folder");
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, Identity::root("Nobody").pem()).expect("the folder is ours");
    let ca = ca.display().to_string();
    let refused = probe(&["www.test", "--connect", &nobody, "--ca", &ca]);
    assert_eq!(refused.status, 5, "{}", refused.err);
    assert!(refused.err.contains(&format!("{nobody}: cannot connect")), "{}", refused.err);
    let unheard_of = probe(&["no-such-host.invalid", "--ca", &ca]);
    assert_eq!(unheard_of.status, 5, "{}", unheard_of.err);
    assert!(unheard_of.err.contains("no-such-host.invalid: no such host"), "{}", unheard_of.err);
    assert_eq!(probe(&["www.test:http", "--ca", &ca]).status, 2);
    assert_eq!(probe(&[]).status, 2);
    let unreadable = probe(&["www.test", "--ca", "/no/such/file.pem"]);
    assert_eq!(unreadable.status, 2);
    assert!(unreadable.err.contains("/no/such/file.pem: "), "{}", unreadable.err);
}
