//! Which servers there are, and which targets are among their files.

use std::time::Duration;

use super::{Deployed, Entry, Purpose, Servers, Upstream};
use crate::plan::action::About;
use crate::plan::agenda::Item;
use crate::plan::desk::Desk;
use crate::plan::event::Sighting;
use crate::plan::facts::{Loaded, Server, ServerId, TargetId};
use crate::plan::holding::Taken;
use crate::plan::pending::Pending;
use crate::plan::uptake::SOON;

impl Servers {
    /// A server is configured, or what is known of it changed.
    pub(in crate::plan) fn served(
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
    pub(in crate::plan) fn unserved(&mut self, id: ServerId, up: Upstream<'_>, desk: &mut Desk) {
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
    pub(in crate::plan) fn placed(
        &mut self,
        id: ServerId,
        target: TargetId,
        loaded: Option<&Loaded>,
    ) {
        let Some(entry) = self.table.get_mut(&id) else { return };
        let deployed = entry.deployed.get_or_insert_with(target, Deployed::default);
        if deployed.holds.is_none() {
            deployed.holds = loaded.map(Taken::from);
        }
    }

    /// A target is no longer among the files of a server.
    pub(in crate::plan) fn unplaced(&mut self, id: ServerId, target: TargetId, desk: &mut Desk) {
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
    pub(in crate::plan) fn offered(
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
        if wanted {
            // Whoever asks for it may have mended what kept the server from reloading.
            entry.not_before = Duration::ZERO;
        }
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
            entry.look_again_soon(desk);
        }
        desk.servers.insert(id);
    }
}
