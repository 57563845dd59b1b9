//! One certificate: its window, how long it waits, and which answer it accepts.

use std::time::Duration;

use super::{Entry, State};
use crate::ocsp::Status;
use crate::plan::backoff::{self, LONGEST_WAIT, LONGEST_WAIT_OF_A_CALLER};
use crate::plan::desk::Desk;
use crate::plan::facts::Facts;
use crate::plan::responders::Urgency;
use crate::plan::window::{Lead, Window};
use crate::time::{MINUTE, Now, UnixTime};

/// A circuit behind which a deployed Must-Staple certificate stands without a staple is probed at
/// least this often.
const LONGEST_WAIT_IN_NEED: Duration = MINUTE.saturating_mul(5);

/// What an answer does to the staple that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Unchanged,
}

impl Entry {
    /// The window of the staple it holds.
    pub(in crate::plan) fn window(&self, desk: &Desk) -> Option<Window> {
        self.held.map(|held| self.window_of(&held, desk))
    }

    fn window_of(&self, facts: &Facts, desk: &Desk) -> Window {
        let seconds = |number: u32| Duration::from_secs(u64::from(number));
        let lead =
            Lead { stops_early: seconds(self.stops_early), takes_up: seconds(self.takes_up) };
        Window::of(facts.this_update, facts.expires, lead, &desk.policy)
    }

    /// When it is asked about next of its own accord.
    pub(super) fn opens(&self, facts: &Facts, desk: &Desk) -> UnixTime {
        let attempt = facts.this_update.as_secs().unsigned_abs();
        let draw = backoff::draw(desk.policy.seed, self.identity, attempt);
        self.window_of(facts, desk).opens_jittered(draw)
    }

    /// There is somebody to ask, and a certificate that is not over.
    pub(super) fn askable(&self, now: Now) -> bool {
        !self.responders.is_empty() && self.not_after > now.wall
    }

    /// The first attempt of a certificate without a staple has not ended yet.
    pub(in crate::plan) fn is_new(&self) -> bool {
        let running = matches!(self.state, State::Queued(_) | State::Asked(_) | State::Kept);
        running && self.tries <= 1 && self.held.is_none()
    }

    /// Attempts that failed since the last success.
    pub(in crate::plan) fn failures(&self) -> u32 {
        let running = u32::from(self.asked && !matches!(self.state, State::Waiting));
        self.tries.saturating_sub(self.unchanged).saturating_sub(running)
    }

    /// The wait after `tries` attempts: by back-off, as much as the held staple leaves time for.
    /// `awaited`: somebody waits for it.
    pub(super) fn pace(&self, tries: u32, awaited: bool, desk: &Desk) -> Duration {
        let draw = backoff::draw(desk.policy.seed, self.identity, u64::from(tries));
        if awaited {
            return backoff::short_wait(tries, draw);
        }
        let window = self.window(desk);
        let most = window.map_or(LONGEST_WAIT, |window| window.longest_wait(desk.now.wall));
        backoff::wait(tries, LONGEST_WAIT, draw).min(most)
    }

    /// The longest that a circuit may leave it alone.
    ///
    /// As for a single certificate, but a host is one for many: what counts is not each close to the
    /// second but a thousandth of usable life.
    pub(super) fn need(&self, awaited: bool, desk: &Desk) -> Duration {
        if awaited {
            return LONGEST_WAIT_OF_A_CALLER;
        }
        let window = self.window(desk);
        let in_date = window.filter(|window| window.expires > desk.now.wall);
        if let Some(window) = in_date {
            return window.longest_wait(desk.now.wall).max(window.life / 1000);
        }
        let expired = window.map_or(LONGEST_WAIT, |window| window.longest_wait(desk.now.wall));
        if self.must_staple { expired.min(LONGEST_WAIT_IN_NEED) } else { expired }
    }

    pub(super) fn urgency(&self, desk: &Desk) -> Urgency {
        match self.window(desk) {
            _ if self.forced => Urgency::FORCED,
            Some(window) if window.expires > desk.now.wall => Urgency::closing(window.closes),
            _ if self.must_staple => Urgency::MUST,
            _ => Urgency::BARE,
        }
    }

    pub(super) fn judge(&self, answer: &Facts, desk: &Desk) -> Verdict {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::plan::Policy;
    use crate::plan::certificates::Certificates;
    use crate::plan::facts::{Attempts, CertId, Certificate, ResponderId};
    use crate::plan::responders::Responders;
    use crate::plan::trust::Trust;
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
            let wait = entry.pace(tries, false, &desk);
            let most = MINUTE * minutes;
            assert!(most / 2 <= wait && wait <= most, "{held:?} after {tries}: {wait:?}");
        }
        let mut desk = desk();
        let entry = entry(Some(facts("good 2-9")), &mut desk);
        desk.now.wall = facts("good 2-9").expires - 2 * MINUTE;
        assert_eq!(entry.pace(30, false, &desk), MINUTE / 2, "a quarter of what is left");
    }

    #[test]
    fn circuits_are_probed_as_often_as_somebody_needs() {
        let mut desk = desk();
        let expired = entry(Some(facts("good 1-8")), &mut desk);
        assert_eq!(
            expired.need(false, &desk),
            LONGEST_WAIT_IN_NEED,
            "Must-Staple clients are locked out"
        );
        let closing = entry(Some(facts("good 3-10")), &mut desk);
        desk.now.wall = facts("good 3-10").expires - DAY - MINUTE;
        let floor = 7 * DAY / 1000;
        assert_eq!(closing.need(false, &desk), floor, "a close does not count to the second");
    }
}
