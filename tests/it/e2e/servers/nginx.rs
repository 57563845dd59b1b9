//! nginx with staple files.

use super::ground::Ground;
use super::{Server, every_property};
use crate::support::nginx::{Nginx as Process, Site};

/// A master and two workers.
struct Nginx(Process);

impl Server for Nginx {
    const NAME: &'static str = "nginx";

    fn new(ground: &Ground) -> Self {
        let mut process = Process::new();
        let site = |site: &&str| {
            let path = |path: std::path::PathBuf| path.display().to_string();
            Site {
                port: ground.port,
                names: site,
                certificate: &path(ground.chain(site)),
                key: &path(ground.key(site)),
                staple: Some(&path(ground.staple(site))),
                ..Site::default()
            }
            .to_string()
        };
        process.http(&ground.sites.iter().map(site).collect::<String>());
        Nginx(process)
    }

    fn tables(&self) -> String {
        let reload = format!("\"signal:{}\"", self.0.pid_file().display());
        Ground::table("nginx", &self.0.configuration(), &reload)
    }

    fn start(&mut self) {
        self.0.start();
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn reload(&mut self) -> Result<(), String> {
        self.0.reload()
    }
}

every_property!(Nginx);
