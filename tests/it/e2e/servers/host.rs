//! A whole host with one server: a CA with its responder, the server, and the agent beside it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Server;
use super::ground::Ground;
use crate::support::agent::Agent;
use crate::support::authority::Authority;
use crate::support::ca::{Draft, Identity};
use crate::support::clients::{curl, gnutls};
use crate::support::judge::{self, Clients, Shown, Worth, fingerprint};

/// How long anything may take before a test fails: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// One host. The fields are dropped in this order.
pub(super) struct Host<S> {
    pub(super) agent: Agent,
    pub(super) server: S,
    pub(super) authority: Arc<Authority>,
    pub(super) ground: Ground,
    /// What each site presents, or will once its server takes it up.
    leaves: Vec<(&'static str, Draft, Identity)>,
}

impl<S: Server> Host<S> {
    /// Nothing runs but the responder, whose answers are good for `life` seconds. `tables` goes behind
    /// the server's.
    pub(super) fn new(life: i64, tables: &str) -> Host<S> {
        let ground = Ground::new(S::SITES, S::STARTTLS);
        let authority = Arc::new(Authority::new(life));
        std::fs::write(ground.root(), authority.root.pem()).expect("the folder is ours");
        let draft = |site| Draft { must_staple: is_must(site), ..Draft::leaf(site) };
        let leaves = S::SITES.iter().map(|site| {
            let draft = draft(site);
            (*site, draft.clone(), authority.issue(draft))
        });
        let leaves: Vec<_> = leaves.collect();
        let server = S::new(&ground);
        for (site, _, leaf) in &leaves {
            server.install(&ground, site, leaf);
        }
        let mut agent = Agent::new();
        server.prepare(&mut agent);
        let own = server.tables();
        let watch = if own.contains("[[watch]]") {
            ""
        } else {
            "watch = []
"
        };
        agent.configure(&format!("{watch}{own}{tables}"));
        Host { agent, server, authority, ground, leaves }
    }

    /// Starts the agent, then the server, and waits until every site is seen to be stapled.
    pub(super) fn start(&mut self) {
        self.agent.start();
        self.server.start();
        for site in S::SITES {
            self.wait_until_served(site);
        }
    }

    /// Waits until a site presents its certificate as it lies on disk, with a good staple.
    pub(super) fn wait_until_served(&mut self, site: &str) -> Shown {
        let leaf = fingerprint(self.leaf(site));
        self.wait_until(&format!("{site} with a good staple"), |host| {
            let shown = host.handshake(site)?;
            let right = shown.leaf == leaf && shown.worth == Worth::Good;
            if right { Ok(shown) } else { Err(format!("{shown:?}")) }
        })
    }

    /// Waits until `wanted` is had; gives it.
    ///
    /// # Panics
    /// After a minute, with the last reason why not.
    pub(super) fn wait_until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&mut Host<S>) -> Result<T, String>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match wanted(self) {
                Ok(had) => return had,
                Err(why) => assert!(Instant::now() < deadline, "no {what}: {why}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a site presents (or will, once its server takes it up).
    pub(super) fn leaf(&self, site: &str) -> &Identity {
        let found = self.leaves.iter().find(|(name, ..)| *name == site);
        &found.expect("one of its sites").2
    }

    /// Issues another certificate for a site, with the same key, without installing it.
    pub(super) fn issue_next(&mut self, site: &str) -> Identity {
        let entry = self.leaves.iter_mut().find(|(name, ..)| *name == site);
        let (site, draft, leaf) = entry.expect("one of its sites");
        // A draft has a serial: a renewed certificate has another.
        let serial = Draft::leaf(site).serial;
        *leaf = self.authority.issue(Draft { serial, ..draft.clone() });
        leaf.clone()
    }

    /// Issues another certificate for a site, with the same key, and installs it.
    pub(super) fn renew(&mut self, site: &str) {
        let leaf = self.issue_next(site);
        self.server.install(&self.ground, site, &leaf);
    }

    /// One handshake, judged.
    ///
    /// # Errors
    /// The handshake's.
    pub(super) fn handshake(&self, site: &str) -> Result<Shown, String> {
        judge::handshake(&self.authority, self.ground.door(), site)
    }

    /// Clients that keep connecting to all sites.
    pub(super) fn clients(&self) -> Clients {
        let pause = Duration::from_millis(20);
        Clients::start(&self.authority, self.ground.door(), S::SITES, pause)
    }

    /// gnutls-cli's verdict on a site.
    ///
    /// # Errors
    /// What it says.
    pub(super) fn gnutls(&self, site: &str) -> Result<(), String> {
        gnutls(&self.ground.root(), self.ground.door(), site)
    }

    /// The verdict of `curl --cert-status` on a site.
    ///
    /// # Errors
    /// What it says.
    pub(super) fn curl(&self, site: &str) -> Result<(), String> {
        curl(&self.ground.root(), self.ground.door(), site)
    }

    /// Asserts that gnutls-cli, curl and the library's own client find every site well.
    ///
    /// # Panics
    /// With what the first says that does not.
    pub(super) fn all_judges_connect(&self) {
        for site in S::SITES {
            assert_eq!(self.gnutls(site), Ok(()), "gnutls-cli, {site}");
            assert_eq!(self.curl(site), Ok(()), "curl --cert-status, {site}");
            let shown = self.handshake(site).expect("a handshake");
            assert_eq!(shown.worth, Worth::Good, "{site}: {shown:?}");
        }
    }
}

/// Whether a site's certificate carries Must-Staple.
pub(super) fn is_must(site: &str) -> bool {
    site.starts_with("must")
}
