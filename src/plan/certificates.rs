//! The second machine: when each certificate is asked about, and which answer is accepted.
//!
//! A certificate *rests* until its window opens, *queues* for a responder, is *asked* about and has
//! its new staple *kept*; after a failed round of all its responders it *waits* by back-off, and
//! behind open circuits only it is *parked*.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::action::{About, Action, Ask, Memory};
use super::agenda::{Item, Slot};
use super::backoff::{self, LONGEST_WAIT};
use super::desk::Desk;
use super::event::{Answer, FetchFault, Want};
use super::facts::{Attempts, CertId, Certificate, Facts, ResponderId};
use super::responders::{Health, Parked, Responders, Urgency};
use super::table::Table;
use super::trust::Trust;
use super::window::{Lead, Window};
use crate::ocsp::Status;
use crate::time::{MINUTE, Now, UnixTime};

/// A circuit behind which a deployed Must-Staple certificate stands without a staple is probed at
/// least this often.
const LONGEST_WAIT_IN_NEED: Duration = MINUTE.saturating_mul(5);

/// All certificates, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Certificates {
    table: Table<CertId, Entry>,
    /// Accepted staples that the store has not acknowledged.
    keeping: BTreeMap<CertId, Facts>,
    /// Asked about, or being kept.
    busy: BTreeSet<CertId>,
    /// Lists of responders, each stored once.
    lists: BTreeSet<Arc<[ResponderId]>>,
}

/// One certificate.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub must_staple: bool,
    pub held: Option<Facts>,
    pub responders: Arc<[ResponderId]>,
    pub state: State,
    not_after: UnixTime,
    /// The first half of what jitter is derived from, as a number.
    identity: u64,
    /// The most that the targets it is published to ask for, in seconds: see [`Lead`].
    stops_early: u32,
    takes_up: u32,
    /// Attempts since the last answer that moved something forward, the running one included.
    tries: u32,
    /// Those of them that were answered with nothing new.
    unchanged: u32,
    /// Which of `responders` the running attempt has come to.
    round: u16,
    /// The running attempt has sent a request.
    asked: bool,
    /// The running attempt was asked for by hand.
    forced: bool,
    /// A reload is asked for as soon as the running attempt ends.
    reload_wanted: bool,
    /// The last answer had expired: go past caches.
    afresh: bool,
    /// Where it stands in the queues, and since parked the middle of its window.
    urgency: Urgency,
    middle: Option<UnixTime>,
    /// The end of the wait, by uptime.
    until: Duration,
    /// When its standing changes by itself.
    watch: UnixTime,
    slot: Slot,
}

/// What is going on about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Until its window opens; for ever without responders or past its notAfter.
    Resting,
    /// By back-off.
    Waiting,
    /// For a request slot at this responder.
    Queued(ResponderId),
    /// Behind open circuits only.
    Parked,
    Asked(ResponderId),
    /// The store is writing.
    Kept,
}

/// What an ended attempt means for the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing ended, or the store comes first.
    NotYet,
    /// `reload_wanted`: whatever is published and not loaded goes now.
    Attempt { reload_wanted: bool },
}

/// What an answer does to the staple that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Unchanged,
}

impl Entry {
    /// The window of the staple it holds.
    pub(super) fn window(&self, desk: &Desk) -> Option<Window> {
        self.held.map(|held| self.window_of(&held, desk))
    }

    fn window_of(&self, facts: &Facts, desk: &Desk) -> Window {
        let seconds = |number: u32| Duration::from_secs(u64::from(number));
        let lead =
            Lead { stops_early: seconds(self.stops_early), takes_up: seconds(self.takes_up) };
        Window::of(facts.this_update, facts.expires, lead, &desk.policy)
    }

    /// When it is asked about next of its own accord.
    fn opens(&self, facts: &Facts, desk: &Desk) -> UnixTime {
        let attempt = facts.this_update.as_secs().unsigned_abs();
        let draw = backoff::draw(desk.policy.seed, self.identity, attempt);
        self.window_of(facts, desk).opens_jittered(draw)
    }

    /// There is somebody to ask, and a certificate that is not over.
    fn askable(&self, now: Now) -> bool {
        !self.responders.is_empty() && self.not_after > now.wall
    }

    /// The first attempt of a certificate without a staple has not ended yet.
    pub(super) fn is_new(&self) -> bool {
        let running = matches!(self.state, State::Queued(_) | State::Asked(_) | State::Kept);
        running && self.tries <= 1 && self.held.is_none()
    }

