//! When a server reloads next: what is urgent gathers, the rest waits for the first close.

use std::time::Duration;

use super::{Entry, Servers, Upstream};
use crate::plan::action::{About, Why};
use crate::plan::agenda::{Item, Slot};
use crate::plan::desk::Desk;
use crate::plan::facts::{ServerId, TargetId};
use crate::time::UnixTime;

/// Urgent reloads wait this long for more of their kind.
const GATHERS: Duration = Duration::from_secs(2);
/// And this long while requests run for certificates of the same server.
const GATHERS_AT_MOST: Duration = Duration::from_secs(5);
/// Between two reloads, as a multiple of how long the last one took.
const APART: u32 = 10;

/// When a server reloads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Wall(UnixTime, Why),
    Uptime(Duration, Why),
}

impl Entry {
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
            let due = desk.policy.reload_windows.before(*closes, now.wall);
            let gathered = self.last.is_some_and(|last| last.at >= due);
            if due <= now.wall && *closes > now.wall && !gathered {
                // In the hours for it, and not yet done in these.
                dues.push(Due::Uptime(spaced, Why::Closing));
            }
            dues.push(if *closes > now.wall {
                Due::Wall(if due > now.wall { due } else { *closes }, Why::Closing)
            } else {
                let latest = now.uptime + self.latest(*id, desk).since(now.wall);
                Due::Uptime(spaced.min(floor.max(latest)), Why::Closing)
            });
        }
        if let Some((at, _)) = self.renewed.first() {
            let at = (*at).max(spaced);
            let opens = desk.policy.reload_windows.next(now.wall);
            dues.push(match at <= now.uptime && opens > now.wall {
                true => Due::Wall(opens, Why::Renewed),
                false => Due::Uptime(at, Why::Renewed),
            });
        }
        if let Some((at, _)) = self.retries.first() {
            dues.push(Due::Uptime((*at).max(floor), Why::Closing));
        }
        dues
    }

    /// When the next reload is due, as well as can be told now, and why.
    pub(in crate::plan) fn next_reload(&self, desk: &Desk) -> Option<(UnixTime, Why)> {
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
}

impl Servers {
    /// Enters the next reload into the agenda, or begins it.
    pub(in crate::plan) fn settle(&mut self, id: ServerId, up: Upstream<'_>, desk: &mut Desk) {
        self.take_up(id, up, desk);
        self.look_again(id, up, desk);
        let Some(entry) = self.table.get_mut(&id) else { return };
        let next = [entry.next_uptake(), entry.next_look()].into_iter().flatten().min();
        let uptime = next.unwrap_or(Duration::MAX);
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
}
