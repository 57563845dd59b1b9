//! The fourth machine: what each server holds, when it reloads, and the proof that it did.
//!
//! Every reload takes up all that is published. Until it is proved, what lay in the targets when it
//! began is the *snapshot*: one match proves the whole of it, since a server reads all its files in
//! one load. What is published later stays pending.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::action::{About, Action, Why};
use super::agenda::{Item, Slot};
use super::backoff;
use super::certificates::Certificates;
use super::desk::Desk;
use super::event::{ReloadFault, Served, Sighting};
use super::facts::{Content, Loaded, Server, ServerId, TargetId};
use super::holding::{Holding, Taken};
use super::pending::{Known, Offer, Pending, compare};
use super::table::Table;
use super::targets::Targets;
use super::uptake::{Coming, SOON};
use crate::time::{DAY, HOUR, MINUTE, UnixTime};

/// Urgent reloads wait this long for more of their kind.
const GATHERS: Duration = Duration::from_secs(2);
/// And this long while requests run for certificates of the same server.
const GATHERS_AT_MOST: Duration = Duration::from_secs(5);
/// Between two reloads, as a multiple of how long the last one took.
const APART: u32 = 10;
/// A reload that failed, or changed nothing, is tried again after at most this long.
const LONGEST_RETRY: Duration = HOUR;
const LONGEST_MISMATCH_RETRY: Duration = DAY;
/// For so long after a reload another one may be under way that was taken for the same.
const SETTLES: Duration = Duration::from_secs(5);
/// What was published this long before another's reload was noticed has been read by it.
const SURELY_READ: Duration = MINUTE;

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

/// When a server reloads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Wall(UnixTime, Why),
    Uptime(Duration, Why),
}

impl Entry {
    fn new(server: Server) -> Self {
        Entry {
            server,
            deployed: Table::default(),
            uptakes: BTreeSet::new(),
            differs: BTreeSet::new(),
            urgent: BTreeMap::new(),
            urgent_since: None,
            closing: BTreeSet::new(),
            must_closing: BTreeSet::new(),
            renewed: BTreeSet::new(),
            blocking: BTreeSet::new(),
            mismatched: BTreeMap::new(),
            retries: BTreeSet::new(),
            reloading: None,
            snapshot: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            asking: BTreeMap::new(),
            generation: 0,
            last: None,
            failures: 0,
            not_before: Duration::ZERO,
            slot: Slot::default(),
        }
    }

    /// What it holds for a target, as far as it is known.
    pub(super) fn holds(&self, target: TargetId) -> Option<&Taken> {
        self.deployed.get(target)?.holds.as_ref()
    }

    pub(super) fn is_pending(&self, target: TargetId) -> bool {
        self.differs.contains(&target)
    }

    pub(super) fn pending(&self) -> usize {
        self.differs.len()
    }

    pub(super) fn blocked_by(&self) -> impl Iterator<Item = TargetId> {
        self.blocking.iter().copied()
    }

    pub(super) fn last(&self) -> Option<LastReload> {
        self.last
    }

    pub(super) fn is_reloading(&self) -> bool {
        self.reloading.is_some()
    }

