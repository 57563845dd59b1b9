//! lighttpd: staple files, and USR1.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use super::ground::Ground;
use super::{Server, every_property};
use crate::support::daemon::Daemon;
use crate::support::program::program;

/// One process.
struct Lighttpd {
    folder: PathBuf,
    port: u16,
    running: Option<Daemon>,
}

impl Lighttpd {
    fn configuration(&self) -> PathBuf {
        self.folder.join("lighttpd.conf")
    }
}

impl Server for Lighttpd {
    const NAME: &'static str = "lighttpd";

    fn new(ground: &Ground) -> Self {
        let lighttpd = Lighttpd { folder: ground.server(), port: ground.port, running: None };
        let (folder, port) = (lighttpd.folder.display(), ground.port);
        let mut text = format!(
            "server.modules = ( \"mod_openssl\" )\nserver.document-root = \"{folder}\"\n\
             server.bind = \"127.0.0.1\"\nserver.port = {port}\n\
             server.pid-file = \"{folder}/pid\"\nserver.errorlog = \"/dev/stderr\"\n\
             ssl.engine = \"enable\"\n"
        );
        for (at, site) in ground.sites.iter().enumerate() {
            let (chain, key, staple) = (ground.chain(site), ground.key(site), ground.staple(site));
            let own = format!(
                "ssl.pemfile = \"{}\"\nssl.privkey = \"{}\"\nssl.stapling-file = \"{}\"\n",
                chain.display(),
                key.display(),
                staple.display()
            );
            // The first is everybody's who asks for no other.
            match at {
                0 => text += &own,
                _ => write!(text, "$HTTP[\"host\"] == \"{site}\" {{\n{own}}}\n").expect("a string"),
            }
        }
        fs::write(lighttpd.configuration(), text).expect("the folder is ours");
        lighttpd
    }

    fn tables(&self) -> String {
        let reload = format!("\"signal:{}/pid\"", self.folder.display());
        Ground::table("lighttpd", &self.configuration(), &reload)
    }

    fn start(&mut self) {
        let mut command = Command::new(program("lighttpd"));
        command.arg("-D").arg("-f").arg(self.configuration());
        self.running = Some(Daemon::start(&mut command, &self.folder.join("log"), self.port));
    }

    fn stop(&mut self) {
        self.running = None;
    }

    fn reload(&mut self) -> Result<(), String> {
        let running = self.running.as_ref().expect("it runs");
        running.signal_until(Signal::SIGUSR1, "server started", "not valid")
    }
}

every_property!(Lighttpd);
