//! Plain files with a command after them, read by a server that the agent knows nothing of: an nginx.

use std::fs;
use std::path::PathBuf;

use super::ground::Ground;
use super::{Server, every_property};
use crate::support::ca::Identity;
use crate::support::nginx::{Nginx, Site};
use crate::support::program::program;
use crate::support::scene::replace;

/// The agent is told of the certificates, where their staples go, and what to run then.
struct Files {
    nginx: Nginx,
    live: PathBuf,
    staples: PathBuf,
}

impl Server for Files {
    const NAME: &'static str = "files, read by nginx";

    fn new(ground: &Ground) -> Self {
        let mut nginx = Nginx::new();
        let live = ground.path("live");
        let staples = ground.path("staples");
        let site = |site: &&str| {
            let file = |name: &str| live.join(site).join(name).display().to_string();
            fs::create_dir_all(live.join(site)).expect("the folder is ours");
            Site {
                port: ground.port,
                names: site,
                certificate: &file("fullchain.pem"),
                key: &file("privkey.pem"),
                staple: Some(&ground.staple(site).display().to_string()),
                ..Site::default()
            }
            .to_string()
        };
        nginx.http(&ground.sites.iter().map(site).collect::<String>());
        Files { nginx, live, staples }
    }

    fn tables(&self) -> String {
        let (live, staples) = (self.live.display(), self.staples.display());
        let (program, folder) = (program("nginx"), self.nginx.folder());
        // As somebody would write it whose server may be down.
        let words = format!(
            "test ! -s {pid} || exec {program} -p {folder} -c {configuration} -s reload",
            pid = self.nginx.pid_file().display(),
            program = program.display(),
            folder = folder.display(),
            configuration = self.nginx.configuration().display(),
        );
        let command = ["sh", "-c", &words];
        format!(
            "[[watch]]\npath = \"{live}\"\nstaple = \"{staples}/{{name}}.der\"\n\
             [[server]]\nkind = \"files\"\nreload = {command:?}\n"
        )
    }

    fn install(&self, _: &Ground, site: &str, leaf: &Identity) {
        replace(&self.live.join(site).join("privkey.pem"), leaf.key_pem().as_bytes());
        replace(&self.live.join(site).join("fullchain.pem"), leaf.chain_pem().as_bytes());
    }

    fn start(&mut self) {
        self.nginx.start();
    }

    fn stop(&mut self) {
        self.nginx.stop();
    }

    fn reload(&mut self) -> Result<(), String> {
        self.nginx.reload()
    }
}

every_property!(Files);