    pub(super) fn asking(&self) -> usize {
        self.asking.len()
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn is_mismatched(&self, target: TargetId) -> bool {
        self.mismatched.contains_key(&target)
    }

    /// It presents another leaf for this target than the one that lies on disk now.
    fn awaits_owner(&self, target: TargetId) -> bool {
        let pending = self.deployed.get(target).map(|deployed| deployed.pending);
        pending.is_some_and(|pending| pending.renewed || pending.blocks)
    }

    /// A reload is about to take this target up: it is on its way to the clients.
    pub(super) fn is_under_way(&self, target: TargetId) -> bool {
        let able = self.server.running && self.server.reloads && self.failures == 0;
        let going = able && !self.mismatched.contains_key(&target);
        self.snapshot.contains_key(&target) || going && self.urgent.contains_key(&target)
    }

    /// It would go at once, but a Must-Staple certificate without a staple would go with it.
    pub(super) fn is_held_up(&self, target: TargetId) -> bool {
        !self.blocking.is_empty() && self.urgent.contains_key(&target)
    }

    /// A handshake is about to tell what the server holds.
    pub(super) fn is_asked_about(&self, target: TargetId) -> bool {
        self.asking.contains_key(&target)
    }

    /// Something is being done about this target, or about to be.
    pub(super) fn is_busy_with(&self, target: TargetId) -> bool {
        let goes = self.is_under_way(target) && !self.is_held_up(target);
        goes || self.asking.contains_key(&target)
    }

    /// An urgent reload is gathering, and will not be long.
    pub(super) fn gathers(&self) -> bool {
        self.blocking.is_empty() && self.urgent.keys().any(|target| self.is_under_way(*target))
    }

    /// Enters a target into the lists that its state belongs to, and takes it out of the others.
    fn enter(&mut self, id: TargetId, pending: Pending, desk: &Desk) {
        let now = desk.now.uptime;
        let Some(deployed) = self.deployed.get_mut(id) else { return };
        let was = std::mem::replace(&mut deployed.pending, pending);
        let was_until = deployed.renewed_until;
        let until = was_until.unwrap_or(now + desk.policy.adopt_renewed_after);
        deployed.renewed_until = pending.renewed.then_some(until);
        if was_until != deployed.renewed_until {
            self.renewed.remove(&(until, id));
            if pending.renewed {
                self.renewed.insert((until, id));
            }
        }
        if was == pending {
            return;
        }
        if let Some(closes) = was.closes {
            self.closing.remove(&(closes, id));
            self.must_closing.remove(&(closes, id));
        }
        if let Some(closes) = pending.closes {
            self.closing.insert((closes, id));
            if pending.must_staple && !pending.blocks {
                self.must_closing.insert((closes, id));
            }
        }
        put(&mut self.differs, id, pending.differs);
        put(&mut self.blocking, id, pending.blocks);
        match pending.urgent {
            Some(why) => self.urgent.insert(id, why),
            None => self.urgent.remove(&id),
        };
        if self.urgent.is_empty() {
            self.urgent_since = None;
        } else if self.urgent_since.is_none() {
            self.urgent_since = Some(now);
        }
    }

    /// When reloads are due, and why, on either clock. `busy`: requests run for its certificates.
    fn dues(&self, busy: impl FnOnce() -> bool, desk: &Desk) -> Vec<Due> {
        let able = self.server.running && self.server.reloads && self.reloading.is_none();
        if !able || self.differs.is_empty() {
            return Vec::new();
        }
        let now = desk.now;
        let last = self.last.map(|last| (last.ended, last.took));
        let apart = last.map_or(Duration::ZERO, |(ended, took)| ended + took * APART);
        // A slow reload must not keep the next one until what is loaded has run out.
        let latest = self.closing.first().map(|(_, id)| self.latest(*id, desk).since(now.wall));
        let apart = latest.map_or(apart, |latest| apart.min(now.uptime + latest));
        let floor = self.not_before.max(apart);
        let every = desk.policy.reload_at_most_every;
        let spaced = floor.max(last.map_or(Duration::ZERO, |(ended, _)| ended + every));

        if !self.blocking.is_empty() {
            // Only another Must-Staple deployment that closes outweighs one that has no staple.
            let first = self.must_closing.first().map(|(closes, _)| match *closes > now.wall {
                true => Due::Wall(*closes, Why::Closing),
                false => Due::Uptime(floor, Why::Closing),
            });
            return first.into_iter().collect();
        }
        let mut dues = Vec::with_capacity(4);
        if let Some(since) = self.urgent_since {
            let gathers = now.uptime >= since + GATHERS && busy();
            let until = since + if gathers { GATHERS_AT_MOST } else { GATHERS };
            let why = self.urgent.values().max().copied().unwrap_or(Why::Closing);
            dues.push(Due::Uptime(until.max(floor), why));
        }
        if let Some((closes, id)) = self.closing.first() {
            dues.push(if *closes > now.wall {
                Due::Wall(*closes, Why::Closing)
            } else {
                let latest = now.uptime + self.latest(*id, desk).since(now.wall);
                Due::Uptime(spaced.min(floor.max(latest)), Why::Closing)
            });
        }
        if let Some((at, _)) = self.renewed.first() {
            dues.push(Due::Uptime((*at).max(spaced), Why::Renewed));
        }
        if let Some((at, _)) = self.retries.first() {
            dues.push(Due::Uptime((*at).max(floor), Why::Closing));
        }
        dues
    }

    /// When the next reload is due, as well as can be told now, and why.
    pub(super) fn next_reload(&self, desk: &Desk) -> Option<(UnixTime, Why)> {
        let now = desk.now;
        let on_the_wall = self.dues(|| false, desk).into_iter().map(|due| match due {
            Due::Wall(at, why) => (at, why),
            Due::Uptime(at, why) => (now.wall + at.saturating_sub(now.uptime), why),
        });
        on_the_wall.min_by_key(|(at, _)| *at)
    }

    /// The last instant to which a closing target's reload may be put off.
    fn latest(&self, id: TargetId, desk: &Desk) -> UnixTime {
        let holds = self.base(id);
        let window = holds.and_then(|holds| holds.window(Duration::ZERO, &desk.policy));
        let closes = self.deployed.get(id).and_then(|deployed| deployed.pending.closes);
        window.zip(closes).map_or(desk.now.wall, |(window, closes)| {
            closes + window.latest_reload().since(window.closes)
        })
    }

    /// What it holds, or will once the reload under way is proved.
    fn base(&self, id: TargetId) -> Option<&Taken> {
        self.snapshot.get(&id).or_else(|| self.holds(id))
    }

    /// Compares what is published for a target with what it holds.
    fn compare(&mut self, id: TargetId, offer: &Offer<'_>, desk: &Desk) {
        let Some(deployed) = self.deployed.get(id) else { return };
        let mismatched = self.mismatched.get(&id).copied();
        let known = Known {
            asking: deployed.learning == Some(offer.published.content()),
            probed: self.server.probed,
            fails: mismatched.is_some(),
            differed: deployed.differed,
        };
        let mut pending = compare(offer, self.base(id), known, desk);
        if let Some(mismatched) = mismatched
            && offer.delivery.takes_up.within().is_some()
        {
            // It is asked again instead; a reload is tried once.
            if mismatched.reloaded {
                (pending.urgent, pending.closes) = (None, None);
            }
        } else if let Some(mismatched) = mismatched {
            let waits = mismatched.until > desk.now.uptime;
            put(&mut self.retries, (mismatched.until, id), pending.differs);
            if waits {
                (pending.urgent, pending.closes, pending.renewed) = (None, None, false);
            }
        }
        if deployed.wanted && pending.differs {
            let soon = pending.takes_up.is_some_and(|at| at <= desk.now.uptime + SOON);
            if !soon {
                pending.urgent = Some(pending.urgent.unwrap_or(Why::Wanted).max(Why::Wanted));
            }
        }
        self.enter(id, pending, desk);
        self.await_uptake(id, offer, offer.taken(true));
    }

    /// A target is no longer among what the last reload is to prove.
    pub(super) fn forget_snapshot(&mut self, id: TargetId) {
        self.snapshot.remove(&id);
        self.unanswered.remove(&id);
    }

    fn forgive(&mut self, id: TargetId) {
        if let Some(mismatched) = self.mismatched.remove(&id) {
            self.retries.remove(&(mismatched.until, id));
        }
    }

    /// Asks for a handshake, unless one is under way: its answer will be asked for again.
    pub(super) fn ask(
        &mut self,
        server: ServerId,
        id: TargetId,
        offer: &Offer<'_>,
        purpose: Purpose,
        desk: &mut Desk,
    ) {
        if let Some(asking) = self.asking.get_mut(&id) {
            asking.purpose = purpose;
            return;
        }
        let mut expect = vec![offer.published.content()];
        let taken = self.snapshot.get(&id).map(|taken| taken.holding.content());
        let settled = self.last.is_none_or(|last| last.ended + SETTLES <= desk.now.uptime);
        let held = self.holds(id).filter(|_| purpose == Purpose::Renewal && settled);
        for also in taken.into_iter().chain(held.map(|held| held.holding.content())) {
            if !expect.contains(&also) {
                expect.insert(0, also);
            }
        }
        let (generation, published) = (self.generation, offer.published.content());
        self.asking.insert(id, Asking { generation, purpose, published });
        desk.act(Action::Confirm { target: id, server, expect });
    }

    /// It is known now what the server holds for a target.
    pub(super) fn holds_now(
        &mut self,
        server: ServerId,
        id: TargetId,
        taken: Taken,
        offer: Option<&Offer<'_>>,
        desk: &mut Desk,
    ) {
        let Some(deployed) = self.deployed.get_mut(id) else { return };
        if deployed.holds != Some(taken) {
            deployed.holds = Some(taken);
            desk.loaded.entry(server).or_default().push((id, taken.memory()));
            desk.served.insert(id);
        }
        if let Some(offer) = offer {
            self.compare(id, offer, desk);
        }
    }
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

    /// A server is configured, or what is known of it changed.
    pub(super) fn served(
        &mut self,
        id: ServerId,
        server: Server,
        up: Upstream<'_>,
        desk: &mut Desk,
    ) {
        let before = self.table.get(&id).map(|entry| entry.server);
        let entry = self.table.entry(id).or_insert_with(|| Entry::new(server));
        entry.server =
            Server { running: before.map_or(server.running, |was| was.running), ..server };
        desk.targets.extend(up.targets.of_server(id));
        desk.served.extend(up.targets.of_server(id));
        match before {
            Some(was) if server.running && !was.running => {
                self.sighted(id, Sighting::Started, up, desk);
            }
            Some(was) if !server.running && was.running => {
                self.sighted(id, Sighting::Stopped, up, desk);
            }
            _ => {}
        }
        desk.servers.insert(id);
    }

    /// A server is no longer configured.
    pub(super) fn unserved(&mut self, id: ServerId, up: Upstream<'_>, desk: &mut Desk) {
        let Some(mut entry) = self.table.remove(&id) else { return };
        desk.agenda.clear(Item::Server(id), &mut entry.slot);
        desk.tell(About::ReloadFailed(id), false);
        for target in entry.mismatched.into_keys() {
            desk.tell(About::Mismatch(target, id), false);
        }
        desk.served.extend(up.targets.of_server(id));
    }

    /// A target is among the files of a server. What the disk remembers counts only as long as
    /// nothing better is known.
    pub(super) fn placed(&mut self, id: ServerId, target: TargetId, loaded: Option<&Loaded>) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        let deployed = entry.deployed.get_or_insert_with(target, Deployed::default);
        if deployed.holds.is_none() {
            deployed.holds = loaded.map(Taken::from);
        }
    }

