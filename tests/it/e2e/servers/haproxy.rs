//! HAProxy: `.ocsp` files and the admin socket.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use super::ground::Ground;
use super::{Server, every_property};
use crate::support::ca::Identity;
use crate::support::daemon::Daemon;
use crate::support::program::program;

/// A master and a worker.
pub(super) struct Haproxy {
    folder: PathBuf,
    port: u16,
    running: Option<Daemon>,
}

impl Haproxy {
    pub(super) fn configuration(&self) -> PathBuf {
        self.folder.join("haproxy.cfg")
    }

    /// The master.
    pub(super) fn process(&self) -> &Daemon {
        self.running.as_ref().expect("it runs")
    }
}

impl Server for Haproxy {
    const NAME: &'static str = "HAProxy";
    // It serves a staple for a minute then.
    const LIFE: i64 = 360;
    const STOPS_EARLY: i64 = 300;

    fn new(ground: &Ground) -> Self {
        let haproxy = Haproxy { folder: ground.server(), port: ground.port, running: None };
        let certificate = |site: &&str| format!(" crt {}", ground.combined(site).display());
        let certificates: String = ground.sites.iter().map(certificate).collect();
        let (folder, port) = (haproxy.folder.display(), ground.port);
        let text = format!(
            "global\n  stats socket {folder}/admin.sock mode 600 level admin\n  pidfile {folder}/pid\n\
             defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n\
             frontend sites\n  bind 127.0.0.1:{port} ssl{certificates}\n\
             \x20 http-request return status 200 content-type text/plain string ok\n"
        );
        fs::write(haproxy.configuration(), text).expect("the folder is ours");
        haproxy
    }

    fn tables(&self) -> String {
        let reload = format!("\"signal:{}/pid\"", self.folder.display());
        Ground::table("haproxy", &self.configuration(), &reload)
    }

    fn install(&self, ground: &Ground, site: &str, leaf: &Identity) {
        ground.install_combined(site, leaf);
    }

    fn start(&mut self) {
        let mut command = Command::new(program("haproxy"));
        command.args(["-W", "-db", "-f"]).arg(self.configuration());
        self.running = Some(Daemon::start(&mut command, &self.folder.join("log"), self.port));
    }

    fn stop(&mut self) {
        self.running = None;
    }

    fn reload(&mut self) -> Result<(), String> {
        let running = self.running.as_ref().expect("it runs");
        running.signal_until(Signal::SIGUSR2, "Loading success", "Loading failure")
    }
}

every_property!(Haproxy);
