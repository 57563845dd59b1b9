//! Debian's `pebble`, an ACME CA, with an OCSP responder for what it issues: `openssl ocsp` with the key
//! that pebble's management port hands out, behind a front that knows a new certificate only some time
//! after it was issued, as those of real CAs do.
//!
//! pebble takes every challenge for fulfilled: what it validates is not what is tested here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ca::{Draft, Identity, Question, refusal};
use super::daemon::Daemon;
use super::port::free_port;
use super::program::program;
use super::responder::{Reply, Request, Responder};

/// The CA, running.
pub struct Pebble {
    folder: Arc<TempDir>,
    port: u16,
    book: Arc<Mutex<Book>>,
    _responder: Responder,
    _daemon: Daemon,
}

/// What the front of the responder knows.
#[derive(Default)]
struct Book {
    gap: Duration,
    /// When each serial number was first asked about, and how often it was called unknown.
    asked: BTreeMap<String, (Instant, usize)>,
}

impl Pebble {
    /// Starts CA and responder on free loopback ports.
    pub fn start() -> Pebble {
        let folder = tempfile::Builder::new().prefix("pebble-").tempdir().expect("a temp folder");
        let folder = Arc::new(folder);
        let path = |name: &str| folder.path().join(name);
        let root = Identity::root("Pebble's own CA");
        let own = root.issue(Draft::leaf("localhost"));
        fs::write(path("root.pem"), root.pem()).expect("ours");
        fs::write(path("own.pem"), own.chain_pem()).expect("ours");
        fs::write(path("own.key"), own.key_pem()).expect("ours");
        let (port, management) = (free_port(), free_port());
        let book = Arc::<Mutex<Book>>::default();
        let (read, within) = (book.clone(), folder.clone());
        let responder = Responder::start(move |request| {
            answer(request, within.path(), management, &mut read.lock().expect("nobody panics"))
        });
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("own.pem"),
            "privateKey": path("own.key"),
            "httpPort": free_port(),
            "tlsPort": free_port(),
            "ocspResponderURL": responder.url(),
        }});
        fs::write(path("config.json"), config.to_string()).expect("ours");
        let mut command = Command::new(program("pebble"));
        command.arg("-config").arg(path("config.json"));
        let variables = [
            ("PEBBLE_VA_ALWAYS_VALID", "1"),
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "0"),
        ];
        let daemon = Daemon::start(command.envs(variables), &path("log"), port);
        for (name, what) in
            [("issuer.pem", "intermediates/0"), ("issuer.key", "intermediate-keys/0")]
        {
            let text = get(folder.path(), management, what).expect("pebble hands it out");
            fs::write(path(name), text).expect("ours");
        }
        Pebble { folder, port, book, _responder: responder, _daemon: daemon }
    }

    /// The URL of the ACME directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The CA that issued pebble's own certificate, PEM: for clients to trust.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// From now on a certificate is unknown to the responder for so long.
    pub fn publication_gap(&self, gap: Duration) {
        self.book.lock().expect("nobody panics").gap = gap;
    }

    /// How often a certificate was not known yet, for each that was asked about.
    pub fn unauthorized(&self) -> Vec<usize> {
        let book = self.book.lock().expect("nobody panics");
        book.asked.values().map(|(_, times)| *times).collect()
    }
}

fn answer(request: &Request, folder: &Path, management: u16, book: &mut Book) -> Reply {
    let Some(der) = &request.ocsp else { return Reply::html(404) };
    let serial = Question::of(der).claim.serial;
    let serial: String =
        serial.iter().skip_while(|byte| **byte == 0).map(|b| format!("{b:02X}")).collect();
    let gap = book.gap;
    let (since, times) = book.asked.entry(serial.clone()).or_insert_with(|| (Instant::now(), 0));
    let status =
        get(folder, management, &format!("cert-status-by-serial/{}", serial.to_lowercase()));
    if since.elapsed() < gap || !status.is_some_and(|status| status.contains("\"Valid\"")) {
        *times += 1;
        return Reply::ocsp(refusal(6));
    }
    let path = |name: &str| folder.join(name);
    let entry = format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=whatever\n");
    fs::write(path("index.txt"), entry).expect("ours");
    fs::write(path("request.der"), der).expect("ours");
    let mut openssl = Command::new(program("openssl"));
    openssl.current_dir(folder).args(["ocsp", "-index", "index.txt", "-CA", "issuer.pem"]);
    openssl.args(["-rsigner", "issuer.pem", "-rkey", "issuer.key", "-nmin", "60"]);
    openssl.args(["-reqin", "request.der", "-respout", "response.der"]);
    let said = openssl.output().expect("openssl can be executed");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Reply::ocsp(fs::read(path("response.der")).expect("it was written"))
}

/// What pebble's management port says, if it says something.
fn get(folder: &Path, port: u16, what: &str) -> Option<String> {
    let mut curl = Command::new(program("curl"));
    curl.args(["--silent", "--fail", "--retry", "5", "--retry-connrefused", "--cacert"]);
    curl.arg(folder.join("root.pem")).arg(format!("https://localhost:{port}/{what}"));
    let said = curl.output().expect("curl can be executed");
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
}