    /// A target is no longer among the files of a server.
    pub(super) fn unplaced(&mut self, id: ServerId, target: TargetId, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        entry.enter(target, Pending::default(), desk);
        entry.forgive(target);
        entry.expect_nothing(target);
        entry.deployed.remove(target);
        entry.forget_snapshot(target);
        entry.asking.remove(&target);
        desk.tell(About::Mismatch(target, id), false);
        desk.servers.insert(id);
    }

    /// What is published for a target, or who claims it, may have changed.
    pub(super) fn offered(
        &mut self,
        id: ServerId,
        target: TargetId,
        wanted: bool,
        up: Upstream<'_>,
        desk: &mut Desk,
    ) {
        let (Some(entry), Some(offer)) = (self.table.get_mut(&id), up.offer(target)) else {
            return;
        };
        let probed = entry.server.running && entry.server.probed;
        let slow = offer.delivery.takes_up.within().is_some_and(|within| within > SOON);
        let deployed = entry.deployed.get_or_insert_with(target, Deployed::default);
        deployed.wanted |= wanted;
        if !std::mem::replace(&mut deployed.placed, true) && probed {
            // One that asks us was answered by nobody while we were away.
            let unknown = slow || deployed.holds.is_none_or(|holds| !holds.proved);
            if unknown && (offer.has_staple() || offer.must_staple) {
                deployed.learning = Some(offer.published.content());
                entry.ask(id, target, &offer, Purpose::Learn, desk);
            }
        } else if slow && probed && deployed.holds.is_none() && offer.has_staple() {
            entry.ask(id, target, &offer, Purpose::Learn, desk);
        }
        let awaited = entry.awaits_owner(target);
        entry.compare(target, &offer, desk);
        if let Some(deployed) = entry.deployed.get_mut(target) {
            deployed.wanted &= deployed.pending.differs;
        }
        if probed && !awaited && entry.awaits_owner(target) {
            // Its owner's reload, or ours, may have come before the target was swapped.
            entry.ask(id, target, &offer, Purpose::Renewal, desk);
        }
        desk.servers.insert(id);
    }

