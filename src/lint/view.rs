//! What the rules look at: facts about servers, certificates and staple files, gathered beforehand. Rules
//! read no file and no clock.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Fingerprint;
use crate::discover::{Deployment, Place, Presented, Scan, ServerModel};
use crate::ocsp::{Rejection, Staple};
use crate::pki::{Certificate, Issued, KeyType};
use crate::time::UnixTime;

/// All facts.
#[derive(Debug)]
pub struct View<'a> {
    /// Servers and certificates.
    pub scan: &'a Scan,
    /// Now.
    pub at: UnixTime,
    /// What is known of each leaf besides.
    pub leaves: HashMap<Fingerprint, Leaf>,
    /// What lies in each staple file that a server names, by the path as we see it.
    pub staples: BTreeMap<Arc<Path>, Lying>,
    /// Why the agent cannot write a target; targets that it can write are not in here.
    pub unwritable: HashMap<Arc<Path>, Unwritable>,
    /// How each server is reloaded, in the order of the scan.
    pub reloads: Vec<Reload>,
    /// Our own OCSP responder.
    pub responder: OwnResponder,
    /// Our own settings.
    pub own: Own,
    /// Certificates that their ACME client will ask Must-Staple for again.
    pub asking: Vec<Asking>,
}

/// A leaf.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// What people call it.
    pub name: Arc<str>,
    /// The certificate.
    pub certificate: Arc<Certificate>,
    /// With its issuer, where that was found.
    pub issued: Option<Issued>,
    /// Where it is asked about.
    pub responders: Vec<String>,
    /// The last good response that the agent keeps.
    pub kept: Option<Staple>,
    /// The responder that the certificate before it named, where it names none and its servers staple.
    pub lost: Option<Arc<str>>,
}

impl Leaf {
    /// Some responder can be asked for its staple.
    pub fn is_answered(&self) -> bool {
        !self.responders.is_empty()
    }

    /// RFC 7633.
    pub fn must(&self) -> bool {
        self.certificate.must_staple()
    }

    /// It signed itself, as stock certificates do.
    pub fn is_self_signed(&self) -> bool {
        self.issued.is_none() && self.certificate.is_self_issued()
    }
}

/// What lies in a staple file.
#[derive(Clone, Debug)]
pub enum Lying {
    /// No file.
    Missing,
    /// Something that no server can use, in words.
    Unusable(String),
    /// `tryLater`, since so long.
    Placeholder(Duration),
    /// A response, judged for each certificate that is presented with it.
    Response(Vec<(Fingerprint, Result<Staple, Rejection>)>),
    /// It may not be looked at by this user: nothing can be said.
    Hidden(String),
}

/// Why the agent cannot write a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// `staplekeeper adopt` would make it a link into the agent's folder.
    ToAdopt,
    /// And `adopt` refuses, for this reason.
    Refused(String),
}

/// Whether the agent may have a server reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It may, or needs not, or it cannot be told.
    Fine,
    /// Nobody does: `reload = "none"`.
    Off,
    /// By systemd, and no polkit rule lets it.
    NoRule {
        /// The unit.
        unit: String,
    },
    /// By a signal to a process of somebody else.
    NotOurs {
        /// The pid file.
        pid_file: PathBuf,
        /// The process's owner.
        uid: u32,
    },
}

/// Our own OCSP responder.
#[derive(Clone, Debug, Default)]
pub struct OwnResponder {
    /// Its URL over TCP, where it listens on TCP.
    pub tcp: Option<String>,
    /// Its URL as nginx writes it, where it listens on a Unix socket.
    pub unix: Option<String>,
    /// URLs that servers name and that mean it.
    pub meant: Vec<String>,
}

/// Our own settings, as far as rules need them.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// The configuration file.
    pub config: PathBuf,
    /// Its `[responder]` and the `listen` in it, by their lines; 0: there is none.
    pub responder_lines: (u32, u32),
    /// Its `[schedule]` and the `reload_at_most_every` in it, likewise.
    pub schedule_lines: (u32, u32),
    /// The value of that `listen`, as configured.
    pub listen: Vec<String>,
    /// `{state_dir}/staples`.
    pub staples: PathBuf,
    /// `{runtime_dir}`.
    pub runtime: PathBuf,
    /// `reload_at_most_every`.
    pub reload_at_most_every: Duration,
    /// The agent's user.
    pub user: String,
    /// The lines of `reload = …` of each server in the scan's order; 0: there is none.
    pub reload_lines: Vec<u32>,
}

/// A setting of an ACME client that asks for Must-Staple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// The certificate's name.
    pub certificate: Arc<str>,
    /// The file it is set in.
    pub file: Arc<Path>,
    /// The line.
    pub line: u32,
    /// What is set there.
    pub directive: &'static str,
    /// What to write instead.
    pub instead: &'static str,
}

/// A deployment with what it presents.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    /// Its server's place in the scan.
    pub server: usize,
    /// Its server.
    pub model: &'a ServerModel,
    /// Itself.
    pub deployment: &'a Deployment,
    /// The certificates that could be read.
    pub shows: Vec<(&'a Presented, &'a Place, &'a Leaf)>,
}

impl Block<'_> {
    /// A staple of one of its certificates can be had.
    pub fn is_answered(&self) -> bool {
        self.shows.iter().any(|(_, _, leaf)| leaf.is_answered())
    }

    /// The first Must-Staple certificate, for which a staple can be had.
    pub fn must(&self) -> Option<&Leaf> {
        self.shows.iter().map(|(_, _, leaf)| *leaf).find(|leaf| leaf.must() && leaf.is_answered())
    }

    /// The names of its certificates, for people.
    pub fn names(&self) -> String {
        self.all_names().join(", ")
    }

    /// The names of its certificates.
    pub fn all_names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.shows.iter().map(|(_, _, leaf)| leaf.name.to_string()).collect();
        names.dedup();
        names
    }

    /// It is the default on one of its addresses.
    pub fn is_default(&self) -> bool {
        self.deployment.listeners.iter().any(|listener| listener.default)
    }

    /// It presents RSA beside other keys: clients are handed the one or the other.
    pub fn mixes_keys(&self) -> bool {
        mixed(self.shows.iter().map(|(_, _, leaf)| leaf.certificate.key_type()))
    }
}

/// RSA is among them, and something else.
pub(super) fn mixed(types: impl Iterator<Item = KeyType>) -> bool {
    let mut seen = [false; 2];
    types.for_each(|key| seen[usize::from(matches!(key, KeyType::Rsa(_)))] = true);
    seen == [true; 2]
}

impl View<'_> {
    /// The deployments of a server, with what they present; those whose certificates are not known are
    /// among them.
    pub fn blocks(&self, server: usize) -> Vec<Block<'_>> {
        let model = &self.scan.servers[server];
        let mut blocks = Vec::with_capacity(model.deployments.len());
        for deployment in model.deployments.iter() {
            let mut shows = Vec::with_capacity(deployment.certificates.len());
            for presented in &deployment.certificates {
                let Some(place) = self.scan.place(&presented.file.ours) else { continue };
                shows.extend(self.leaves.get(&place.leaf).map(|leaf| (presented, place, leaf)));
            }
            blocks.push(Block { server, model, deployment, shows });
        }
        blocks
    }

    /// Where the agent publishes the staple of a certificate that is told no other place.
    pub fn staple_file(&self, name: &str) -> String {
        self.own.staples.join(format!("{name}.der")).display().to_string()
    }

    /// A server that is told this URL asks our responder.
    pub fn asks_us(&self, url: &str) -> bool {
        self.responder.meant.iter().any(|meant| meant == url)
    }
}
