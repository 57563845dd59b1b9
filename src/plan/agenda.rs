//! When the planner has to look at what again: ordered by wall time and, apart from that, by uptime.
//!
//! Every machine's entries hold a [`Slot`] with the two instants they are entered under, so that an
//! entry moves in O(log n) and nothing is ever searched for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::facts::{CertId, ResponderId, ServerId, TargetId};
use crate::time::{Now, UnixTime};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// The clock's suspicion may end.
    Clock,
    /// A window opens, a threshold or an expiry is passed, a back-off ends.
    Certificate(CertId),
    /// A responder may be probed, or has been down for too long.
    Responder(ResponderId),
    /// A write is tried again, or a placeholder has grown old.
    Target(TargetId),
    /// A reload is due.
    Server(ServerId),
}

/// Where an item stands in the agenda.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// On the wall clock; [`UnixTime::MAX`]: never.
    pub wall: UnixTime,
    /// On the uptime clock; [`Duration::MAX`]: never.
    pub uptime: Duration,
}

impl Default for Slot {
    fn default() -> Self {
        Slot { wall: UnixTime::MAX, uptime: Duration::MAX }
    }
}

/// Both lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    wall: BTreeSet<(UnixTime, Item)>,
    uptime: BTreeSet<(Duration, Item)>,
}

impl Agenda {
    /// Moves `item` from where `slot` says it stands to `to`.
    pub(super) fn set(&mut self, item: Item, slot: &mut Slot, to: Slot) {
        if slot.wall != to.wall {
            self.wall.remove(&(slot.wall, item));
            if to.wall != UnixTime::MAX {
                self.wall.insert((to.wall, item));
            }
        }
        if slot.uptime != to.uptime {
            self.uptime.remove(&(slot.uptime, item));
            if to.uptime != Duration::MAX {
                self.uptime.insert((to.uptime, item));
            }
        }
        *slot = to;
    }

    /// Takes `item` off both lists.
    pub(super) fn clear(&mut self, item: Item, slot: &mut Slot) {
        self.set(item, slot, Slot::default());
    }

    /// The items whose instant has come on either clock. They stay entered until they are moved.
    pub(super) fn due(&self, now: Now) -> Vec<Item> {
        let wall = self.wall.iter().take_while(|(at, _)| *at <= now.wall);
        let uptime = self.uptime.iter().take_while(|(at, _)| *at <= now.uptime);
        let mut due: Vec<Item> = wall.map(|(_, item)| *item).collect();
        due.extend(uptime.map(|(_, item)| *item));
        due
    }

    /// The next instant on each clock; far away where there is none.
    pub(super) fn next(&self) -> Now {
        let wall = self.wall.first().map_or(UnixTime::MAX, |(at, _)| *at);
        let uptime = self.uptime.first().map_or(Duration::MAX, |(at, _)| *at);
        Now { wall, uptime }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_due_on_either_clock() {
        let mut agenda = Agenda::default();
        let mut slot = Slot::default();
        let item = Item::Certificate(CertId(1));
        let at = |wall, uptime| Now {
            wall: UnixTime::from_secs(wall),
            uptime: Duration::from_secs(uptime),
        };
        let to = Slot { wall: UnixTime::from_secs(100), uptime: Duration::from_secs(50) };
        agenda.set(item, &mut slot, to);
        assert_eq!(agenda.due(at(99, 49)), []);
        assert_eq!(agenda.due(at(100, 49)), [item]);
        assert_eq!(agenda.due(at(99, 50)), [item]);
        agenda.set(item, &mut slot, Slot { wall: UnixTime::from_secs(200), ..to });
        assert_eq!(agenda.next(), at(200, 50));
        agenda.clear(item, &mut slot);
        assert_eq!(agenda.next(), Now { wall: UnixTime::MAX, uptime: Duration::MAX });
    }
}