    /// Enters the next reload into the agenda, or begins it.
    pub(super) fn settle(&mut self, id: ServerId, up: Upstream<'_>, desk: &mut Desk) {
        self.take_up(id, up, desk);
        let Some(entry) = self.table.get_mut(&id) else { return };
        let uptime = entry.next_uptake().unwrap_or(Duration::MAX);
        let mut to = Slot { uptime, ..Slot::default() };
        if entry.failures > 0 && entry.differs.is_empty() && entry.reloading.is_none() {
            // It has it all by now, in whatever way.
            (entry.failures, entry.not_before) = (0, Duration::ZERO);
            desk.tell(About::ReloadFailed(id), false);
        }
        let mut fires = None;
        for due in entry.dues(|| up.runs_for(id), desk) {
            match due {
                Due::Wall(at, _) => to.wall = to.wall.min(at),
                Due::Uptime(at, _) if at > desk.now.uptime => to.uptime = to.uptime.min(at),
                Due::Uptime(_, why) => fires = fires.max(Some(why)),
            }
        }
        match fires {
            Some(why) => self.reload(id, why, up, desk),
            None => desk.schedule(Item::Server(id), &mut entry.slot, to),
        }
    }

    /// Begins a reload: everything that is published goes.
    fn reload(&mut self, id: ServerId, why: Why, up: Upstream<'_>, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        entry.reloading = Some((desk.now.uptime, why));
        entry.generation += 1;
        entry.unanswered.clear();
        let taken: BTreeSet<TargetId> =
            entry.differs.iter().chain(entry.snapshot.keys()).copied().collect();
        for target in taken {
            let Some(offer) = up.offer(target) else { continue };
            entry.snapshot.insert(target, offer.taken(true));
            if let Some(deployed) = entry.deployed.get_mut(target) {
                deployed.wanted = false;
            }
            entry.compare(target, &offer, desk);
        }
        desk.act(Action::Reload { server: id, why });
        desk.schedule(Item::Server(id), &mut entry.slot, Slot::default());
    }

