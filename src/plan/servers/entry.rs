//! One server: what is known of it, and the lists that its targets stand in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Entry, LastReload, put};
use crate::plan::action::Why;
use crate::plan::agenda::Slot;
use crate::plan::desk::Desk;
use crate::plan::facts::{Server, ServerId, TargetId};
use crate::plan::holding::Taken;
use crate::plan::pending::{Known, Offer, Pending, compare};
use crate::plan::table::Table;
use crate::plan::uptake::SOON;
use crate::time::UnixTime;

impl Entry {
    pub(super) fn new(server: Server) -> Self {
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
            looks_again: None,
            slot: Slot::default(),
        }
    }

    /// What it holds for a target, as far as it is known.
    pub(in crate::plan) fn holds(&self, target: TargetId) -> Option<&Taken> {
        self.deployed.get(target)?.holds.as_ref()
    }

    pub(in crate::plan) fn is_pending(&self, target: TargetId) -> bool {
        self.differs.contains(&target)
    }

    /// The uptime by which it takes up by itself what a target holds and it has not.
    pub(in crate::plan) fn takes_up(&self, target: TargetId) -> Option<Duration> {
        self.deployed.get(target)?.pending.takes_up
    }

    /// It is about to, and nobody reloads it for that.
    pub(in crate::plan) fn takes_up_soon(&self, target: TargetId, now: Duration) -> bool {
        let soon = SOON + SOON / 10;
        let at = self.takes_up(target).filter(|_| self.server.running && self.server.probed);
        at.is_some_and(|at| at > now && at - now <= soon)
    }

    pub(in crate::plan) fn pending(&self) -> usize {
        self.differs.len()
    }

    pub(in crate::plan) fn blocked_by(&self) -> impl Iterator<Item = TargetId> {
        self.blocking.iter().copied()
    }

    pub(in crate::plan) fn last(&self) -> Option<LastReload> {
        self.last
    }

    pub(in crate::plan) fn is_reloading(&self) -> bool {
        self.reloading.is_some()
    }

    pub(in crate::plan) fn asking(&self) -> usize {
        self.asking.len()
    }

    pub(in crate::plan) fn failures(&self) -> u32 {
        self.failures
    }

    /// Something it holds ought to have been replaced by now, and could be.
    pub(in crate::plan) fn is_past_a_close(&self, now: UnixTime) -> bool {
        self.closing.first().is_some_and(|(closes, _)| *closes <= now)
    }

    pub(in crate::plan) fn is_mismatched(&self, target: TargetId) -> bool {
        self.mismatched.contains_key(&target)
    }

    /// It presents another leaf for this target than the one that lies on disk now.
    pub(super) fn awaits_owner(&self, target: TargetId) -> bool {
        let pending = self.deployed.get(target).map(|deployed| deployed.pending);
        pending.is_some_and(|pending| pending.renewed || pending.blocks)
    }

    /// A reload is about to take this target up: it is on its way to the clients.
    pub(in crate::plan) fn is_under_way(&self, target: TargetId) -> bool {
        let able = self.server.running && self.server.reloads && self.failures == 0;
        let going = able && !self.mismatched.contains_key(&target);
        self.snapshot.contains_key(&target) || going && self.urgent.contains_key(&target)
    }

    /// It would go at once, but a Must-Staple certificate without a staple would go with it.
    pub(in crate::plan) fn is_held_up(&self, target: TargetId) -> bool {
        !self.blocking.is_empty() && self.urgent.contains_key(&target)
    }

    /// A handshake is about to tell what the server holds.
    pub(in crate::plan) fn is_asked_about(&self, target: TargetId) -> bool {
        self.asking.contains_key(&target)
    }

    /// Something is being done about this target, or about to be.
    pub(in crate::plan) fn is_busy_with(&self, target: TargetId) -> bool {
        let goes = self.is_under_way(target) && !self.is_held_up(target);
        goes || self.asking.contains_key(&target)
    }

    /// An urgent reload is gathering, and will not be long.
    pub(in crate::plan) fn gathers(&self) -> bool {
        self.blocking.is_empty() && self.urgent.keys().any(|target| self.is_under_way(*target))
    }

    /// Enters a target into the lists that its state belongs to, and takes it out of the others.
    pub(super) fn enter(&mut self, id: TargetId, pending: Pending, desk: &Desk) {
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

    /// What it holds, or will once the reload under way is proved.
    pub(super) fn base(&self, id: TargetId) -> Option<&Taken> {
        self.snapshot.get(&id).or_else(|| self.holds(id))
    }

    /// Compares what is published for a target with what it holds.
    pub(super) fn compare(&mut self, id: TargetId, offer: &Offer<'_>, desk: &Desk) {
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
    pub(in crate::plan) fn forget_snapshot(&mut self, id: TargetId) {
        self.snapshot.remove(&id);
        self.unanswered.remove(&id);
    }

    pub(super) fn forgive(&mut self, id: TargetId) {
        if let Some(mismatched) = self.mismatched.remove(&id) {
            self.retries.remove(&(mismatched.until, id));
        }
    }

    /// It is known now what the server holds for a target.
    pub(in crate::plan) fn holds_now(
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
