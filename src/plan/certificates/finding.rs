//! Which certificates there are, and what is known of them.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Verdict;
use super::{Certificates, Entry, State};
use crate::ocsp::Status;
use crate::plan::action::About;
use crate::plan::agenda::{Item, Slot};
use crate::plan::desk::Desk;
use crate::plan::facts::{CertId, Certificate, ResponderId};
use crate::plan::responders::{Responders, Urgency};
use crate::plan::trust::Trust;
use crate::plan::window::Lead;
use crate::time::UnixTime;

impl Certificates {
    /// A certificate was found, or what is known of it changed.
    ///
    /// A staple from disk replaces what is held only by the rules for answers; one that is no longer
    /// on disk is still held.
    pub(in crate::plan) fn found(
        &mut self,
        found: Certificate,
        responders: &mut Responders,
        trust: &mut Trust,
        desk: &mut Desk,
    ) {
        let id = found.id;
        if let Some(held) = &found.held {
            trust.accepted(held.this_update, false);
        }
        let list = self.list(&found.responders);
        let known = self.table.remove(id).map(|entry| *entry);
        let is_known = known.is_some();
        let bytes = found.identity.as_bytes();
        let identity = bytes.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte));
        let mut entry = known.unwrap_or_else(|| Entry {
            must_staple: found.must_staple,
            held: None,
            responders: list.clone(),
            state: State::Resting,
            not_after: found.not_after,
            identity,
            stops_early: 0,
            takes_up: 0,
            tries: found.attempts.failures,
            unchanged: 0,
            round: 0,
            asked: false,
            forced: false,
            reload_wanted: false,
            afresh: false,
            urgency: Urgency::BARE,
            middle: None,
            until: Duration::ZERO,
            watch: UnixTime::MAX,
            slot: Slot::default(),
        });
        let elsewhere = entry.responders != list;
        Self::leave(id, &mut entry, responders, desk);
        entry.must_staple = found.must_staple;
        entry.not_after = found.not_after;
        entry.identity = identity;
        entry.responders = list;
        if let Some(facts) = found.held
            && entry.judge(&facts, desk) == Verdict::Accepted
        {
            entry.held = Some(facts);
            desk.tell(About::Revoked(id), facts.status == Status::Revoked);
        }
        if elsewhere && entry.state == State::Waiting {
            entry.state = State::Resting;
            entry.tries = 0;
        }
        self.table.insert(id, entry);
        if !is_known && found.attempts.wait > Duration::ZERO {
            self.wait(id, found.attempts.wait, desk);
        } else {
            self.plan(id, responders, desk);
        }
        desk.standing.insert(id);
    }

    /// The one copy of a list of responders.
    fn list(&mut self, ids: &[ResponderId]) -> Arc<[ResponderId]> {
        if let Some(list) = self.lists.get(ids) {
            return list.clone();
        }
        let list: Arc<[ResponderId]> = ids.into();
        self.lists.insert(list.clone());
        list
    }

    /// A certificate is nowhere to be found any more.
    pub(in crate::plan) fn gone(
        &mut self,
        id: CertId,
        responders: &mut Responders,
        desk: &mut Desk,
    ) {
        let Some(mut entry) = self.table.remove(id) else { return };
        Self::leave(id, &mut entry, responders, desk);
        desk.agenda.clear(Item::Certificate(id), &mut entry.slot);
        self.keeping.remove(&id);
        self.busy.remove(&id);
        self.awaited.remove(&id);
        self.frozen.remove(&id);
        for about in [About::Late(id), About::AtRisk(id), About::Revoked(id)] {
            desk.tell(about, false);
        }
    }

    /// How much of a staple's life the servers of a certificate need has changed.
    pub(in crate::plan) fn lead(
        &mut self,
        id: CertId,
        lead: Lead,
        responders: &mut Responders,
        desk: &mut Desk,
    ) {
        let seconds = |length: Duration| u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
        let lead = (seconds(lead.stops_early), seconds(lead.takes_up));
        let Some(entry) = self.table.get_mut(id) else { return };
        if (entry.stops_early, entry.takes_up) != lead {
            (entry.stops_early, entry.takes_up) = lead;
            Self::leave(id, entry, responders, desk);
            self.plan(id, responders, desk);
        }
    }

    /// The policy has changed: everything that follows from it is worked out again.
    pub(in crate::plan) fn configured(&mut self, responders: &mut Responders, desk: &mut Desk) {
        let ids: Vec<CertId> = self.ids().collect();
        for id in ids {
            let Some(entry) = self.table.get_mut(id) else { continue };
            Self::leave(id, entry, responders, desk);
            self.plan(id, responders, desk);
            desk.standing.insert(id);
        }
    }
}
