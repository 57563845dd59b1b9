//! What stands behind the planner's numbers: certificates, URLs, paths and servers.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use super::profiles::Profile;
use super::server::Server;
use crate::digest::{Digest, Fingerprint};
use crate::discover::Kind;
use crate::fetch::Validators;
use crate::ocsp::{CertIdHash, Staple};
use crate::pki::{Certificate, Issued};
use crate::plan::{CertId, Content, ResponderId, ServerId, TargetId};
use crate::publish::{Stamp, Target};
use crate::serve::responder::Table;

/// Gives things small numbers, which are never used again for another thing.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    numbers: HashMap<T, u32>,
    things: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Numbers { numbers: HashMap::new(), things: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    /// The number of `thing`, a new one where it has none.
    pub(super) fn number(&mut self, thing: &T) -> u32 {
        if let Some(number) = self.numbers.get(thing) {
            return *number;
        }
        let number = u32::try_from(self.things.len()).expect("fewer than four billion things");
        self.numbers.insert(thing.clone(), number);
        self.things.push(thing.clone());
        number
    }

    pub(super) fn is_known(&self, thing: &T) -> bool {
        self.numbers.contains_key(thing)
    }

    pub(super) fn thing(&self, number: u32) -> &T {
        &self.things[number as usize]
    }
}

/// A certificate that some lineage holds now.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) leaf: Arc<Certificate>,
    /// With its issuer, where that was found.
    pub(super) issued: Option<Issued>,
    pub(super) profile: Arc<Profile>,
    /// Of its lineages; the first is what people call it.
    pub(super) names: Box<[Arc<str>]>,
    pub(super) responders: Vec<ResponderId>,
    /// The staple in the store.
    pub(super) held: Option<Staple>,
    /// The staple the planner has accepted or is about to judge.
    pub(super) fetched: Option<Box<Staple>>,
    /// Of the answer held, with the responder that gave it.
    pub(super) validators: Option<Box<(ResponderId, Validators)>>,
    pub(super) last_error: Option<Box<str>>,
}

impl Known {
    pub(super) fn name(&self) -> &Arc<str> {
        self.names.first().expect("a certificate is in at least one lineage")
    }

    /// The staple with this digest, held or just fetched.
    pub(super) fn staple(&self, digest: Digest) -> Option<&Staple> {
        let mut staples = self.fetched.as_deref().into_iter().chain(&self.held);
        staples.find(|staple| staple.digest() == digest)
    }
}

/// A deployment that names a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deployed {
    pub(super) server: ServerId,
    /// The place in the server's list of deployments.
    pub(super) at: usize,
    /// The certificates that it presents.
    pub(super) leaves: Vec<CertId>,
    /// A staple there would keep the server from starting.
    pub(super) barred: bool,
}

/// Where a staple is put for servers to find it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Spot {
    /// It is written: links followed.
    Written(Target),
    /// It is answered by our own responder, about whatever certificate the lineage of this file holds.
    Answered(Arc<Path>),
    /// It is an entry in this folder of mod_md's store, for whatever certificate that lineage holds.
    Stored(Arc<Path>, Arc<Path>),
}

impl Spot {
    /// Which it is, also over restarts.
    pub(super) fn key(&self) -> Cow<'_, str> {
        match self {
            Spot::Written(target) => target.path().to_string_lossy(),
            Spot::Answered(_) => self.to_string().into(),
            Spot::Stored(folder, lineage) => {
                format!("{}: {}", folder.display(), lineage.display()).into()
            }
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Written(target) => target.fmt(f),
            Spot::Answered(path) => write!(f, "responder: {}", path.display()),
            Spot::Stored(_, path) => write!(f, "mod_md: {}", path.display()),
        }
    }
}

/// A place that staples are published to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) spot: Spot,
    /// What is written, where that is another file for each certificate.
    pub(super) entry: Option<Target>,
    /// Where servers present it.
    pub(super) deployments: Vec<Deployed>,
    /// The certificates that claim it.
    pub(super) claimants: Vec<CertId>,
    /// Of the file when it was last read; none since it was last written.
    pub(super) stamp: Option<Stamp>,
    /// What a handshake showed last.
    pub(super) served: Option<crate::plan::Served>,
}

impl Place {
    /// What is written, if something is.
    pub(super) fn written(&self) -> Option<&Target> {
        match &self.spot {
            Spot::Written(target) => Some(target),
            Spot::Answered(_) | Spot::Stored(..) => self.entry.as_ref(),
        }
    }

    /// The servers whose configuration names it.
    pub(super) fn servers(&self) -> Vec<ServerId> {
        let mut servers: Vec<_> = self.deployments.iter().map(|one| one.server).collect();
        servers.dedup();
        servers
    }

