//! hitch: staple files that it checks itself, and HUP.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::ground::Ground;
use super::{Property, Server, every_property};
use crate::support::ca::Identity;
use crate::support::daemon::Daemon;
use crate::support::program::program;

/// A parent and two workers, before a backend that says `ok`.
struct Hitch {
    folder: PathBuf,
    port: u16,
    running: Option<Daemon>,
}

impl Hitch {
    fn configuration(&self) -> PathBuf {
        self.folder.join("hitch.conf")
    }
}

impl Server for Hitch {
    const NAME: &'static str = "hitch";
    // Each worker has a listening socket of its own, and takes what waits there with it.
    const RELOADS_RESET: bool = true;

    fn lacks(property: Property) -> Option<&'static str> {
        match property {
            Property::Revocation => Some("refuses a revoked staple (60): the last good one stays"),
            _ => None,
        }
    }

    fn new(ground: &Ground) -> Self {
        let hitch = Hitch { folder: ground.server(), port: ground.port, running: None };
        let pem = |site: &&str| {
            format!(
                "pem-file = {{\n  cert = \"{}\"\n  ocsp-resp-file = \"{}\"\n}}\n",
                ground.combined(site).display(),
                ground.staple(site).display()
            )
        };
        let pems: String = ground.sites.iter().map(pem).collect();
        let text = format!(
            "frontend = \"[127.0.0.1]:{}\"\nbackend = \"[127.0.0.1]:{}\"\nworkers = 2\n\
             ocsp-dir = \"\"\nlog-level = 2\n{pems}",
            ground.port,
            backend()
        );
        fs::write(hitch.configuration(), text).expect("the folder is ours");
        hitch
    }

    fn tables(&self) -> String {
        let reload = format!("\"signal:{}/pid\"", self.folder.display());
        Ground::table("hitch", &self.configuration(), &reload)
    }

    fn install(&self, ground: &Ground, site: &str, leaf: &Identity) {
        ground.install_combined(site, leaf);
    }

    fn start(&mut self) {
        let mut command = Command::new(program("hitch"));
        command.arg("--config").arg(self.configuration());
        command.arg(format!("--pidfile={}/pid", self.folder.display()));
        if nix::unistd::geteuid().is_root() {
            command.args(["--user", "nobody", "--group", "nogroup"]);
        }
        self.running = Some(Daemon::start(&mut command, &self.folder.join("log"), self.port));
        // The parent listens before its workers do, and not any more when they have begun.
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut in_a_row = 0;
        while in_a_row < 10 {
            let answers = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            in_a_row = if answers { in_a_row + 1 } else { 0 };
            assert!(Instant::now() < deadline, "hitch's workers do not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        self.running = None;
    }

    fn reload(&mut self) -> Result<(), String> {
        let running = self.running.as_ref().expect("it runs");
        running.signal_until(Signal::SIGHUP, "Config reloaded", "reload failed")
    }
}

/// The port of a server that answers every request with `ok`, as long as the process lives.
fn backend() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                );
            });
        }
    });
    port
}

every_property!(Hitch);
