//! A whole host: a CA with its responder, an nginx with stapled sites, and the agent beside it.
//!
//! ```ignore
//! let mut scene = Scene::new(20, &[must("a.test"), plain("b.test")], "");
//! scene.start();                              // the agent, then nginx, until all is stapled
//! let shown = scene.handshake("a.test").expect("a handshake");
//! let new = scene.renew("a.test");            // same key, other certificate, in place
//! ```
//! Every site listens on one port, told apart by name. Certificates lie in `certs/NAME.pem` and
//! `certs/NAME.key`, staples in `staples/NAME.der`, all in the scene's own folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use staplekeeper::agent::status::Served;
use tempfile::TempDir;

use super::agent::{Agent, certificate};
use super::authority::Authority;
use super::ca::{Draft, Identity};
use super::judge::{self, Clients, Shown};
use super::nginx::{Nginx, Site};
use super::port::free_port;

/// One site of the scene.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub draft: Draft,
    /// Its server block names a staple file.
    pub stapled: bool,
}

/// A Must-Staple certificate for `name`.
pub fn must(name: &str) -> Host {
    let draft = Draft { must_staple: true, ..Draft::leaf(name) };
    Host { draft, ..plain(name) }
}

/// A certificate for `name`, without Must-Staple.
pub fn plain(name: &str) -> Host {
    Host { name: name.to_owned(), draft: Draft::leaf(name), stapled: true }
}

/// A host.
pub struct Scene {
    pub agent: Agent,
    pub nginx: Nginx,
    pub authority: Arc<Authority>,
    pub folder: TempDir,
    pub port: u16,
    /// What each site presents now, in the order of the sites.
    pub leaves: Vec<(Host, Identity)>,
}

impl Scene {
    /// Sets everything up; nothing runs but the responder, whose answers are good for `life`
    /// seconds. `tables` goes behind the configuration's `[[server]]`.
    pub fn new(life: i64, hosts: &[Host], tables: &str) -> Scene {
        let folder = tempfile::Builder::new().prefix("scene-").tempdir().expect("a temp folder");
        for name in ["", "certs", "staples"] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).expect("the folder is ours");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(path, mode).expect("the folder is ours");
        }
        let authority = Arc::new(Authority::new(life));
        let leaves =
            hosts.iter().map(|host| (host.clone(), authority.issue(host.draft.clone()))).collect();
        let (agent, nginx) = (Agent::new(), Nginx::new());
        let mut scene = Scene { agent, nginx, authority, folder, port: free_port(), leaves };
        for (host, leaf) in &scene.leaves {
            scene.install(&host.name, leaf);
        }
        scene.sites("");
        scene.configure(tables);
        scene
    }

    /// Writes the agent's configuration: this nginx, no watched folders unless `tables` names some.
    pub fn configure(&self, tables: &str) {
        let watch = if tables.contains("[[watch]]") { "" } else { "watch = []\n" };
        self.agent.configure(&format!("{watch}{}{tables}", self.server()));
    }

    /// The `[[server]]` of this nginx.
    pub fn server(&self) -> String {
        format!(
            "[[server]]\nkind = \"nginx\"\nconfig = \"{}\"\nreload = \"signal:{}\"\n",
            self.nginx.configuration().display(),
            self.nginx.pid_file().display(),
        )
    }

    /// Writes nginx's configuration, a server block a site, with `more` behind them.
    pub fn sites(&mut self, more: &str) {
        let sites: String = self.leaves.iter().map(|(host, _)| self.site(host)).collect();
        self.nginx.http(&(sites + more));
    }

    fn site(&self, host: &Host) -> String {
        let path = |path: PathBuf| path.display().to_string();
        let staple = path(self.staple(&host.name));
        Site {
            port: self.port,
            names: &host.name,
            certificate: &path(self.certificate(&host.name)),
            key: &path(self.key(&host.name)),
            staple: host.stapled.then_some(&*staple),
            ..Site::default()
        }
        .to_string()
    }

    /// A path in the scene's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The chain of a site.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.path(&format!("certs/{name}.pem"))
    }

    /// The key of a site.
    pub fn key(&self, name: &str) -> PathBuf {
        self.path(&format!("certs/{name}.key"))
    }

    /// The staple file of a site.
    pub fn staple(&self, name: &str) -> PathBuf {
        self.path(&format!("staples/{name}.der"))
    }

    /// What a site presents (or will, after nginx's next reload).
    pub fn leaf(&self, name: &str) -> &Identity {
        let found = self.leaves.iter().find(|(host, _)| host.name == name);
        &found.expect("a site of this scene").1
    }

    /// Starts the agent, waits for its staples to be published, starts nginx and waits until every
    /// stapled site is seen to serve its staple.
    pub fn start(&mut self) -> &mut Scene {
        self.agent.start();
        self.nginx.start();
        self.wait_until_served();
        self
    }

    /// Waits until every stapled site is seen to serve what is published for it.
    pub fn wait_until_served(&mut self) {
        let names: Vec<String> = self
            .leaves
            .iter()
            .filter(|(host, _)| host.stapled)
            .map(|(host, _)| host.name.clone())
            .collect();
        self.agent.wait_until("all sites to be served", |now| {
            let served = |name: &String| certificate(now, name).served == Some(Served::Match);
            now.servers.iter().all(|server| server.running) && names.iter().all(served)
        });
    }

    /// Writes chain and key of a site, each by rename, the key first.
    pub fn install(&self, name: &str, leaf: &Identity) {
        replace(&self.key(name), leaf.key_pem().as_bytes());
        replace(&self.certificate(name), leaf.chain_pem().as_bytes());
    }

    /// Issues another certificate for a site, with the same key, without installing it.
    pub fn issue_next(&mut self, name: &str) -> Identity {
        let entry = self.leaves.iter_mut().find(|(host, _)| host.name == name);
        let (host, leaf) = entry.expect("a site of this scene");
        // A draft has a serial: a renewed certificate has another.
        let fresh = Draft::leaf(name).serial;
        let next = self.authority.issue(Draft { serial: fresh, ..host.draft.clone() });
        *leaf = next.clone();
        next
    }

    /// Issues another certificate for a site, with the same key, and installs it.
    pub fn renew(&mut self, name: &str) -> Identity {
        let next = self.issue_next(name);
        self.install(name, &next);
        next
    }

    /// One handshake, judged.
    ///
    /// # Errors
    /// The handshake's.
    pub fn handshake(&self, name: &str) -> Result<Shown, String> {
        judge::handshake(&self.authority, self.port, name)
    }

    /// Clients that keep connecting to `names`.
    pub fn clients(&self, names: &[&str], pause: Duration) -> Clients {
        Clients::start(&self.authority, self.port, names, pause)
    }

    /// What lies in a site's staple file, judged for the certificate it presents.
    pub fn published(&self, name: &str) -> Shown {
        judge::worth(self.leaf(name), fs::read(self.staple(name)).ok().as_deref())
    }
}

/// Writes a file by temporary name and rename.
pub fn replace(path: &Path, contents: &[u8]) {
    let temporary = path.with_extension("new");
    fs::write(&temporary, contents).expect("the folder is ours");
    fs::rename(&temporary, path).expect("the folder is ours");
}
