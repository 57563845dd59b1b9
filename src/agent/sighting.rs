//! Looks at servers from time to time: nothing tells of a start, a stop or somebody else's reload.

use tokio::time::Instant;

use super::{Agent, SIGHT_AT_ONCE, SIGHT_EVERY, SIGHT_SOON};
use crate::happening::{Happening, Sighted};
use crate::plan::{Event, ServerId, Sighting};

impl Agent {
    /// When servers are looked at next, the last time being `sighted`.
    pub(super) fn sight_due(&self, sighted: Option<Instant>) -> Option<Instant> {
        if self.world.servers.is_empty() {
            return None;
        }
        let Some(sighted) = sighted else { return Some(Instant::now()) };
        let (at_once, soon) = (sighted + SIGHT_AT_ONCE, sighted + SIGHT_SOON);
        let asked = self.has_askers();
        Some(if asked && at_once < self.sight_at_once_until {
            at_once
        } else if asked || soon < self.sight_soon_until {
            soon
        } else {
            sighted + SIGHT_EVERY
        })
    }

    /// Looks at every server: whether it runs, and whether somebody else reloaded it.
    pub(super) fn sight(&mut self) {
        let ids: Vec<ServerId> = self.world.servers.keys().copied().collect();
        for id in ids {
            // What it is about to show is our own doing.
            if self.planner.server(id).is_some_and(|server| server.reloading) {
                continue;
            }
            let Some(server) = self.world.servers.get_mut(&id) else { continue };
            let before = server.facts();
            let sighting = server.sight();
            let facts = server.facts();
            if facts.reloads != before.reloads || (sighting.is_none() && facts != before) {
                self.handle(Event::Served(id, facts));
            }
            if let Some(sighting) = sighting {
                let what = match sighting {
                    Sighting::Started => Sighted::Started,
                    Sighting::Stopped => Sighted::Stopped,
                    Sighting::Reloaded => Sighted::Reloaded,
                };
                self.observe(Happening::Sighted { server: self.server_label(id), what });
                self.handle(Event::Sighted(id, sighting));
            }
        }
    }
}
