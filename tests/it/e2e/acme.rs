//! The real ACME flow: Debian's clients renew at Debian's pebble and reload nginx by the shipped hooks,
//! while the CA's responder does not know the new certificate yet. A strict client that connects all
//! the while sees the old certificate with its staple, then the new one with its own, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use staplekeeper::agent::status::Served;
use staplekeeper::confirm::{Address, Look, look};
use staplekeeper::digest::{Digest, Fingerprint};
use staplekeeper::ocsp::{self, Response, Rules, Status};
use staplekeeper::pki::pem::read_certificates;
use staplekeeper::pki::{Certificate, Issued};
use staplekeeper::time::UnixTime;
use tempfile::TempDir;

use crate::support::agent::{Agent, eventually};
use crate::support::nginx::{Nginx, Site};
use crate::support::pebble::Pebble;
use crate::support::port::free_port;
use crate::support::program::program;

const NAME: &str = "www.acme.test";
/// How long the CA's responder does not know a renewed certificate.
const GAP: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Certbot,
    Lego,
    Dehydrated,
}

/// A host whose certificate comes from pebble.
struct Host {
    client: Client,
    pebble: Pebble,
    agent: Agent,
    nginx: Nginx,
    port: u16,
    folder: TempDir,
    /// For the hook, where its own would be too short.
    deadline: Option<&'static str>,
}

