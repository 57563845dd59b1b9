//! Whether the wall clock can be believed. While it cannot, nothing is withdrawn.

use std::time::Duration;

use super::facts::Policy;
use crate::time::{MINUTE, Now, UnixTime};

/// After a step forward nothing is withdrawn for this long, unless an answer is accepted before.
const AFTER_A_STEP: Duration = MINUTE.saturating_mul(15);

/// What speaks for and against the wall clock.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    last: Now,
    /// The newest thisUpdate accepted: time has reached it.
    newest: UnixTime,
    /// A step forward makes the clock suspect until this uptime.
    stepped_until: Duration,
    synchronised: bool,
}

impl Trust {
    pub(super) fn new(now: Now) -> Self {
        let newest = UnixTime::from_secs(i64::MIN);
        Trust { last: now, newest, stepped_until: Duration::ZERO, synchronised: true }
    }

    /// Compares both clocks with how they stood at the last event; `true`: the wall clock was put
    /// back, and what had run out by it may not have.
    pub(super) fn observe(&mut self, now: Now, policy: &Policy) -> bool {
        let expected = self.last.wall + now.uptime.saturating_sub(self.last.uptime);
        if now.wall > expected + policy.max_skew {
            self.stepped_until = now.uptime + AFTER_A_STEP;
        }
        self.last = now;
        now.wall + policy.max_skew < expected
    }

    /// A staple was found or accepted; `fresh`: it came from a responder just now.
    pub(super) fn accepted(&mut self, this_update: UnixTime, fresh: bool) {
        self.newest = self.newest.max(this_update);
        if fresh {
            self.stepped_until = Duration::ZERO;
        }
    }

    pub(super) fn synchronised(&mut self, synchronised: bool) {
        self.synchronised = synchronised;
    }

    /// Whether the wall clock is in doubt.
    pub(super) fn suspect(&self, now: Now, policy: &Policy) -> bool {
        !self.synchronised
            || now.uptime < self.stepped_until
            || now.wall + policy.max_skew < self.newest
    }

    /// When the doubt may be over, on either clock; only asked while it lasts.
    pub(super) fn next(&self, now: Now, policy: &Policy) -> (UnixTime, Duration) {
        let caught_up = self.newest - policy.max_skew;
        (
            if caught_up > now.wall { caught_up } else { UnixTime::MAX },
            if self.stepped_until > now.uptime { self.stepped_until } else { Duration::MAX },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{DAY, HOUR};

    const NOON: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn at(wall: UnixTime, uptime: Duration) -> Now {
        Now { wall, uptime }
    }

    #[test]
    fn a_step_forward_is_doubted_until_an_answer_or_a_quarter_of_an_hour() {
        let policy = Policy::default();
        let mut trust = Trust::new(at(NOON, HOUR));
        let suspended = at(NOON + DAY, HOUR + DAY);
        trust.observe(suspended, &policy);
        assert!(!trust.suspect(suspended, &policy), "both clocks run on while suspended");

        let stepped = at(NOON + 3 * DAY, HOUR + DAY);
        trust.observe(stepped, &policy);
        assert!(trust.suspect(stepped, &policy));
        let later = at(stepped.wall + 15 * MINUTE, stepped.uptime + 15 * MINUTE);
        assert_eq!(trust.next(stepped, &policy).1, later.uptime);
        assert!(!trust.clone().suspect(later, &policy));
        trust.accepted(stepped.wall, true);
        assert!(!trust.suspect(stepped, &policy));
    }

    #[test]
    fn a_clock_behind_what_was_signed_is_doubted() {
        let policy = Policy::default();
        let mut trust = Trust::new(at(NOON, HOUR));
        trust.accepted(NOON, false);
        assert!(!trust.suspect(at(NOON - policy.max_skew, HOUR), &policy));
        let behind = at(NOON - DAY, HOUR);
        assert!(trust.suspect(behind, &policy));
        assert_eq!(trust.next(behind, &policy).0, NOON - policy.max_skew);
    }

    #[test]
    fn an_undisciplined_clock_is_doubted() {
        let mut trust = Trust::new(at(NOON, HOUR));
        trust.synchronised(false);
        assert!(trust.suspect(at(NOON, HOUR), &Policy::default()));
        trust.synchronised(true);
        assert!(!trust.suspect(at(NOON, HOUR), &Policy::default()));
    }
}