    /// Where a server can show one of `expect`: a block that shares the path with another's
    /// certificate shows that one's staple, whatever is done. All of its deployments, where none
    /// presents what is expected: the certificate has been renewed since.
    pub(super) fn presenting(&self, server: ServerId, expect: &[Content]) -> Vec<&Deployed> {
        let of = || self.deployments.iter().filter(move |one| one.server == server);
        let shows = |one: &&Deployed| {
            expect.iter().any(|content| match content {
                Content::Staple(cert, _) => one.leaves.contains(cert),
                _ => true,
            })
        };
        let presenting: Vec<_> = of().filter(shows).collect();
        if presenting.is_empty() { of().collect() } else { presenting }
    }

    /// Nothing that the planner was told has changed.
    pub(super) fn same_for_planning(&self, other: &Place) -> bool {
        self.claimants == other.claimants && self.servers() == other.servers()
    }
}

/// Everything the planner has numbers for. What is large is boxed: a table of ten thousand is a third empty.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) fingerprints: Numbers<Fingerprint>,
    pub(super) certificates: HashMap<CertId, Box<Known>>,
    pub(super) urls: Numbers<Arc<str>>,
    /// The CertID hash that a responder was seen to answer to.
    pub(super) hashes: HashMap<ResponderId, CertIdHash>,
    pub(super) targets: Numbers<Spot>,
    pub(super) places: HashMap<TargetId, Box<Place>>,
    pub(super) servers: HashMap<ServerId, Server>,
    pub(super) server_keys: Numbers<String>,
    /// What our own responder answers.
    pub(super) answers: Arc<Table>,
}

impl World {
    pub(super) fn cert_id(&mut self, fingerprint: &Fingerprint) -> CertId {
        CertId(self.fingerprints.number(fingerprint))
    }

    pub(super) fn target_id(&mut self, spot: &Spot) -> TargetId {
        TargetId(self.targets.number(spot))
    }

    /// The targets that are these files.
    pub(super) fn targets_at(&self, paths: &HashSet<&Path>) -> Vec<TargetId> {
        let is_one =
            |place: &Place| place.written().is_some_and(|target| paths.contains(target.path()));
        let found = self.places.iter().filter(|(_, place)| is_one(place));
        found.map(|(id, _)| *id).collect()
    }

    pub(super) fn responder_id(&mut self, url: &str) -> ResponderId {
        ResponderId(self.urls.number(&Arc::from(url)))
    }

    pub(super) fn url(&self, id: ResponderId) -> &Arc<str> {
        self.urls.thing(id.0)
    }

    pub(super) fn target(&self, id: TargetId) -> &Spot {
        self.targets.thing(id.0)
    }

    pub(super) fn fingerprint(&self, id: CertId) -> Fingerprint {
        *self.fingerprints.thing(id.0)
    }

    /// What people call a certificate; its fingerprint once it is gone.
    pub(super) fn name(&self, id: CertId) -> Arc<str> {
        match self.certificates.get(&id) {
            Some(known) => known.name().clone(),
            None => self.fingerprint(id).to_string().into(),
        }
    }

    /// The certificates with these names; none given: all of them.
    ///
    /// # Errors
    /// The first name that nothing is called.
    pub(super) fn named(&self, names: &[String]) -> Result<Vec<CertId>, String> {
        if names.is_empty() {
            return Ok(self.certificates.keys().copied().collect());
        }
        let mut found = Vec::new();
        for name in names {
            let before = found.len();
            let called = self.certificates.iter().filter(|(_, known)| {
                known.names.iter().any(|own| **own == **name) || known.leaf.names().contains(name)
            });
            found.extend(called.map(|(id, _)| *id));
            if found.len() == before {
                return Err(name.clone());
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Each worker of this server asks our responder for the target by itself.
    pub(super) fn asks_for_itself(&self, target: TargetId, server: ServerId) -> bool {
        let answered = |place: &Place| matches!(place.spot, Spot::Answered(_));
        let nginx = self.servers.get(&server).is_some_and(|server| server.kind == Kind::Nginx);
        nginx && self.places.get(&target).is_some_and(|place| answered(place))
    }

    /// The same for any of its servers.
    pub(super) fn is_asked_for_by_workers(&self, target: TargetId) -> bool {
        let servers = self.places.get(&target).map(|place| place.servers()).unwrap_or_default();
        servers.into_iter().any(|server| self.asks_for_itself(target, server))
    }

    /// The targets that a server's configuration names.
    pub(super) fn places_of(&self, server: ServerId) -> impl Iterator<Item = TargetId> {
        let names = move |place: &Place| place.deployments.iter().any(|one| one.server == server);
        self.places.iter().filter(move |(_, place)| names(place)).map(|(id, _)| *id)
    }

    /// A staple's bytes as the planner names them.
    pub(super) fn staple(&self, content: Content) -> Option<&Staple> {
        let Content::Staple(cert, digest) = content else { return None };
        self.certificates.get(&cert)?.staple(digest)
    }
}
