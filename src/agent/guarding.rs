//! Staple files that somebody else removes or spoils are put right at once.
//!
//! nginx does not start without them, and whoever reloads it does not ask us first. They are watched
//! apart from what is scanned: our own writing is noticed too, and must not hold up the news of a
//! renewed certificate.

use std::collections::HashSet;
use std::path::Path;

use super::world::Spot;
use super::{Agent, prepare};
use crate::discover::{Changed, Watched};
use crate::plan::{TargetId, TargetView};

impl Agent {
    /// The files to watch, if they are others than before.
    pub(super) fn take_guarded(&mut self) -> Option<Watched> {
        if !std::mem::take(&mut self.guard_anew) {
            return None;
        }
        let written = self.world.places.values().filter_map(|place| place.written());
        Some(written.map(|target| target.path().to_owned()).collect())
    }

    /// Something happened to staple files, or to what leads to them.
    pub(super) fn touched(&mut self, changed: &Changed) {
        let Changed::Paths(paths) = changed else {
            self.guard_anew = true;
            return self.put_all_right();
        };
        let paths: HashSet<&Path> =
            paths.iter().map(|path| &**path).filter(|path| !is_temporary(path)).collect();
        let ids = self.world.targets_at(&paths);
        // A folder went or came: what could not be written there is tried again.
        self.guard_anew |= ids.len() < paths.len();
        if self.guard_anew {
            self.put_all_right();
        } else {
            self.put_right_and_say(ids);
        }
    }

    /// Looks at every target, and tries again what could not be written.
    pub(super) fn put_all_right(&mut self) {
        let failed: Vec<TargetId> =
            self.planner.targets().filter(|one| one.failures > 0).map(|one| one.id).collect();
        for id in failed {
            self.look_again(id);
        }
        let ids = self.world.places.keys().copied().collect();
        self.put_right_and_say(ids);
    }

    fn put_right_and_say(&mut self, ids: Vec<TargetId>) {
        for spot in self.put_right(ids) {
            tracing::warn!(target = %spot, "was changed by somebody else; putting it right");
        }
    }

    /// Tells the planner of targets that hold something else than was put there; gives them.
    pub(super) fn put_right(&mut self, mut ids: Vec<TargetId>) -> Vec<Spot> {
        // What failed is tried again by the planner, which does not know how far it came.
        let settled = |one: TargetView| !one.publishing && one.failures == 0;
        ids.retain(|id| self.planner.target(*id).is_some_and(settled));
        let ids = prepare::changed(ids.iter().map(|id| (*id, &*self.world.places[id])));
        let places = ids.iter().map(|id| &*self.world.places[id]);
        let found = prepare::inspect(places, &self.world, self.clock.now().wall);
        let mut tampered = Vec::new();
        for (id, inspected) in ids.into_iter().zip(found) {
            if let Some(place) = self.world.places.get_mut(&id) {
                place.stamp = inspected.stamp;
            }
            if self.planner.target(id).is_some_and(|one| one.published != inspected.content) {
                tampered.push(self.world.target(id).clone());
                self.replace(id, inspected);
            }
        }
        tampered
    }

    /// Tells the planner once more of a target and what lies in it.
    pub(super) fn look_again(&mut self, id: TargetId) {
        let place = self.world.places.get(&id).map(|place| &**place).into_iter();
        let found = prepare::inspect(place, &self.world, self.clock.now().wall);
        if let Some(inspected) = found.into_iter().next() {
            self.replace(id, inspected);
        }
    }
}

/// What publishing leaves for an instant.
fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
