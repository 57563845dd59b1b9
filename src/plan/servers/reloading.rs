//! A reload begins, ends, or was made by somebody else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Entry, LastReload, Purpose, Servers, Upstream};
use crate::plan::action::{About, Action, Why};
use crate::plan::agenda::{Item, Slot};
use crate::plan::backoff;
use crate::plan::desk::Desk;
use crate::plan::event::{ReloadFault, Sighting};
use crate::plan::facts::{ServerId, TargetId};
use crate::time::{HOUR, MINUTE, UnixTime};

/// A reload that failed is tried again after at most this long.
const LONGEST_RETRY: Duration = HOUR;
/// What was published this long before another's reload was noticed has been read by it.
const SURELY_READ: Duration = MINUTE;

impl Servers {
    /// Begins a reload: everything that is published goes.
    pub(super) fn reload(&mut self, id: ServerId, why: Why, up: Upstream<'_>, desk: &mut Desk) {
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
    pub(in crate::plan) fn reloaded(
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
                        let purpose = match entry.awaits_owner(target) {
                            true => Purpose::Renewal,
                            false => Purpose::Sighting,
                        };
                        if let Some(offer) = up.offer(target) {
                            if purpose == Purpose::Renewal {
                                entry.look_again_soon(desk);
                            }
                            entry.ask(id, target, &offer, purpose, desk);
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
    pub(super) fn conclude(
        &mut self,
        id: ServerId,
        proved: bool,
        up: Upstream<'_>,
        desk: &mut Desk,
    ) {
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
    pub(in crate::plan) fn sighted(
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
}

impl Entry {
    /// It read its files, by whoever's hand.
    fn took_up(&mut self, why: Option<Why>, took: Duration, desk: &Desk) {
        let ended = desk.now.uptime;
        self.last = Some(LastReload { at: desk.now.wall, took, why, ended });
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }
}
