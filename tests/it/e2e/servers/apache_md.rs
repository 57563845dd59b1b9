//! Apache with mod_md: it staples from its store, which the agent fills.

use super::ground::Ground;
use super::{Server, apache_ssl, every_property};
use crate::support::apache::Apache as Process;

/// A parent and two children.
pub(super) struct Apache {
    pub(super) process: Process,
    port: u16,
}

impl Server for Apache {
    const NAME: &'static str = "Apache mod_md";

    fn new(ground: &Ground) -> Self {
        let process = Process::new(&["ssl", "socache_shmcb", "md"]);
        let common = format!("Listen 127.0.0.1:{}\nMDStoreDir md\nMDStapling on\n", ground.port);
        process.hosts(&(common + &apache_ssl::hosts(ground)));
        Apache { process, port: ground.port }
    }

    /// How it is restarted is not said: the agent finds out.
    fn tables(&self) -> String {
        let config = self.process.configuration();
        format!("[[server]]\nkind = \"apache\"\nconfig = \"{}\"\n", config.display())
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

every_property!(Apache);
