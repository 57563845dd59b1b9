//! A request ended: what came of it, and what follows.

use std::time::Duration;

use super::entry::Verdict;
use super::{Certificates, Ended, Entry, State};
use crate::ocsp::Status;
use crate::plan::action::{About, Action, Memory};
use crate::plan::backoff::LONGEST_WAIT;
use crate::plan::desk::Desk;
use crate::plan::event::{Answer, FetchFault};
use crate::plan::facts::{Attempts, CertId, Facts, ResponderId};
use crate::plan::responders::{Health, Responders};
use crate::plan::trust::Trust;

impl Certificates {
    /// A request ended.
    pub(in crate::plan) fn fetched(
        &mut self,
        id: CertId,
        from: ResponderId,
        outcome: Result<Answer, FetchFault>,
        responders: &mut Responders,
        trust: &mut Trust,
        desk: &mut Desk,
    ) -> Ended {
        let health = match outcome {
            Err(FetchFault::Host { retry_after }) => Health::Faulty(retry_after),
            _ => Health::Works,
        };
        let slack = self.table.get(id).and_then(|entry| entry.window(desk));
        let cap = slack.map_or(LONGEST_WAIT, |w| w.expires.since(desk.now.wall) / 4);
        let cap = cap.min(LONGEST_WAIT);
        let pressing = responders.pressing(from).filter_map(|id| Some((id, self.get(id)?)));
        let needed = pressing.map(|(id, entry)| entry.need(self.is_awaited(id), desk)).min();
        if responders.finish(from, id, health, cap, needed, desk) {
            self.look_elsewhere(from, responders, desk);
        }
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        if entry.state != State::Asked(from) {
            return Ended::NotYet;
        }
        self.busy.remove(&id);
        entry.afresh = outcome == Err(FetchFault::Expired);
        match outcome {
            Ok(answer) if answer.facts.status != Status::Unknown => {
                self.answered(id, answer, responders, trust, desk)
            }
            _ => {
                if let Err(FetchFault::Host { retry_after: Some(wait) }) = outcome {
                    let attempts = Attempts { failures: entry.tries, wait: wait.min(cap) };
                    desk.act(Action::Remember(Memory::Attempt { cert: id, from, attempts }));
                }
                self.next_round(id, responders, desk)
            }
        }
    }

    /// A staple came by another way. It replaces the one that is held if an answer would; then
    /// nobody needs to be asked for now.
    pub(in crate::plan) fn brought(
        &mut self,
        id: CertId,
        facts: Facts,
        responders: &mut Responders,
        trust: &mut Trust,
        desk: &mut Desk,
    ) -> Ended {
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        let writing = entry.state == State::Kept;
        if writing || facts.status == Status::Unknown {
            return Ended::NotYet;
        }
        if entry.judge(&facts, desk) == Verdict::Unchanged {
            return Ended::NotYet;
        }
        Self::leave(id, entry, responders, desk);
        self.answered(id, Answer { facts, fresh_for: None }, responders, trust, desk)
    }

    /// A responder is newly known to be in trouble: who has others goes there.
    fn look_elsewhere(&mut self, from: ResponderId, responders: &mut Responders, desk: &mut Desk) {
        for id in responders.waiting(from) {
            let Some(entry) = self.table.get_mut(id) else { continue };
            if !entry.forced {
                Self::leave(id, entry, responders, desk);
                self.seek(id, responders, desk);
            }
        }
    }

    /// This responder did not help: the next one, or the attempt is over.
    fn next_round(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) -> Ended {
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        entry.state = State::Resting;
        entry.round = entry.round.saturating_add(1);
        self.seek(id, responders, desk);
        match self.table.get_mut(id) {
            Some(entry) if !matches!(entry.state, State::Queued(_)) => Self::attempt_ended(entry),
            _ => Ended::NotYet,
        }
    }

    pub(super) fn attempt_ended(entry: &mut Entry) -> Ended {
        Ended::Attempt { reload_wanted: std::mem::take(&mut entry.reload_wanted) }
    }

    /// A staple came.
    fn answered(
        &mut self,
        id: CertId,
        answer: Answer,
        responders: &mut Responders,
        trust: &mut Trust,
        desk: &mut Desk,
    ) -> Ended {
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        let facts = answer.facts;
        if entry.judge(&facts, desk) == Verdict::Unchanged {
            return self.unchanged(id, answer.fresh_for, responders, desk);
        }
        // One that is old already may only look so: it does not speak for the clock.
        let fresh = entry.opens(&facts, desk) > desk.now.wall;
        trust.accepted(facts.this_update, fresh);
        desk.tell(About::Revoked(id), facts.status == Status::Revoked);
        entry.state = State::Kept;
        entry.forced = false;
        entry.asked = false;
        self.busy.insert(id);
        self.keeping.insert(id, facts);
        desk.act(Action::Keep { cert: id, staple: facts.digest });
        if fresh {
            (entry.tries, entry.unchanged) = (0, 0);
            desk.act(Action::Remember(Memory::Settled { cert: id }));
        } else {
            // Newer, but so old already that the next one is due: it is asked for by back-off.
            entry.unchanged = entry.unchanged.saturating_add(1);
        }
        Ended::NotYet
    }

    /// An answer that moves nothing forward is neither success nor failure. How long the responder
    /// calls it fresh (max-age) may stretch the wait to an hour, never past what the close allows;
    /// before the window opens nothing is asked anyway.
    fn unchanged(
        &mut self,
        id: CertId,
        fresh_for: Option<Duration>,
        responders: &mut Responders,
        desk: &mut Desk,
    ) -> Ended {
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        let now = desk.now.wall;
        entry.forced = false;
        if entry.held.is_some_and(|held| entry.opens(&held, desk) > now) {
            entry.state = State::Resting;
            entry.asked = false;
            (entry.tries, entry.unchanged) = (0, 0);
            desk.act(Action::Remember(Memory::Settled { cert: id }));
            self.enter(id, desk);
        } else {
            // One that repeats itself for half the window may be stuck; another may know more.
            let stuck = entry.window(desk).is_some_and(|window| window.middle() <= now);
            let others = usize::from(entry.round) + 1 < entry.responders.len();
            if stuck && others {
                return self.next_round(id, responders, desk);
            }
            entry.unchanged = entry.unchanged.saturating_add(1);
            let fresh = fresh_for.unwrap_or_default().min(LONGEST_WAIT);
            let wait = entry.pace(entry.tries, false, desk).max(fresh);
            self.wait(id, wait, desk);
        }
        desk.standing.insert(id);
        self.table.get_mut(id).map_or(Ended::NotYet, Self::attempt_ended)
    }

    /// The store has the new staple, or could not write it; it is the one that is held either way.
    pub(in crate::plan) fn kept(
        &mut self,
        id: CertId,
        responders: &mut Responders,
        desk: &mut Desk,
    ) -> Ended {
        let Some(facts) = self.keeping.remove(&id) else { return Ended::NotYet };
        self.busy.remove(&id);
        let Some(entry) = self.table.get_mut(id) else { return Ended::NotYet };
        entry.held = Some(facts);
        entry.state = State::Resting;
        let ended = Self::attempt_ended(entry);
        desk.standing.insert(id);
        if entry.tries > 0 {
            let wait = entry.pace(entry.tries, false, desk);
            self.wait(id, wait, desk);
        } else {
            self.plan(id, responders, desk);
        }
        ended
    }
}