impl Host {
    fn new(client: Client) -> Host {
        let folder = tempfile::Builder::new().prefix("acme-").tempdir().expect("a temp folder");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("ours");
        let (pebble, agent, nginx) = (Pebble::start(), Agent::new(), Nginx::new());
        Host { client, pebble, agent, nginx, port: free_port(), folder, deadline: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is watched, and the chain and the key in it.
    fn files(&self) -> (PathBuf, PathBuf, PathBuf) {
        let (watched, chain, key) = match self.client {
            Client::Certbot => {
                ("etc/live", format!("{NAME}/fullchain.pem"), format!("{NAME}/privkey.pem"))
            }
            Client::Lego => ("certificates", format!("{NAME}.crt"), format!("{NAME}.key")),
            Client::Dehydrated => {
                ("certs", format!("{NAME}/fullchain.pem"), format!("{NAME}/privkey.pem"))
            }
        };
        let watched = self.path(watched);
        (watched.clone(), watched.join(chain), watched.join(key))
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("ours");
        fs::write(&path, format!("#!/bin/sh\nset -eu\n{text}\n")).expect("ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path
    }

    /// Puts the shipped hook where the client looks for it, and what reloads nginx behind it.
    fn set_up_hooks(&self) -> String {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/acme");
        let reload = format!("kill -HUP \"$(cat {})\"", self.nginx.pid_file().display());
        match self.client {
            Client::Certbot => {
                let hooks = "etc/renewal-hooks/deploy";
                self.script(&format!("{hooks}/50-reload"), &reload);
                let own = self.path(&format!("{hooks}/00-staplekeeper"));
                fs::copy(shipped.join("certbot"), own).expect("it is shipped");
                String::new()
            }
            Client::Lego => {
                let reload = self.script("reload", &reload);
                format!("{} {}", shipped.join("lego").display(), reload.display())
            }
            Client::Dehydrated => {
                let reload = format!("[ \"$1\" != deploy_cert ] || {reload}");
                self.script("hooks.d/reload", &reload);
                shipped.join("dehydrated").display().to_string()
            }
        }
    }

    /// The client's command line for a first certificate, or for another in its place.
    fn command(&self, renew: bool, hook: &str) -> Command {
        let (directory, root) = (self.pebble.directory(), self.pebble.root());
        let path = |name: &str| self.path(name).display().to_string();
        let http = free_port().to_string();
        let mut command = match self.client {
            Client::Certbot => {
                let mut certbot = Command::new(program("certbot"));
                certbot.args(if renew {
                    &["renew", "--force-renewal", "--cert-name", NAME][..]
                } else {
                    &["certonly", "--standalone", "-d", NAME, "--register-unsafely-without-email"]
                });
                certbot.args([
                    "-n",
                    "--agree-tos",
                    "--no-random-sleep-on-renew",
                    "--server",
                    &directory,
                ]);
                certbot.args(["--http-01-port", &http, "--config-dir", &path("etc")]);
                certbot.args(["--work-dir", &path("work"), "--logs-dir", &path("logs")]);
                certbot.env("REQUESTS_CA_BUNDLE", root);
                certbot
            }
            Client::Lego => {
                let mut lego = Command::new(program("lego"));
                lego.args(["--accept-tos", "--email", "a@acme.test", "--domains", NAME, "--http"]);
                lego.args(["--http.port", &format!(":{http}"), "--server", &directory]);
                lego.args(["--path", &path("")]);
                let renewal =
                    ["renew", "--days", "99999", "--no-random-sleep", "--renew-hook", hook];
                lego.args(if renew { &renewal[..] } else { &["run"] });
                lego.env("LEGO_CA_CERTIFICATES", root);
                lego
            }
            Client::Dehydrated => {
                let config = format!(
                    "CA={directory}\nBASEDIR={}\nWELLKNOWN={}\nHOOK={hook}\nCURL_OPTS='--cacert {}'\n",
                    path(""),
                    path("wellknown"),
                    root.display(),
                );
                fs::create_dir_all(self.path("wellknown")).expect("ours");
                fs::write(self.path("config"), config).expect("ours");
                let mut dehydrated = Command::new("sh");
                let program = program("dehydrated").display().to_string();
                let words = format!(
                    "{program} --config {0} --register --accept-terms && {program} --config {0} -c -d {NAME} {1}",
                    path("config"),
                    if renew { "-x" } else { "" },
                );
                dehydrated.args(["-c", &words]).env("DEHYDRATED_HOOKS_D", self.path("hooks.d"));
                dehydrated
            }
        };
        let binary = Path::new(env!("CARGO_BIN_EXE_staplekeeper"));
        let ours = binary.parent().expect("it lies in a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{ours}:{path}"))
            .env("STAPLEKEEPER_CONFIG", self.agent.config());
        command
    }

    fn run(&self, renew: bool, hook: &str) {
        let mut command = self.command(renew, hook);
        command.envs(self.deadline.map(|length| ("STAPLEKEEPER_DEADLINE", length)));
        let said = command.output().expect("it can be executed");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}: {}{}", said.status, text(&said.stdout), text(&said.stderr));
        eprintln!("{:?}: {said}", self.client);
        assert!(said.starts_with("exit status: 0"), "{said}");
    }

    fn start(&mut self) {
        let (watched, chain, key) = self.files();
        let (chain, key) = (chain.display().to_string(), key.display().to_string());
        let staple = self.path("staple.der").display().to_string();
        let site = Site {
            port: self.port,
            names: NAME,
            certificate: &chain,
            key: &key,
            staple: Some(&staple),
            ..Site::default()
        };
        self.nginx.http(&site.to_string());
        self.agent.configure(&format!(
            "[[watch]]\npath = \"{}\"\n[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\nreload = \"signal:{}\"\n",
            watched.display(), self.nginx.configuration().display(), self.nginx.pid_file().display(),
        ));
        self.agent.start();
        self.nginx.start();
        self.agent.wait_until("the first staple to be served", |now| {
            now.certificates.len() == 1 && now.certificates[0].served == Some(Served::Match)
        });
    }
}

/// Makes strict handshakes until it is asked what they showed.
struct Strict {
    shown: Arc<Mutex<Shown>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What a strict client saw.
#[derive(Debug, Default)]
struct Shown {
    handshakes: usize,
    leaves: BTreeSet<Fingerprint>,
    /// Why it would have gone no further.
    bad: Vec<String>,
}

impl Strict {
    fn start(port: u16) -> Strict {
        let (shown, stop) = (Arc::<Mutex<Shown>>::default(), Arc::<AtomicBool>::default());
        let (book, told) = (shown.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                let one = handshake_with(port);
                let mut book = book.lock().expect("nobody panics with it");
                book.handshakes += 1;
                match one {
                    Ok(leaf) => {
                        book.leaves.insert(leaf);
                    }
                    Err(why) => book.bad.push(why),
                }
                drop(book);
                thread::sleep(Duration::from_millis(3));
            }
        });
        Strict { shown, stop, thread }
    }

