//! The fourth machine: what each server holds, when it reloads, and the proof that it did.
//!
//! Every reload takes up all that is published. Until it is proved, what lay in the targets when it
//! began is the *snapshot*: one match proves the whole of it, since a server reads all its files in
//! one load. What is published later stays pending.

mod confirming;
mod due;
mod entry;
mod placing;
mod reloading;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::action::Why;
use super::agenda::Slot;
use super::certificates::Certificates;
use super::facts::{Content, Server, ServerId, TargetId};
use super::holding::Taken;
use super::pending::{Offer, Pending};
use super::table::Table;
use super::targets::Targets;
use super::uptake::Coming;
use crate::time::UnixTime;

/// All servers, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers {
    table: BTreeMap<ServerId, Entry>,
}

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub server: Server,
    pub(super) deployed: Table<TargetId, Deployed>,
    /// When targets will have been taken up without a reload.
    pub(super) uptakes: BTreeSet<(Duration, TargetId)>,
    /// What a reload would change.
    differs: BTreeSet<TargetId>,
    urgent: BTreeMap<TargetId, Why>,
    urgent_since: Option<Duration>,
    closing: BTreeSet<(UnixTime, TargetId)>,
    /// Those of them that are presented with Must-Staple.
    must_closing: BTreeSet<(UnixTime, TargetId)>,
    renewed: BTreeSet<(Duration, TargetId)>,
    blocking: BTreeSet<TargetId>,
    pub(super) mismatched: BTreeMap<TargetId, Mismatched>,
    retries: BTreeSet<(Duration, TargetId)>,
    reloading: Option<(Duration, Why)>,
    snapshot: BTreeMap<TargetId, Taken>,
    /// Those of the snapshot that no handshake has told about since the reload.
    unanswered: BTreeSet<TargetId>,
    /// Handshakes under way, with the generation they were asked for in.
    asking: BTreeMap<TargetId, Asking>,
    /// Counts reloads by anybody: an answer from before one says nothing about after.
    generation: u64,
    last: Option<LastReload>,
    failures: u32,
    /// Nothing is tried before this uptime.
    not_before: Duration,
    /// At this uptime it is looked once more what is presented of what was renewed, and later again
    /// after so long.
    looks_again: Option<(Duration, Duration)>,
    slot: Slot,
}

/// The last reload by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// When it ended, UTC.
    pub at: UnixTime,
    /// How long it took; nothing for another's.
    pub took: Duration,
    /// Why; `None` for another's.
    pub why: Option<Why>,
    ended: Duration,
}

/// What a server holds for one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Deployed {
    holds: Option<Taken>,
    pub(super) pending: Pending,
    /// What it takes up by itself next.
    pub(super) coming: Option<Box<Coming>>,
    /// When it was last seen to hold something else than it should, by uptime.
    differed: Duration,
    /// It presents a leaf that was renewed: until this uptime its owner's reload is waited for.
    renewed_until: Option<Duration>,
    /// What was published when a handshake was asked for, nothing being known of it.
    learning: Option<Content>,
    /// That was decided when it was placed.
    placed: bool,
    /// Somebody asked for a reload.
    wanted: bool,
}

/// A target that clients are handed something else for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mismatched {
    times: u32,
    pub(super) until: Duration,
    /// A reload has not helped.
    reloaded: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    generation: u64,
    purpose: Purpose,
    /// What was published then.
    published: Content,
}

/// Why a handshake is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Nothing is known.
    Learn,
    /// Our reload is to be proved.
    Reload,
    /// By now the server has taken up by itself what was published, or should have.
    Uptake,
    /// Somebody else reloaded, or may have.
    Sighting,
    /// A certificate was renewed: is the old one still presented?
    Renewal,
}

/// Where the machines up the pipe stand.
#[derive(Clone, Copy)]
pub(super) struct Upstream<'a> {
    pub targets: &'a Targets,
    pub certificates: &'a Certificates,
}

impl<'a> Upstream<'a> {
    pub(super) fn offer(&self, id: TargetId) -> Option<Offer<'a>> {
        self.targets.offer(id, self.certificates)
    }
}

impl Servers {
    pub(super) fn get(&self, id: ServerId) -> Option<&Entry> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ServerId) -> Option<&mut Entry> {
        self.table.get_mut(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServerId> {
        self.table.keys().copied()
    }
}

impl Upstream<'_> {
    /// The targets of a server that each of its workers asks for by itself.
    fn per_worker(&self, server: ServerId) -> impl Iterator<Item = TargetId> {
        let targets = self.targets;
        let per_worker =
            move |id: &TargetId| targets.get(*id).is_some_and(|entry| entry.delivery.per_worker);
        targets.of_server(server).filter(per_worker)
    }

    /// Requests, writes to the store or to targets run for certificates of this server.
    fn runs_for(&self, server: ServerId) -> bool {
        let reads = |id: TargetId| {
            self.targets.get(id).is_some_and(|entry| entry.servers.contains(&server))
        };
        self.targets.publishing().any(reads)
            || self.certificates.busy().iter().any(|cert| self.targets.of_cert(*cert).any(reads))
    }
}

fn put<T: Ord>(set: &mut BTreeSet<T>, id: T, belongs: bool) {
    if belongs {
        set.insert(id);
    } else {
        set.remove(&id);
    }
}
