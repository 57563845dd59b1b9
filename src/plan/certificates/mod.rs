//! The second machine: when each certificate is asked about, and which answer is accepted.
//!
//! A certificate *rests* until its window opens, *queues* for a responder, is *asked* about and has
//! its new staple *kept*; after a failed round of all its responders it *waits* by back-off, and
//! behind open circuits only it is *parked*.

mod answers;
mod asking;
mod entry;
mod finding;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::agenda::Slot;
use super::desk::Desk;
use super::facts::{CertId, Facts, ResponderId};
use super::responders::Urgency;
use super::table::Table;
use crate::time::UnixTime;

/// All certificates, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Certificates {
    table: Table<CertId, Entry>,
    /// Accepted staples that the store has not acknowledged.
    keeping: BTreeMap<CertId, Facts>,
    /// Asked about, or being kept.
    busy: BTreeSet<CertId>,
    /// Somebody waits for a staple of these, until that uptime.
    awaited: BTreeMap<CertId, Duration>,
    /// What is published for these stays.
    frozen: BTreeSet<CertId>,
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
    /// The most that the targets it is published to ask for, in seconds: see [`Lead`](super::Lead).
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

    /// Somebody waits for its first staple.
    pub(super) fn is_awaited(&self, id: CertId) -> bool {
        self.awaited.contains_key(&id) && self.held(id).is_none()
    }

    /// What is published for it stays.
    pub(super) fn is_frozen(&self, id: CertId) -> bool {
        self.frozen.contains(&id)
    }

    /// Has what is published stay; only for a certificate that is known.
    pub(super) fn freeze(&mut self, id: CertId) {
        if self.get(id).is_some() {
            self.frozen.insert(id);
        }
    }

    /// Ends a freeze; says whether there was one.
    pub(super) fn thaw(&mut self, id: CertId) -> bool {
        self.frozen.remove(&id)
    }

    /// How many staples the store is writing.
    pub(super) fn keeping(&self) -> usize {
        self.keeping.len()
    }

    /// The staple that is held, once the store has it.
    pub(super) fn held(&self, id: CertId) -> Option<&Facts> {
        self.table.get(id)?.held.as_ref()
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
