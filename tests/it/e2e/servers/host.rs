//! A whole host with one server: a CA with its responder, the server, and the agent beside it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use staplekeeper::confirm::KeyKind;

use super::Server;
use super::ground::Ground;
use crate::support::agent::Agent;
use crate::support::authority::Authority;
use crate::support::ca::{Draft, Identity, Key, Kind};
use crate::support::clients::{curl, gnutls};
use crate::support::judge::{self, Clients, Door, Shown, Visit, Worth, fingerprint};

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
    /// The certificates with the other key, if there are two.
    twins: Vec<(&'static str, Draft, Identity)>,
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
        let twins = S::SITES.iter().filter(|_| S::TWO_KEYS).map(|site| {
            let draft = Draft { key: Key::new(Kind::Rsa2048), ..draft(site) };
            (*site, draft.clone(), authority.issue(draft))
        });
        let twins: Vec<_> = twins.collect();
        let server = S::new(&ground);
        for (site, _, leaf) in &leaves {
            server.install(&ground, site, leaf);
        }
        for (site, _, leaf) in &twins {
            server.install(&ground, &twin(site), leaf);
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
        Host { agent, server, authority, ground, leaves, twins }
    }

    /// Starts the agent, then the server, and waits until every site is seen to be stapled.
    pub(super) fn start(&mut self) {
        self.agent.start();
        self.server.start();
        self.server.settle(&mut self.agent);
        for site in S::SITES {
            self.wait_until_served(site);
        }
    }

    /// Starts the server; gives how long clients should have waited.
    pub(super) fn begin(&mut self) -> Duration {
        self.server.start();
        let begun = Instant::now();
        self.server.settle(&mut self.agent);
        begun.elapsed()
    }

    /// Waits until a site presents its certificate as it lies on disk, with a good staple.
    pub(super) fn wait_until_served(&mut self, site: &str) -> Shown {
        let leaf = fingerprint(self.leaf(site));
        let shown = self.wait_until(&format!("{site} with a good staple"), |host| {
            let shown = host.handshake(site)?;
            let right = shown.leaf == leaf && shown.worth == Worth::Good;
            if right { Ok(shown) } else { Err(format!("{shown:?}")) }
        });
        if let Some((.., other)) = self.twins.iter().find(|(name, ..)| *name == site) {
            let leaf = fingerprint(other);
            self.wait_until(&format!("{site} with RSA and a good staple"), |host| {
                let shown = host.handshake_with_twin(site)?;
                let right = shown.leaf == leaf && shown.worth == Worth::Good;
                if right { Ok(()) } else { Err(format!("{shown:?}")) }
            });
        }
        shown
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
        if let Some(entry) = self.twins.iter_mut().find(|(name, ..)| *name == site) {
            let serial = Draft::leaf(site).serial;
            entry.2 = self.authority.issue(Draft { serial, ..entry.1.clone() });
            self.server.install(&self.ground, &twin(site), &entry.2);
        }
        let leaf = self.issue_next(site);
        self.server.install(&self.ground, site, &leaf);
    }

    /// All that a site presents.
    pub(super) fn all_leaves(&self, site: &str) -> Vec<Identity> {
        let all = self.leaves.iter().chain(&self.twins);
        all.filter(|(name, ..)| *name == site).map(|(.., leaf)| leaf.clone()).collect()
    }

    /// One handshake, judged.
    ///
    /// # Errors
    /// The handshake's.
    pub(super) fn handshake(&self, site: &str) -> Result<Shown, String> {
        judge::handshake(&self.authority, self.door(), site)
    }

    /// One handshake for the certificate with the other key, judged.
    ///
    /// # Errors
    /// The handshake's.
    pub(super) fn handshake_with_twin(&self, site: &str) -> Result<Shown, String> {
        judge::handshake(&self.authority, self.twins_door(), site)
    }

    fn door(&self) -> Door {
        Door { key: S::TWO_KEYS.then_some(KeyKind::Elliptic), ..self.ground.door() }
    }

    fn twins_door(&self) -> Door {
        Door { key: Some(KeyKind::Rsa), ..self.ground.door() }
    }

    /// Clients that keep connecting to all sites.
    pub(super) fn clients(&self) -> Clients {
        let pause = Duration::from_millis(20);
        let visit = |site: &&str| Visit::new(site, site, self.door());
        let other = |site: &&str| Visit::new(&twin(site), site, self.twins_door());
        let others = S::SITES.iter().filter(|_| S::TWO_KEYS).map(other);
        let visits = S::SITES.iter().map(visit).chain(others).collect();
        Clients::visiting(&self.authority, visits, pause)
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
            if S::TWO_KEYS {
                let shown = self.handshake_with_twin(site).expect("a handshake");
                assert_eq!(shown.worth, Worth::Good, "{site}, RSA: {shown:?}");
            }
        }
    }
}

/// What a site's certificate with the other key is called.
pub(super) fn twin(site: &str) -> String {
    format!("{site}.rsa")
}

/// Whether a site's certificate carries Must-Staple.
pub(super) fn is_must(site: &str) -> bool {
    site.starts_with("must")
}
