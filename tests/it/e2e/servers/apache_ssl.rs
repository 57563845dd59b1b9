//! Apache with mod_ssl: it asks a responder itself, and is told to ask the agent's.

use super::ground::Ground;
use super::{Property, Server, every_property};
use crate::support::agent::Agent;
use crate::support::apache::Apache as Process;
use crate::support::port::free_port;
use crate::support::socket::Held;

/// A parent and two children. `KEEPS` seconds old, answers are asked for again: 3,600 by default, since
/// answers live for days.
pub(super) struct Apache<const KEEPS: u32 = 2> {
    pub(super) process: Process,
    port: u16,
    /// What the service manager would hold: who connects while no agent runs waits for the next.
    responder: Held,
}

impl<const KEEPS: u32> Server for Apache<KEEPS> {
    const NAME: &'static str = "Apache mod_ssl";

    fn lacks(property: Property) -> Option<&'static str> {
        let restart = "started without an agent it has none: its cache is empty (32)";
        (property == Property::AgentRestart).then_some(restart)
    }

    fn new(ground: &Ground) -> Self {
        let process = Process::new(&["ssl", "socache_shmcb"]);
        let responder = Held::listen(free_port());
        let (url, cache) = (responder.port(), process.path("stapling").display().to_string());
        let common = format!(
            "Listen 127.0.0.1:{}\nSSLStaplingCache shmcb:{cache}(65536)\nSSLUseStapling on\n\
             SSLStaplingForceURL http://127.0.0.1:{url}/\nSSLStaplingStandardCacheTimeout {KEEPS}\n\
             SSLStaplingErrorCacheTimeout {KEEPS}\n",
            ground.port
        );
        process.hosts(&(common + &hosts(ground)));
        Apache { process, port: ground.port, responder }
    }

    fn prepare(&self, agent: &mut Agent) {
        self.responder.hand_to(agent);
    }

    fn tables(&self) -> String {
        let words: Vec<_> =
            self.process.graceful_words().iter().map(|word| format!("{word:?}")).collect();
        let reload = format!("[{}]", words.join(", "));
        let table = Ground::table("apache", &self.process.configuration(), &reload);
        format!("{table}[responder]\nlisten = [\"127.0.0.1:{}\"]\n", self.responder.port())
    }

    fn start(&mut self) {
        self.process.start(self.port);
    }

    fn stop(&mut self) {
        self.process.stop();
    }

    fn reload(&mut self) -> Result<(), String> {
        self.process.graceful()
    }
}

/// A virtual host for each site.
pub(super) fn hosts(ground: &Ground) -> String {
    let host = |site: &&str| {
        let (chain, key) = (ground.chain(site), ground.key(site));
        format!(
            "<VirtualHost *:{}>\n  ServerName {site}\n  SSLEngine on\n  SSLCertificateFile {}\n  \
             SSLCertificateKeyFile {}\n</VirtualHost>\n",
            ground.port,
            chain.display(),
            key.display()
        )
    };
    ground.sites.iter().map(host).collect()
}

every_property!(Apache);