    /// A reload ended.
    pub(super) fn reloaded(
        &mut self,
        id: ServerId,
        outcome: Result<(), ReloadFault>,
        up: Upstream<'_>,
        desk: &mut Desk,
    ) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        let Some((began, why)) = entry.reloading.take() else { return };
        desk.servers.insert(id);
        match outcome {
            Ok(()) => {
                let took = desk.now.uptime.saturating_sub(began);
                entry.took_up(Some(why), took, desk);
                entry.server.running = true;
                desk.tell(About::ReloadFailed(id), false);
                let taken: Vec<TargetId> = entry.snapshot.keys().copied().collect();
                if entry.server.probed {
                    entry.unanswered = taken.iter().copied().collect();
                    for target in taken {
                        if let Some(offer) = up.offer(target) {
                            entry.ask(id, target, &offer, Purpose::Reload, desk);
                        }
                    }
                    // A certificate that was renewed meanwhile may have been read or not.
                    let renewed =
                        entry.differs.iter().filter(|target| entry.awaits_owner(**target));
                    let emptied = up.per_worker(id).filter(|id| !entry.snapshot.contains_key(id));
                    for target in renewed.copied().chain(emptied).collect::<BTreeSet<_>>() {
                        if let Some(offer) = up.offer(target) {
                            entry.ask(id, target, &offer, Purpose::Sighting, desk);
                        }
                    }
                } else {
                    self.conclude(id, true, up, desk);
                }
            }
            Err(ReloadFault::Inactive) => {
                entry.server.running = false;
                desk.served.extend(up.targets.of_server(id));
                self.give_up(id, up, desk);
            }
            Err(ReloadFault::Overtaken) => {
                // Whoever asked for it still waits.
                for target in entry.snapshot.keys().filter(|_| why == Why::Wanted) {
                    if let Some(deployed) = entry.deployed.get_mut(*target) {
                        deployed.wanted = true;
                    }
                }
                self.give_up(id, up, desk);
            }
            Err(ReloadFault::Failed) => {
                self.give_up(id, up, desk);
                self.put_off(id, desk);
            }
        }
    }

    /// The reload took nothing up: all is as before.
    fn give_up(&mut self, id: ServerId, up: Upstream<'_>, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        for target in std::mem::take(&mut entry.snapshot).into_keys() {
            if let Some(offer) = up.offer(target) {
                entry.compare(target, &offer, desk);
            }
            desk.served.insert(target);
        }
    }

    /// The server refused: again by back-off, a quarter of the time to the next close at most.
    fn put_off(&mut self, id: ServerId, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        entry.failures = entry.failures.saturating_add(1);
        let draw = backoff::draw(desk.policy.seed, u64::from(id.0), u64::from(entry.failures));
        let mut wait = backoff::wait(entry.failures, LONGEST_RETRY, draw);
        if let Some((closes, _)) = entry.closing.first()
            && *closes > desk.now.wall
        {
            wait = wait.min((closes.since(desk.now.wall) / 4).max(MINUTE / 2));
        }
        entry.not_before = desk.now.uptime + wait;
        desk.tell(About::ReloadFailed(id), true);
    }

    /// Takes the snapshot as loaded: proved by one match, or for want of anybody to ask.
    fn conclude(&mut self, id: ServerId, proved: bool, up: Upstream<'_>, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        entry.unanswered.clear();
        for (target, mut taken) in std::mem::take(&mut entry.snapshot) {
            taken.proved = proved;
            if !proved {
                let before = entry.holds(target);
                let expires = before.and_then(|holds| holds.holding.facts()).map(|f| f.expires);
                taken.older = expires
                    .unwrap_or(UnixTime::MAX)
                    .min(before.map_or(UnixTime::MAX, |holds| holds.older));
            }
            if !entry.server.probed {
                entry.forgive(target);
            }
            entry.holds_now(id, target, taken, up.offer(target).as_ref(), desk);
        }
        desk.servers.insert(id);
    }

    /// A server was seen to start, stop, or reload by somebody else's hand.
    ///
    /// When exactly it read its files is not known, so each target is proved by itself. Where none
    /// can be asked, what lay there for a minute counts as read.
    pub(super) fn sighted(
        &mut self,
        id: ServerId,
        sighting: Sighting,
        up: Upstream<'_>,
        desk: &mut Desk,
    ) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        desk.servers.insert(id);
        if sighting == Sighting::Stopped {
            entry.server.running = false;
            desk.served.extend(up.targets.of_server(id));
            return;
        }
        if !std::mem::replace(&mut entry.server.running, true) {
            desk.served.extend(up.targets.of_server(id));
        }
        entry.generation += 1;
        entry.took_up(None, Duration::ZERO, desk);
        desk.tell(About::ReloadFailed(id), false);
        let emptied = up.per_worker(id).filter(|_| entry.server.probed);
        let changed: BTreeSet<TargetId> = entry.differs.iter().copied().chain(emptied).collect();
        for target in changed {
            let Some(offer) = up.offer(target) else { continue };
            let read = offer.since + SURELY_READ <= desk.now.uptime;
            if entry.server.probed {
                // It may hold this already: no reload for it before that is known.
                if let Some(deployed) = entry.deployed.get_mut(target) {
                    deployed.learning = Some(offer.published.content());
                }
                entry.ask(id, target, &offer, Purpose::Sighting, desk);
                entry.compare(target, &offer, desk);
            } else if read {
                entry.forgive(target);
                entry.holds_now(id, target, offer.taken(true), Some(&offer), desk);
            }
        }
    }

    /// A handshake told what clients see, or could not.
    pub(super) fn confirmed(
        &mut self,
        id: ServerId,
        target: TargetId,
        served: Served,
        up: Upstream<'_>,
        desk: &mut Desk,
    ) {
        let (Some(entry), Some(offer)) = (self.table.get_mut(&id), up.offer(target)) else {
            return;
        };
        let Some(asking) = entry.asking.remove(&target) else { return };
        desk.servers.insert(id);
        if let Some(deployed) = entry.deployed.get_mut(target) {
            deployed.learning = None;
        }
        let in_snapshot = entry.snapshot.contains_key(&target);
        let outdated = asking.published != offer.published.content();
        if offer.delivery.per_worker && outdated && entry.reloading.is_none() {
            // One worker may have it and the others not.
            entry.ask(id, target, &offer, asking.purpose, desk);
            entry.compare(target, &offer, desk);
            return;
        }
        if asking.generation != entry.generation {
            // It may have been seen before the last reload. While one runs, its end asks again.
            let open =
                in_snapshot || entry.holds(target).is_none() || entry.differs.contains(&target);
            if entry.reloading.is_none() && open {
                entry.ask(id, target, &offer, asking.purpose, desk);
            }
            entry.compare(target, &offer, desk);
            return;
        }
        let Served::Seen { leaf, content } = served else {
            entry.unanswered.remove(&target);
            if in_snapshot && entry.unanswered.is_empty() && entry.reloading.is_none() {
                self.conclude(id, false, up, desk);
            } else if asking.purpose == Purpose::Learn && entry.holds(target).is_none() {
                let holding = Holding::Nothing;
                let older = UnixTime::MAX;
                let taken = Taken {
                    holding,
                    leaf: None,
                    must_staple: offer.must_staple,
                    proved: false,
                    older,
                };
                entry.deployed.get_or_insert_with(target, Deployed::default).holds = Some(taken);
                entry.compare(target, &offer, desk);
            } else {
                if asking.purpose == Purpose::Uptake && entry.is_mismatched(target) {
                    entry.blame(id, target, false, desk);
                }
                entry.compare(target, &offer, desk);
            }
            return;
        };
        let before = entry.holds(target).copied();
        let claimed = leaf.filter(|leaf| offer.claimants.contains(leaf));
        let known_leaf = claimed
            .or(leaf.filter(|leaf| before.is_some_and(|before| before.presents() == Some(*leaf))));
        let same = |holding: &Holding| holding.content() == content;
        let (taken, coming) = (entry.snapshot.get(&target).copied(), entry.coming(target));
        // What the last proved reload left there is right too, though something newer is published.
        let settled = before.filter(|_| !in_snapshot && !entry.is_mismatched(target));
        let expected = [Some(*offer.published), taken.or(settled).map(|taken| taken.holding)];
        let matching = expected.iter().flatten().find(|holding| same(holding)).copied();
        let leaf_fits = claimed.is_some() || offer.claimants.is_empty();
        let known = [before, coming].into_iter().flatten().find(|taken| same(&taken.holding));
        let holding = matching.unwrap_or_else(|| match known {
            Some(known) => known.holding,
            None => {
                let facts = match content {
                    Content::Staple(cert, _) => up.certificates.held(cert).copied(),
                    _ => None,
                };
                Holding::new(content, facts)
            }
        });
        let must_staple = known_leaf
            .and_then(|leaf| up.certificates.get(leaf).map(|cert| cert.must_staple))
            .or(before.map(|before| before.must_staple))
            .unwrap_or(offer.must_staple);
        let seen =
            Taken { holding, leaf: known_leaf, must_staple, proved: true, older: UnixTime::MAX };
        entry.unanswered.remove(&target);
        let matches = matching.is_some() && leaf_fits;
        if matches {
            entry.snapshot.remove(&target);
            entry.forgive(target);
            desk.tell(About::Mismatch(target, id), false);
            entry.holds_now(id, target, seen, Some(&offer), desk);
            if in_snapshot && entry.reloading.is_none() {
                self.conclude(id, true, up, desk);
            }
            return;
        }
        // A server that did not take up what our reload was for. Another's reload may have come
        // before what is published now, and then nothing is wrong.
        entry.snapshot.remove(&target);
        if leaf_fits {
            entry.expect_nothing(target);
        }
        if let Some(deployed) = entry.deployed.get_mut(target) {
            deployed.differed = desk.now.uptime;
        }
        if matches!(asking.purpose, Purpose::Reload | Purpose::Uptake) {
            entry.blame(id, target, asking.purpose == Purpose::Reload, desk);
        }
        entry.holds_now(id, target, seen, Some(&offer), desk);
        if entry.unanswered.is_empty() && !entry.snapshot.is_empty() && entry.reloading.is_none() {
            self.conclude(id, false, up, desk);
        }
    }
}

impl Entry {
    /// It read its files, by whoever's hand.
    fn took_up(&mut self, why: Option<Why>, took: Duration, desk: &Desk) {
        let ended = desk.now.uptime;
        self.last = Some(LastReload { at: desk.now.wall, took, why, ended });
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    /// It did not take up a target: another try is put off, longer each time.
    fn blame(&mut self, server: ServerId, id: TargetId, reloaded: bool, desk: &mut Desk) {
        let before = self.mismatched.get(&id).copied();
        let times = before.map_or(1, |mismatched| mismatched.times + 1);
        let reloaded = reloaded || before.is_some_and(|mismatched| mismatched.reloaded);
        self.forgive(id);
        let draw = backoff::draw(desk.policy.seed, u64::from(id.0), u64::from(times));
        let until = desk.now.uptime + backoff::wait(times, LONGEST_MISMATCH_RETRY, draw);
        self.mismatched.insert(id, Mismatched { times, until, reloaded });
        desk.tell(About::Mismatch(id, server), true);
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
