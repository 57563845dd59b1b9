//! nginx with two key types in each block: its workers ask the agent's responder, each for itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ground::Ground;
use super::host::twin;
use super::{Property, Server, every_property};
use crate::support::agent::{Agent, server};
use crate::support::judge::Worth;
use crate::support::nginx::Nginx as Process;

/// After a worker has come, a handshake may be its first for so long: until the agent has noticed and
/// has been there.
const NEW: Duration = Duration::from_secs(3);

/// A master and two workers.
struct Nginx {
    process: Process,
    /// What the service manager would hold: who connects while no agent runs waits for the next.
    responder: UnixListener,
    address: String,
    watch: Option<Watch>,
}

impl Server for Nginx {
    const NAME: &'static str = "nginx, two key types";
    const TWO_KEYS: bool = true;
    const WARMED: bool = true;
    // It staples nothing that is revoked (24).
    const REVOKED: Worth = Worth::Nothing;

    fn lacks(property: Property) -> Option<&'static str> {
        let restart = "started without an agent it has none: nobody answers its workers";
        (property == Property::AgentRestart).then_some(restart)
    }

    fn new(ground: &Ground) -> Self {
        let socket = ground.path("responder.sock");
        let responder = UnixListener::bind(&socket).expect("the folder is ours");
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(&socket, open).expect("the socket is ours");
        let (port, address) = (ground.port, format!("unix:{}", socket.display()));
        let pair = |name: &str| {
            let (chain, key) = (ground.chain(name), ground.key(name));
            let (chain, key) = (chain.display(), key.display());
            format!("  ssl_certificate {chain};\n  ssl_certificate_key {key};\n")
        };
        let block = |site: &&str| {
            format!(
                "server {{\n  listen 127.0.0.1:{port} ssl;\n  server_name {site};\n{}{}  ssl_stapling on;\n  \
                 ssl_stapling_responder http://{address}:/;\n  return 200 ok;\n}}\n",
                pair(site),
                pair(&twin(site))
            )
        };
        let mut process = Process::new();
        process.http(&ground.sites.iter().map(block).collect::<String>());
        Nginx { process, responder, address, watch: None }
    }

    fn tables(&self) -> String {
        let reload = format!("\"signal:{}\"", self.process.pid_file().display());
        let table = Ground::table("nginx", &self.process.configuration(), &reload);
        format!("{table}[responder]\nlisten = [\"{}\"]\n", self.address)
    }

    fn prepare(&self, agent: &mut Agent) {
        agent.hand_over(self.responder.try_clone().expect("a descriptor is free"));
    }

    fn start(&mut self) {
        self.process.start();
        let master = self.process.master().as_raw();
        match &mut self.watch {
            Some(watch) => *watch.master.lock().expect("nobody panics with it") = master,
            None => self.watch = Some(Watch::begin(master)),
        }
    }

    fn stop(&mut self) {
        self.process.stop();
    }

    fn settle(&self, agent: &mut Agent) {
        let workers: Vec<i32> = self.process.workers().iter().map(|pid| pid.as_raw()).collect();
        agent.wait_until("all workers to have their staples", |now| {
            let warm = server(now).warm.as_ref();
            warm.is_some_and(|warm| workers.iter().all(|pid| warm.workers.contains(pid)))
        });
    }

    fn excuses(&self, at: Instant) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_early(at))
    }

    fn reload(&mut self) -> Result<(), String> {
        self.process.reload()
    }
}

/// Notes when workers come, by whoever's hand.
struct Watch {
    master: Arc<Mutex<i32>>,
    changes: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn begin(master: i32) -> Watch {
        let (master, stop) = (Arc::new(Mutex::new(master)), Arc::<AtomicBool>::default());
        let changes = Arc::new(Mutex::new(vec![Instant::now()]));
        let (of, book, told) = (master.clone(), changes.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut known = String::new();
            while !told.load(Ordering::SeqCst) {
                let pid = *of.lock().expect("nobody panics with it");
                let path = format!("/proc/{pid}/task/{pid}/children");
                let children = fs::read_to_string(path).unwrap_or_default();
                let came = children.split(' ').any(|one| !known.split(' ').any(|old| old == one));
                if came {
                    book.lock().expect("nobody panics with it").push(Instant::now());
                }
                known = children;
                thread::sleep(Duration::from_millis(5));
            }
        });
        Watch { master, changes, stop, thread: Some(thread) }
    }

    /// Whether a worker had just come.
    fn is_early(&self, at: Instant) -> bool {
        let changes = self.changes.lock().expect("nobody panics with it");
        // It is seen a moment after it has begun.
        let looks = Duration::from_millis(100);
        changes.iter().any(|change| at + looks >= *change && at <= *change + NEW)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

every_property!(Nginx);
