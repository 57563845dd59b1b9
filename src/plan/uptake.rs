//! Servers that take up by themselves what is published: Apache's cache, nginx asking a responder,
//! HAProxy's socket.
//!
//! Nothing has to be done for them in the normal course. Publication and the length that the server
//! takes at most give an instant, and from then on what was published counts as loaded; a handshake
//! is asked for that proves it. A reload empties their memory, so what cannot wait goes by one.

use std::time::Duration;

use super::action::Why;
use super::desk::Desk;
use super::facts::{ServerId, TargetId};
use super::holding::Taken;
use super::pending::{Known, Offer, Pending};
use super::servers::{Entry, Purpose, Servers, Upstream};
use crate::time::{MINUTE, UnixTime};

/// Whoever takes up by itself as soon as that is not reloaded for anything urgent.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// What a server is about to take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coming {
    /// By this uptime.
    at: Duration,
    /// What counts as loaded then; `None`: it only is asked again, having failed to.
    taken: Option<Taken>,
}

impl Offer<'_> {
    /// The uptime by which the server has taken up what lies there, without a reload; `None`: it
    /// does so only at a reload, or is known to fail.
    pub(super) fn takes_up_at(&self, known: Known) -> Option<Duration> {
        let within = self.delivery.takes_up.within()?;
        // Neither clocks nor clients, whose handshakes set it going, are on the dot.
        let leeway = (within / 10).min(MINUTE);
        Some(self.since.max(known.differed) + within + leeway)
    }

    /// What is left to do of `pending` where the server takes up by itself at the uptime `at`.
    pub(super) fn by_itself(
        &self,
        pending: Pending,
        at: Option<Duration>,
        known: Known,
        holds: &Taken,
        desk: &Desk,
    ) -> Pending {
        let (Some(at), true) = (at, pending.differs) else { return pending };
        if known.fails {
            return pending;
        }
        let pending = Pending { takes_up: Some(at), ..pending };
        if self.delivery.takes_up.within().is_some_and(|within| within <= SOON) {
            return Pending { urgent: None, closes: None, ..pending };
        }
        let (urgent, closes) = match pending.urgent {
            Some(Why::Revoked | Why::Withdrawn) => (pending.urgent, None),
            // It may only not have been asked by any client yet.
            Some(Why::First) => (pending.urgent.filter(|_| holds.proved), None),
            // Not where it will have it in time.
            _ => {
                let window = holds.window(self.delivery.stops_early, &desk.policy);
                let at = desk.now.wall + at.saturating_sub(desk.now.uptime);
                match window.is_some_and(|window| window.latest_reload() < at) {
                    true => (pending.urgent, pending.closes),
                    false => (None, None),
                }
            }
        };
        Pending { urgent, closes, ..pending }
    }
}

impl Entry {
    /// Keeps in mind when a target will have been taken up, or is asked about again. Whatever was
    /// published first is taken up first.
    pub(super) fn await_uptake(&mut self, id: TargetId, offer: &Offer<'_>, taken: Taken) {
        let by_itself = offer.delivery.takes_up.within().is_some();
        let mismatched = self.mismatched.get(&id).map(|mismatched| mismatched.until);
        let Some(deployed) = self.deployed.get_mut(id) else { return };
        let pending = deployed.pending;
        let before = deployed.coming.as_deref().copied();
        let coming = match (pending.takes_up, mismatched) {
            _ if !by_itself || !pending.differs => None,
            (_, Some(until)) => Some(Coming { at: until, taken: None }),
            (Some(at), None) => match before {
                Some(before) if before.taken.is_some_and(|before| before != taken) => Some(before),
                _ => Some(Coming { at, taken: Some(taken) }),
            },
            // It goes on presenting a certificate that was renewed, and is answered about it.
            (None, None) => before.filter(|before| before.taken.is_some()),
        };
        if coming != before {
            deployed.coming = coming.map(Box::new);
            if let Some(before) = before {
                self.uptakes.remove(&(before.at, id));
            }
            if let Some(coming) = coming {
                self.uptakes.insert((coming.at, id));
            }
        }
    }

    /// What was seen says that nothing is on its way.
    pub(super) fn expect_nothing(&mut self, id: TargetId) {
        let Some(deployed) = self.deployed.get_mut(id) else { return };
        if let Some(coming) = deployed.coming.take() {
            self.uptakes.remove(&(coming.at, id));
        }
    }

    /// What it is about to take up.
    pub(super) fn coming(&self, id: TargetId) -> Option<Taken> {
        self.deployed.get(id)?.coming.as_ref()?.taken
    }

    /// When the next target will have been taken up.
    pub(super) fn next_uptake(&self) -> Option<Duration> {
        self.uptakes.first().map(|(at, _)| *at).filter(|_| self.server.running)
    }
}

impl Servers {
    /// What should have been taken up by now counts as loaded, and is asked about.
    pub(super) fn take_up(&mut self, id: ServerId, up: Upstream<'_>, desk: &mut Desk) {
        let Some(entry) = self.get_mut(id).filter(|entry| entry.server.running) else { return };
        let due = entry.uptakes.iter().take_while(|(at, _)| *at <= desk.now.uptime);
        let due: Vec<TargetId> = due.map(|(_, target)| *target).collect();
        for target in due {
            let coming = entry.coming(target);
            entry.expect_nothing(target);
            let Some(offer) = up.offer(target) else { continue };
            let probed = entry.server.probed;
            if let Some(taken) = coming {
                let before = entry.holds(target).filter(|_| probed);
                let older = before.map_or(UnixTime::MAX, |before| before.safe_until());
                let taken = Taken { proved: false, older, ..taken };
                // Whatever a reload under way takes up is older.
                entry.forget_snapshot(target);
                entry.holds_now(id, target, taken, Some(&offer), desk);
            }
            if probed {
                entry.ask(id, target, &offer, Purpose::Uptake, desk);
            }
        }
    }
}