    /// Attempts that failed since the last success.
    pub(super) fn failures(&self) -> u32 {
        let running = u32::from(self.asked && !matches!(self.state, State::Waiting));
        self.tries.saturating_sub(self.unchanged).saturating_sub(running)
    }

    /// The wait after `tries` attempts: by back-off, as much as the held staple leaves time for.
    fn pace(&self, tries: u32, desk: &Desk) -> Duration {
        let draw = backoff::draw(desk.policy.seed, self.identity, u64::from(tries));
        let window = self.window(desk);
        let most = window.map_or(LONGEST_WAIT, |window| window.longest_wait(desk.now.wall));
        backoff::wait(tries, LONGEST_WAIT, draw).min(most)
    }

    /// The longest that a circuit may leave it alone.
    ///
    /// As for a single certificate, but a host is one for many: what counts is not each close to the
    /// second but a thousandth of usable life.
    fn need(&self, desk: &Desk) -> Duration {
        let window = self.window(desk);
        let in_date = window.filter(|window| window.expires > desk.now.wall);
        if let Some(window) = in_date {
            return window.longest_wait(desk.now.wall).max(window.life / 1000);
        }
        let expired = window.map_or(LONGEST_WAIT, |window| window.longest_wait(desk.now.wall));
        if self.must_staple { expired.min(LONGEST_WAIT_IN_NEED) } else { expired }
    }

    fn urgency(&self, desk: &Desk) -> Urgency {
        match self.window(desk) {
            _ if self.forced => Urgency::FORCED,
            Some(window) if window.expires > desk.now.wall => Urgency::closing(window.closes),
            _ if self.must_staple => Urgency::MUST,
            _ => Urgency::BARE,
        }
    }

    fn judge(&self, answer: &Facts, desk: &Desk) -> Verdict {
        let Some(held) = &self.held else { return Verdict::Accepted };
        let (window, now) = (self.window_of(answer, desk), desk.now.wall);
        // Inside its closing margin an answer is worth a reload only if it buys time.
        let buys_time = answer.expires >= held.expires + window.margin / 4;
        let lasts = window.closes > now || held.expires <= now || buys_time;
        let accepted = match answer.this_update.cmp(&held.this_update) {
            // A revocation counts however little time the answer has left.
            std::cmp::Ordering::Greater => lasts || answer.status == Status::Revoked,
            // Some responders round thisUpdate to the hour: then a revocation is as new as what was
            // good before it. Good again takes an answer that is newer.
            std::cmp::Ordering::Equal => match (held.status, answer.status) {
                (Status::Good, Status::Revoked) => answer.expires > desk.now.wall,
                (Status::Revoked, Status::Good) => false,
                _ => answer.expires > held.expires,
            },
            std::cmp::Ordering::Less => false,
        };
        if accepted { Verdict::Accepted } else { Verdict::Unchanged }
    }
}

