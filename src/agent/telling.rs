//! What particular servers need besides a file: HAProxy's socket, and a care for what stops a start.

use std::path::Path;
use std::sync::Arc;

use super::Agent;
use super::kinds;
use super::message::Message;
use super::world::{Deployed, Place};
use super::writer::{Job, Running, What};
use crate::discover::{Address, Deployment, Kind, ServerName};
use crate::ocsp::{CertIdHash, Staple};
use crate::plan::{CertId, Content, Event, PublishFault, TargetId};
use crate::publish::Target;
use crate::publish::admin::{Pair, Socket, can_be_named};

/// What keeps a staple from a target.
enum Obstacle {
    /// A server would not start with any staple there.
    Barred,
    /// A server takes no CertID but SHA-1's.
    OtherHash(Kind),
}

impl Agent {
    /// Has a file written, and the servers told that take it while they run.
    pub(super) fn put_into_file(
        &mut self,
        target: TargetId,
        at: Target,
        content: Content,
        what: What,
    ) {
        let place = &self.world.places[&target];
        match self.obstacle(place, &what) {
            None => {
                let running = self.running(place);
                self.obstacles.remove(&target);
                self.write(Job::Publish { target, at, content, what, running });
            }
            Some(Obstacle::Barred) => {
                let why = format!(
                    "{at}: HAProxy would not start with a staple beside a certificate file that lacks its \
                     issuer; put the whole chain into the file"
                );
                self.obstructed(target, why);
                let (content, what) = (Content::Nothing, What::Nothing);
                let running = Vec::new();
                self.write(Job::Publish { target, at, content, what, running });
            }
            Some(Obstacle::OtherHash(kind)) => {
                let why = format!(
                    "{at}: {kind} takes no answer but one whose CertID is hashed by SHA-1, and the responder \
                     gave another; if [[issuer]] has cert_id_hash, make it \"auto\" or \"sha1\""
                );
                self.obstructed(target, why);
                let outcome = Err(PublishFault::Refused);
                self.send(Message::Written(vec![(Event::Published { target, outcome }, None)]));
            }
        }
    }

    /// Says so while it lasts, and logs it once.
    fn obstructed(&mut self, target: TargetId, why: String) {
        if self.obstacles.get(&target) != Some(&why) {
            tracing::warn!("{why}");
            self.obstacles.insert(target, why);
        }
    }

    /// Another staple has come: what kept the last one from its targets need not keep this one.
    pub(super) fn try_obstructed(&mut self, cert: CertId) {
        let claims = |id: &&TargetId| {
            self.world.places.get(id).is_some_and(|place| place.claimants.contains(&cert))
        };
        let ids: Vec<TargetId> = self.obstacles.keys().filter(claims).copied().collect();
        ids.into_iter().for_each(|id| self.look_again(id));
    }

    /// Whether a staple is of no use to a server that presents the certificate.
    pub(super) fn is_unfit(&self, cert: CertId, staple: &Staple) -> bool {
        self.sha1_wanted.contains(&cert) && staple.cert_id_hash() != Some(CertIdHash::Sha1)
    }

    fn obstacle(&self, place: &Place, what: &What) -> Option<Obstacle> {
        let What::Staple(staple) = what else { return None };
        if place.deployments.iter().any(|one| one.barred) {
            return Some(Obstacle::Barred);
        }
        let kinds = place.deployments.iter().filter_map(|one| self.world.servers.get(&one.server));
        let picky = kinds.map(|server| server.kind).find(|kind| kinds::wants_sha1(*kind))?;
        let other = staple.cert_id_hash() != Some(CertIdHash::Sha1);
        other.then_some(Obstacle::OtherHash(picky))
    }

    /// The servers that take a target's staple while they run.
    fn running(&self, place: &Place) -> Vec<Running> {
        let running = |one: &Deployed| {
            let server = self.world.servers.get(&one.server)?;
            let deployment = server.deployments.get(one.at)?;
            let theirs = |path: &Path| can_be_named(path).then(|| path.to_owned());
            let (certificate, staple) = match &deployment.called {
                Some(name) => {
                    (Path::new(&**name).into(), Path::new(&format!("{name}.ocsp")).into())
                }
                None => (
                    deployment.certificates.first()?.file.theirs.clone(),
                    deployment.stapling_file.as_ref()?.value.theirs.clone(),
                ),
            };
            let pair = Pair { certificate: theirs(&certificate)?, staple: theirs(&staple)? };
            let sockets: Arc<[Socket]> = server.admin.iter().filter_map(socket).collect();
            (!sockets.is_empty()).then_some(Running { sockets, pair })
        };
        place.deployments.iter().filter_map(running).collect()
    }

    /// Tells running servers what lies in a target.
    pub(super) fn tell_running(&self, target: TargetId, content: Content) {
        let (Some(place), Some(staple)) =
            (self.world.places.get(&target), self.world.staple(content))
        else {
            return;
        };
        let running = self.running(place);
        if !running.is_empty() && self.store.is_some() {
            self.write(Job::Tell { staple: staple.clone(), running });
        }
    }

    /// What is to be looked at by handshake; `by_certificate`: a deployment without names of its own
    /// answers to those of its certificate.
    pub(super) fn views(
        &self,
        deployments: &[&Deployed],
        known: &[Deployment],
        by_certificate: bool,
    ) -> Vec<Deployment> {
        let view = |one: &&Deployed| {
            let mut deployment = known.get(one.at)?.clone();
            if by_certificate && deployment.names.is_empty() {
                let leaf = one.leaves.first().and_then(|id| self.world.certificates.get(id));
                let names = leaf.map(|known| known.leaf.names()).unwrap_or_default();
                deployment.names = names.iter().map(|name| named(name)).collect();
            }
            Some(deployment)
        };
        deployments.iter().filter_map(view).collect()
    }
}

fn named(name: &str) -> ServerName {
    match name.starts_with('*') {
        true => ServerName::Wildcard(name.into()),
        false => ServerName::Exact(name.into()),
    }
}

fn socket(address: &Address) -> Option<Socket> {
    match address {
        Address::Unix(path) => Some(Socket::Unix(path.to_path_buf())),
        Address::Ip(address) => Some(Socket::Tcp(*address)),
        Address::Host(..) => None,
    }
}