    /// Whether it was shown this certificate with its staple.
    fn has_seen(&self, leaf: &Fingerprint) -> bool {
        self.shown.lock().expect("nobody panics with it").leaves.contains(leaf)
    }

    fn end(self) -> Shown {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("it does not panic");
        mem::take(&mut self.shown.lock().expect("nobody panics with it"))
    }
}

/// One handshake; an error unless a good staple of the very certificate came with it.
async fn handshake(port: u16) -> Result<Fingerprint, String> {
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let wanted = Look { server_name: Some(NAME.to_owned()), ..Look::at(address) };
    let seen = look(&wanted).await.map_err(|error| error.to_string())?;
    let read = |at: usize| seen.chain.get(at).and_then(|der| Certificate::from_der(der).ok());
    let (leaf, issuer) = read(0).zip(read(1)).ok_or("no chain")?;
    let fingerprint = Digest::of(&seen.chain[0]);
    let issued =
        Issued::prove(Arc::new(leaf), Arc::new(issuer)).map_err(|error| error.to_string())?;
    let staple = seen.staple.ok_or("no staple")?;
    let response = Response::decode(&staple).map_err(|error| error.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970").as_secs();
    let now = UnixTime::from_secs(i64::try_from(now).expect("it fits"));
    let staple = ocsp::verify(response, &issued, &Rules::default(), now);
    let staple = staple.map_err(|rejection| rejection.to_string())?;
    match staple.status() {
        Status::Good => Ok(fingerprint),
        status => Err(format!("{status:?}")),
    }
}

fn handshake_with(port: u16) -> Result<Fingerprint, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(handshake(port))
}

fn renewed_by(client: Client, gap: Duration) {
    let mut host = Host::new(client);
    // Without Must-Staple the hook waits for half a minute.
    host.deadline = (gap > GAP).then_some("5m");
    // The first certificate comes before the agent and nginx: no hook yet.
    host.run(false, "");
    host.start();
    let hook = host.set_up_hooks();
    host.pebble.publication_gap(gap);
    let strict = Strict::start(host.port);
    let before = fs::read(host.files().1).expect("it was issued");
    host.run(true, &hook);
    assert_ne!(fs::read(host.files().1).expect("it was issued"), before, "it was not renewed");
    let chain = fs::read(host.files().1).expect("it was issued");
    let leaf = read_certificates(&chain).expect("PEM").swap_remove(0).fingerprint();
    // A worker of before the reload may still take a connection after one of the new ones did.
    let served = || {
        let status = host.agent.status().expect("it runs");
        let one = &status.certificates[0];
        strict.has_seen(&leaf)
            && status.certificates.len() == 1
            && one.served == Some(Served::Match)
    };
    eventually("the new certificate to be served with its staple", served);
    assert_eq!(host.nginx.reloads(), 1, "the client's own");
    let shown = strict.end();
    eprintln!("{client:?}: {} handshakes, {} certificates", shown.handshakes, shown.leaves.len());
    assert!(shown.bad.is_empty(), "{shown:#?}");
    assert_eq!(shown.leaves.len(), 2, "the old one, then the new one: {shown:#?}");
    assert!(host.pebble.unauthorized().iter().any(|times| *times > 0), "there was a gap");
}

#[test]
fn renewed_by_certbot() {
    renewed_by(Client::Certbot, GAP);
}

#[test]
fn renewed_by_lego() {
    renewed_by(Client::Lego, GAP);
}

#[test]
fn renewed_by_dehydrated() {
    renewed_by(Client::Dehydrated, GAP);
}

#[test]
#[ignore = "takes more than three minutes"]
fn renewed_through_a_gap_of_a_minute() {
    for client in [Client::Certbot, Client::Lego, Client::Dehydrated] {
        renewed_by(client, Duration::from_secs(60));
    }
}
