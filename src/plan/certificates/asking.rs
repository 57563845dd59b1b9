//! An attempt begins, goes from responder to responder, and is put off.

use std::time::Duration;

use super::{Certificates, Ended, Entry, State};
use crate::plan::action::{Action, Ask, Memory};
use crate::plan::agenda::{Item, Slot};
use crate::plan::backoff::LONGEST_WAIT;
use crate::plan::desk::Desk;
use crate::plan::event::Want;
use crate::plan::facts::{Attempts, CertId, ResponderId};
use crate::plan::responders::{Parked, Responders};
use crate::time::{MINUTE, UnixTime};

impl Certificates {
    /// Somebody asks for it now. Returns whether an attempt has ended with that, there being nobody
    /// to ask.
    pub(in crate::plan) fn wanted(
        &mut self,
        id: CertId,
        want: Want,
        responders: &mut Responders,
        desk: &mut Desk,
    ) -> Ended {
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        let reload_wanted = want == Want::Refresh;
        entry.reload_wanted |= reload_wanted;
        if !entry.askable(desk.now) {
            return Self::attempt_ended(entry);
        }
        if let Want::Hook { until } = want {
            self.awaited.insert(id, until);
            if matches!(entry.state, State::Asked(_) | State::Kept) {
                self.enter(id, desk);
                return Ended::NotYet;
            }
        }
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        if matches!(entry.state, State::Asked(_) | State::Kept) {
            return Ended::NotYet;
        }
        Self::leave(id, entry, responders, desk);
        entry.forced = true;
        self.start(id, responders, desk);
        Ended::NotYet
    }

    /// Its instant has come on either clock: a window opens or a wait is over.
    pub(in crate::plan) fn due(
        &mut self,
        id: CertId,
        responders: &mut Responders,
        desk: &mut Desk,
    ) {
        let Some(entry) = self.table.get_mut(id) else { return };
        if entry.watch <= desk.now.wall {
            entry.watch = UnixTime::MAX;
            desk.standing.insert(id);
        }
        if self.awaited.get(&id).is_some_and(|until| *until <= desk.now.uptime) {
            self.awaited.remove(&id);
        }
        match entry.state {
            State::Waiting if entry.until <= desk.now.uptime => self.start(id, responders, desk),
            State::Resting => self.plan(id, responders, desk),
            State::Parked => {
                // More pressing than when it was parked: it may have expired meanwhile.
                Self::leave(id, entry, responders, desk);
                self.seek(id, responders, desk);
            }
            _ => self.enter(id, desk),
        }
    }

    /// When the standing of a certificate changes by itself; set by the planner's last stage.
    pub(in crate::plan) fn watch(&mut self, id: CertId, at: UnixTime, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        entry.watch = at;
        self.enter(id, desk);
    }

    /// Decides what a resting certificate waits for.
    pub(super) fn plan(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        if entry.state == State::Resting && entry.askable(desk.now) {
            let opens = entry.held.map(|held| entry.opens(&held, desk));
            if opens.is_none_or(|opens| opens <= desk.now.wall) {
                return self.start(id, responders, desk);
            }
        }
        self.enter(id, desk);
    }

    /// Begins an attempt with the first responder.
    fn start(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        entry.state = State::Resting;
        entry.round = 0;
        if entry.askable(desk.now) {
            self.seek(id, responders, desk);
        } else {
            entry.forced = false;
            self.enter(id, desk);
        }
    }

