//! exim: a staple file that it reads again by itself, behind STARTTLS.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use staplekeeper::agent::status::Served;
use staplekeeper::confirm::StartTls;

use super::ground::Ground;
use super::host::Host;
use super::{Property, Server, every_property};
use crate::support::agent::certificate;
use crate::support::daemon::Daemon;
use crate::support::program::program;

/// The daemon; it makes a process for each connection.
struct Exim {
    folder: PathBuf,
    port: u16,
    running: Option<Daemon>,
}

impl Exim {
    fn configuration(&self) -> PathBuf {
        self.folder.join("exim.conf")
    }
}

impl Server for Exim {
    const NAME: &'static str = "exim";
    // One certificate for whatever name is asked for.
    const SITES: &'static [&'static str] = &["must.test"];
    const STARTTLS: Option<StartTls> = Some(StartTls::Smtp);

    fn lacks(property: Property) -> Option<&'static str> {
        match property {
            Property::Revocation => {
                Some("a revoked staple fails every TLS handshake (62): the last good one stays")
            }
            _ => None,
        }
    }

    fn new(ground: &Ground) -> Self {
        let exim = Exim { folder: ground.server(), port: ground.port, running: None };
        let site = ground.sites[0];
        let folder = exim.folder.display();
        let spool = exim.folder.join("spool");
        fs::create_dir_all(&spool).expect("the folder is ours");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&spool, open).expect("the folder is ours");
        let text = format!(
            "primary_hostname = mail.test\nkeep_environment =\nhost_lookup =\nhelo_lookup_domains =\n\
             spool_directory = {folder}/spool\nlog_file_path = {folder}/spool/%slog\n\
             pid_file_path = {folder}/pid\nlocal_interfaces = 127.0.0.1\n\
             daemon_smtp_ports = {port}\nsmtp_accept_max = 200\ntls_advertise_hosts = *\n\
             tls_certificate = {chain}\ntls_privatekey = {key}\ntls_ocsp_file = {staple}\n",
            port = ground.port,
            chain = ground.chain(site).display(),
            key = ground.key(site).display(),
            staple = ground.staple(site).display(),
        );
        fs::write(exim.configuration(), text).expect("the folder is ours");
        exim
    }

    fn tables(&self) -> String {
        Ground::table("exim", &self.configuration(), "\"none\"")
    }

    fn start(&mut self) {
        let mut command = Command::new(program("exim4"));
        command.arg("-bdf").arg("-C").arg(self.configuration());
        self.running = Some(Daemon::start(&mut command, &self.folder.join("log"), self.port));
    }

    fn stop(&mut self) {
        self.running = None;
    }

    fn reload(&mut self) -> Result<(), String> {
        // It needs none.
        Ok(())
    }
}

every_property!(Exim);

#[test]
fn the_agent_and_a_probe_see_what_is_served_by_starttls() {
    let mut host = Host::<Exim>::new(3_600, "");
    host.start();
    host.agent.wait_until("the agent to see it", |now| {
        certificate(now, "must.test").served == Some(Served::Match)
    });
    let (root, port) = (host.ground.root(), host.ground.port);
    let at = format!("127.0.0.1:{port}");
    let root = root.display().to_string();
    let probe = ["probe", "--starttls", "smtp", "--connect", &at, "--ca", &root, "must.test"];
    let said = host.agent.command(&probe);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("staple") && said.out.contains("good"), "{said:?}");
}
