//! Apache with mod_md: it staples from its store, which the agent fills.

use std::fs;

use staplekeeper::publish::store_entry;

use super::ground::Ground;
use super::host::Host;
use super::{Server, apache_ssl, every_property};
use crate::support::agent::eventually;
use crate::support::apache::Apache as Process;
use crate::support::scene::replace;

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

/// mod_md believes the entry's dates, whatever the response in it says (41-47).
#[test]
fn an_entry_with_other_dates_than_its_response_is_put_right() {
    let mut host = Host::<Apache>::new(3_600, "");
    host.agent.start();
    host.server.start();
    host.wait_until_served("must.test");
    let folder = host.server.process.path("md/ocsp/other");
    let entry = store_entry::path(&folder, &host.leaf("must.test").der);
    let sound = fs::read_to_string(&entry).expect("it is there");
    let read: serde_json::Value = serde_json::from_str(&sound).expect("JSON");
    let date = |name: &str| read["valid"][name].as_str().expect("a date").to_owned();
    for spoilt in [sound.replace(&date("until"), &date("from")), sound.replace("until", "til")] {
        replace(&entry, spoilt.as_bytes());
        eventually("the entry to be right again", || {
            fs::read_to_string(&entry).is_ok_and(|text| text == sound)
        });
    }
}