    /// Queues for the next responder of the attempt that is not known to be in trouble. With none
    /// left the attempt is over: the certificate waits, or is parked where all are in trouble.
    pub(super) fn seek(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) {
        let awaited = self.is_awaited(id);
        let Some(entry) = self.table.get_mut(id) else { return };
        entry.urgency = entry.urgency(desk);
        let round = usize::from(entry.round);
        let may = |id: &ResponderId| entry.forced || !responders.is_open(*id);
        let next = (round..entry.responders.len()).find(|at| may(&entry.responders[*at]));
        entry.round = u16::try_from(next.unwrap_or(entry.responders.len())).unwrap_or(u16::MAX);
        let next = next.map(|at| entry.responders[at]);
        if let Some(next) = next {
            entry.state = State::Queued(next);
            responders.queue(next, entry.urgency, id, desk);
            return self.enter(id, desk);
        }
        entry.forced = false;
        entry.asked = false;
        entry.urgency = entry.urgency(desk);
        if !entry.responders.iter().all(|id| responders.is_open(*id)) {
            let wait = entry.pace(entry.tries, awaited, desk);
            return self.wait(id, wait, desk);
        }
        let new = entry.tries == 0 && entry.held.is_none();
        let need = if new && !awaited { MINUTE } else { entry.need(awaited, desk) };
        entry.state = State::Parked;
        entry.middle = entry.window(desk).map(|window| window.middle());
        let parked = Parked { cert: id, urgency: entry.urgency, middle: entry.middle, need };
        responders.park(&entry.responders.clone(), parked, desk);
        desk.standing.insert(id);
        self.enter(id, desk);
    }

    pub(super) fn wait(&mut self, id: CertId, length: Duration, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let most = entry.window(desk).map_or(LONGEST_WAIT, |w| w.longest_wait(desk.now.wall));
        entry.state = State::Waiting;
        entry.asked = false;
        entry.until = desk.now.uptime + length.min(most);
        desk.standing.insert(id);
        self.enter(id, desk);
    }

    /// Takes it out of the queues it stands in; it rests then.
    pub(super) fn leave(
        id: CertId,
        entry: &mut Entry,
        responders: &mut Responders,
        desk: &mut Desk,
    ) {
        if matches!(entry.state, State::Queued(_) | State::Parked) {
            responders.leave(&entry.responders, id, entry.urgency, entry.middle, desk);
            entry.state = State::Resting;
            entry.middle = None;
        }
    }

    /// Brings the agenda up to date.
    pub(super) fn enter(&mut self, id: CertId, desk: &mut Desk) {
        let awaited = self.awaited.get(&id).copied();
        let Some(entry) = self.table.get_mut(id) else { return };
        let mut to = Slot { wall: entry.watch, uptime: Duration::MAX };
        match entry.state {
            State::Waiting => to.uptime = entry.until,
            State::Resting if entry.askable(desk.now) => {
                let opens = entry.held.map(|held| entry.opens(&held, desk));
                to.wall = to.wall.min(opens.unwrap_or(UnixTime::MAX));
            }
            _ => {}
        }
        if let Some(until) = awaited.filter(|until| *until > desk.now.uptime) {
            to.uptime = to.uptime.min(until);
        }
        desk.schedule(Item::Certificate(id), &mut entry.slot, to);
    }

    /// Sends requests to a responder as long as it may be asked.
    pub(in crate::plan) fn ask(
        &mut self,
        from: ResponderId,
        responders: &mut Responders,
        desk: &mut Desk,
    ) {
        while let Some(id) = responders.next(from, desk) {
            let awaited = self.is_awaited(id);
            let Some(entry) = self.table.get_mut(id) else { continue };
            Self::leave(id, entry, responders, desk);
            entry.state = State::Asked(from);
            if !entry.asked {
                entry.asked = true;
                entry.tries = entry.tries.saturating_add(1);
            }
            let wait = entry.pace(entry.tries, awaited, desk);
            let attempts = Attempts { failures: entry.tries, wait };
            let expired = entry.held.is_some_and(|held| held.expires <= desk.now.wall);
            let ask = Ask { afresh: entry.forced || entry.afresh || expired };
            self.busy.insert(id);
            desk.act(Action::Remember(Memory::Attempt { cert: id, from, attempts }));
            desk.act(Action::Fetch { cert: id, from, ask });
            self.enter(id, desk);
        }
    }
}