impl Certificates {
    pub(super) fn get(&self, id: CertId) -> Option<&Entry> {
        self.table.get(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = CertId> {
        self.table.ids()
    }

    /// Asked about, or being kept.
    pub(super) fn busy(&self) -> &BTreeSet<CertId> {
        &self.busy
    }

    /// How many staples the store is writing.
    pub(super) fn keeping(&self) -> usize {
        self.keeping.len()
    }

    /// The staple that is held, once the store has it.
    pub(super) fn held(&self, id: CertId) -> Option<&Facts> {
        self.table.get(id)?.held.as_ref()
    }

    /// A certificate was found, or what is known of it changed.
    ///
    /// A staple from disk replaces what is held only by the rules for answers; one that is no longer
    /// on disk is still held.
    pub(super) fn found(
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
    pub(super) fn gone(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) {
        let Some(mut entry) = self.table.remove(id) else { return };
        Self::leave(id, &mut entry, responders, desk);
        desk.agenda.clear(Item::Certificate(id), &mut entry.slot);
        self.keeping.remove(&id);
        self.busy.remove(&id);
        for about in [About::Late(id), About::AtRisk(id), About::Revoked(id)] {
            desk.tell(about, false);
        }
    }

    /// How much of a staple's life the servers of a certificate need has changed.
    pub(super) fn lead(
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
    pub(super) fn configured(&mut self, responders: &mut Responders, desk: &mut Desk) {
        let ids: Vec<CertId> = self.ids().collect();
        for id in ids {
            let Some(entry) = self.table.get_mut(id) else { continue };
            Self::leave(id, entry, responders, desk);
            self.plan(id, responders, desk);
            desk.standing.insert(id);
        }
    }

    /// Somebody asks for it now. Returns whether an attempt has ended with that, there being nobody
    /// to ask.
    pub(super) fn wanted(
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
        if matches!(entry.state, State::Asked(_) | State::Kept) {
            return Ended::NotYet;
        }
        Self::leave(id, entry, responders, desk);
        entry.forced = true;
        self.start(id, responders, desk);
        Ended::NotYet
    }

    /// Its instant has come on either clock: a window opens or a wait is over.
    pub(super) fn due(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        if entry.watch <= desk.now.wall {
            entry.watch = UnixTime::MAX;
            desk.standing.insert(id);
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
    pub(super) fn watch(&mut self, id: CertId, at: UnixTime, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        entry.watch = at;
        self.enter(id, desk);
    }

    /// Decides what a resting certificate waits for.
    fn plan(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) {
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
    fn seek(&mut self, id: CertId, responders: &mut Responders, desk: &mut Desk) {
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
            let wait = entry.pace(entry.tries, desk);
            return self.wait(id, wait, desk);
        }
        let new = entry.tries == 0 && entry.held.is_none();
        let need = if new { MINUTE } else { entry.need(desk) };
        entry.state = State::Parked;
        entry.middle = entry.window(desk).map(|window| window.middle());
        let parked = Parked { cert: id, urgency: entry.urgency, middle: entry.middle, need };
        responders.park(&entry.responders.clone(), parked, desk);
        desk.standing.insert(id);
        self.enter(id, desk);
    }

    fn wait(&mut self, id: CertId, length: Duration, desk: &mut Desk) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let most = entry.window(desk).map_or(LONGEST_WAIT, |w| w.longest_wait(desk.now.wall));
        entry.state = State::Waiting;
        entry.asked = false;
        entry.until = desk.now.uptime + length.min(most);
        desk.standing.insert(id);
        self.enter(id, desk);
    }

    /// Takes it out of the queues it stands in; it rests then.
    fn leave(id: CertId, entry: &mut Entry, responders: &mut Responders, desk: &mut Desk) {
        if matches!(entry.state, State::Queued(_) | State::Parked) {
            responders.leave(&entry.responders, id, entry.urgency, entry.middle, desk);
            entry.state = State::Resting;
            entry.middle = None;
        }
    }

    /// Brings the agenda up to date.
    fn enter(&mut self, id: CertId, desk: &mut Desk) {
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
        desk.schedule(Item::Certificate(id), &mut entry.slot, to);
    }

    /// Sends requests to a responder as long as it may be asked.
    pub(super) fn ask(&mut self, from: ResponderId, responders: &mut Responders, desk: &mut Desk) {
        while let Some(id) = responders.next(from, desk) {
            let Some(entry) = self.table.get_mut(id) else { continue };
            Self::leave(id, entry, responders, desk);
            entry.state = State::Asked(from);
            if !entry.asked {
                entry.asked = true;
                entry.tries = entry.tries.saturating_add(1);
            }
            let attempts = Attempts { failures: entry.tries, wait: entry.pace(entry.tries, desk) };
            let expired = entry.held.is_some_and(|held| held.expires <= desk.now.wall);
            let ask = Ask { afresh: entry.forced || entry.afresh || expired };
            self.busy.insert(id);
            desk.act(Action::Remember(Memory::Attempt { cert: id, from, attempts }));
            desk.act(Action::Fetch { cert: id, from, ask });
            self.enter(id, desk);
        }
    }

    /// A request ended.
    pub(super) fn fetched(
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
        let pressing = responders.pressing(from).filter_map(|id| self.get(id));
        let needed = pressing.map(|entry| entry.need(desk)).min();
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

    fn attempt_ended(entry: &mut Entry) -> Ended {
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
            let wait = entry.pace(entry.tries, desk).max(fresh);
            self.wait(id, wait, desk);
        }
        desk.standing.insert(id);
        self.table.get_mut(id).map_or(Ended::NotYet, Self::attempt_ended)
    }

    /// The store has the new staple, or could not write it; it is the one that is held either way.
    pub(super) fn kept(
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
            let wait = entry.pace(entry.tries, desk);
            self.wait(id, wait, desk);
        } else {
            self.plan(id, responders, desk);
        }
        ended
    }

    /// When it is asked about next, on the wall clock as it stands; `None`: not of its own accord.
    pub(super) fn next_attempt(&self, id: CertId, desk: &Desk) -> Option<UnixTime> {
        let entry = self.get(id)?;
        let now = desk.now;
        match entry.state {
            State::Resting if !entry.askable(now) => None,
            State::Resting => Some(entry.held.map_or(now.wall, |held| entry.opens(&held, desk))),
            State::Waiting => Some(now.wall + entry.until.saturating_sub(now.uptime)),
            State::Parked => None,
            State::Queued(_) | State::Asked(_) | State::Kept => Some(now.wall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::plan::Policy;
    use crate::time::DAY;

    /// At noon of the eighth day.
    fn desk() -> Desk {
        let wall = UnixTime::from_secs(0) + 8 * DAY + DAY / 2;
        Desk::new(Policy::default(), Now { wall, uptime: 30 * DAY })
    }

    /// "good 7-14": made on the seventh day, good until the fourteenth.
    fn facts(text: &str) -> Facts {
        let (status, days) = text.split_once(' ').expect("a status");
        let (from, until) = days.split_once('-').expect("two days");
        let day = |text: &str| UnixTime::from_secs(0) + DAY * text.parse::<u32>().expect("a day");
        let status = if status == "good" { Status::Good } else { Status::Revoked };
        let digest = Digest::of(text.as_bytes());
        Facts { digest, status, this_update: day(from), expires: day(until) }
    }

    fn entry(held: Option<Facts>, desk: &mut Desk) -> Entry {
        let id = CertId(1);
        let found = Certificate {
            id,
            identity: Digest::of(b"leaf"),
            must_staple: true,
            not_after: UnixTime::MAX,
            responders: vec![ResponderId(1)],
            held,
            attempts: Attempts::default(),
        };
        let mut certificates = Certificates::default();
        let mut trust = Trust::new(desk.now);
        certificates.found(found, &mut Responders::default(), &mut trust, desk);
        certificates.get(id).expect("just found").clone()
    }

    #[test]
    fn answers_move_forward_or_change_nothing() {
        use Verdict::{Accepted, Unchanged};
        let cases = [
            ("good 7-14", "good 8-15", Accepted),
            ("good 7-14", "good 7-14", Unchanged),
            ("good 7-14", "good 6-20", Unchanged), // older never
            ("good 7-14", "revoked 6-20", Unchanged), // revoked or not
            ("good 7-14", "good 7-15", Accepted),  // equally old, good for longer
            ("good 7-14", "good 7-13", Unchanged),
            ("good 7-14", "revoked 8-15", Accepted),
            ("good 7-14", "revoked 8-9", Accepted), // however little time it has left
            ("revoked 7-14", "good 7-15", Unchanged), // only a newer one undoes it
            ("revoked 7-14", "good 8-15", Accepted),
            ("good 1-14", "good 3-9", Unchanged), // newer, but past its own close
            ("good 1-9", "good 3-9", Unchanged),
            ("good 1-8", "good 3-9", Accepted), // nothing better is left
            ("good 1-9", "good 2-10", Accepted), // it buys a day
        ];
        for (held, answer, verdict) in cases {
            let mut desk = desk();
            let entry = entry(Some(facts(held)), &mut desk);
            assert_eq!(entry.judge(&facts(answer), &desk), verdict, "{answer} over {held}");
        }
        let mut desk = desk();
        let bare = entry(None, &mut desk);
        assert_eq!(bare.judge(&facts("good 1-9"), &desk), Accepted, "better than none");
    }

    #[test]
    fn waits_follow_what_the_held_staple_leaves_time_for() {
        // Held; the longest wait after so many attempts, in minutes.
        let cases = [
            (None, 1, 1),
            (None, 4, 8),
            (None, 30, 60),
            (Some("good 5-12"), 30, 60), // the close is 2.5 days ahead
            (Some("good 2-9"), 30, 60),  // past the close: a hundredth of a week is more
        ];
        for (held, tries, minutes) in cases {
            let mut desk = desk();
            let entry = entry(held.map(facts), &mut desk);
            let wait = entry.pace(tries, &desk);
            let most = MINUTE * minutes;
            assert!(most / 2 <= wait && wait <= most, "{held:?} after {tries}: {wait:?}");
        }
        let mut desk = desk();
        let entry = entry(Some(facts("good 2-9")), &mut desk);
        desk.now.wall = facts("good 2-9").expires - 2 * MINUTE;
        assert_eq!(entry.pace(30, &desk), MINUTE / 2, "a quarter of what is left");
    }

    #[test]
    fn circuits_are_probed_as_often_as_somebody_needs() {
        let mut desk = desk();
        let expired = entry(Some(facts("good 1-8")), &mut desk);
        assert_eq!(expired.need(&desk), LONGEST_WAIT_IN_NEED, "Must-Staple clients are locked out");
        let closing = entry(Some(facts("good 3-10")), &mut desk);
        desk.now.wall = facts("good 3-10").expires - DAY - MINUTE;
        let floor = 7 * DAY / 1000;
        assert_eq!(closing.need(&desk), floor, "a close does not count to the second");
    }
}
