//! What the machines share while one event is handled: the instant, the policy, the agenda, the
//! actions decided so far and the notes the machines leave for each other down the pipe.

use std::collections::{BTreeMap, BTreeSet};

use super::action::{About, Action, Memory, Notice};
use super::agenda::{Agenda, Item, Slot};
use super::facts::{CertId, Loaded, Policy, ResponderId, ServerId, TargetId};
use crate::time::Now;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub now: Now,
    pub policy: Policy,
    /// The wall clock is in doubt: withdraw nothing.
    pub suspect: bool,
    pub agenda: Agenda,
    pub actions: Vec<Action>,
    /// Notices that have begun and not ended.
    pub told: BTreeSet<About>,
    /// May have somebody to ask now.
    pub responders: BTreeSet<ResponderId>,
    /// What they should hold may have changed.
    pub targets: BTreeSet<TargetId>,
    /// Their next reload may have moved.
    pub servers: BTreeSet<ServerId>,
    /// How long clients are safe may have changed.
    pub standing: BTreeSet<CertId>,
    /// The same for every claimant of these.
    pub served: BTreeSet<TargetId>,
    /// What servers are newly known to hold.
    pub loaded: BTreeMap<ServerId, Vec<(TargetId, Loaded)>>,
}

impl Desk {
    pub(super) fn new(policy: Policy, now: Now) -> Self {
        Desk {
            now,
            policy,
            suspect: false,
            agenda: Agenda::default(),
            actions: Vec::new(),
            told: BTreeSet::new(),
            responders: BTreeSet::new(),
            targets: BTreeSet::new(),
            servers: BTreeSet::new(),
            standing: BTreeSet::new(),
            served: BTreeSet::new(),
            loaded: BTreeMap::new(),
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Tells that a condition holds, or no longer does; only changes are told.
    pub(super) fn tell(&mut self, about: About, holds: bool) {
        let changed = if holds { self.told.insert(about) } else { self.told.remove(&about) };
        if changed {
            self.actions.push(Action::Tell(Notice { about, begins: holds }));
        }
    }

    pub(super) fn is_told(&self, about: About) -> bool {
        self.told.contains(&about)
    }

    pub(super) fn schedule(&mut self, item: Item, slot: &mut Slot, to: Slot) {
        self.agenda.set(item, slot, to);
    }

    /// The actions of this event, most urgent first, the next wake-up last.
    ///
    /// What changes files comes first, then reloads; requests last, since nobody waits for them,
    /// with all they need remembered before the first of them, so that one write makes it durable.
    pub(super) fn hand_over(&mut self) -> Vec<Action> {
        for (server, targets) in std::mem::take(&mut self.loaded) {
            self.actions.push(Action::Remember(Memory::Loaded { server, targets }));
        }
        let mut actions = std::mem::take(&mut self.actions);
        actions.sort_by_key(|action| match action {
            Action::Publish { .. } => 0,
            Action::Reload { .. } => 1,
            Action::Keep { .. } => 2,
            Action::Tell(_) => 3,
            Action::Remember(_) => 4,
            Action::Fetch { .. } => 5,
            Action::Confirm { .. } => 6,
            Action::WakeAt(_) => 7,
        });
        actions.push(Action::WakeAt(self.agenda.next()));
        actions
    }
}
