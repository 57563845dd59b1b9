//! The window of a staple: when its replacement is sought, and when it must have been loaded.
//!
//! Everything scales with *usable life*, thisUpdate to effective expiry, so that answers valid for
//! ten days and for twenty seconds follow the same rules.

use std::time::Duration;

use super::backoff;
use super::facts::{Facts, Policy};
use crate::time::UnixTime;

/// How much of a staple's life a server needs for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lead {
    /// It stops handing a staple out so long before it expires.
    pub stops_early: Duration,
    /// It takes up by itself what is published, at most so long after.
    pub takes_up: Duration,
}

impl Lead {
    /// Nothing but an early stop.
    pub(super) fn stops_early(stops_early: Duration) -> Lead {
        Lead { stops_early, takes_up: Duration::ZERO }
    }

    /// What both ask for.
    pub(super) fn max(self, other: Lead) -> Lead {
        let stops_early = self.stops_early.max(other.stops_early);
        Lead { stops_early, takes_up: self.takes_up.max(other.takes_up) }
    }
}

/// When a staple is replaced. All instants are wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its successor is asked for from here on: half of usable life.
    pub opens: UnixTime,
    /// Its successor has to be loaded: the closing margin before the server stops stapling it.
    pub closes: UnixTime,
    /// min(the staple's expiry, thisUpdate + `max_age`).
    pub expires: UnixTime,
    /// min(`urgent_below`, a quarter of usable life).
    pub margin: Duration,
    /// thisUpdate to effective expiry.
    pub life: Duration,
}

impl Window {
    /// The window of a staple whose server needs `lead` of its life for itself.
    ///
    /// For taking up the next one half of the window is given at most: an answer that lives for
    /// less than that leaves no better choice.
    pub fn of(this_update: UnixTime, expires: UnixTime, lead: Lead, policy: &Policy) -> Window {
        let expires = expires.min(this_update + policy.max_age);
        let life = expires.since(this_update);
        let margin = policy.urgent_below.min(life / 4);
        let closes = expires - lead.stops_early - margin;
        // A server that stops very early may leave no second half of life before the close.
        let half = this_update + life / 2;
        let opens = if closes > half { half } else { this_update + closes.since(this_update) / 2 };
        let closes = closes - lead.takes_up.min(closes.since(opens) / 2);
        Window { opens, closes, expires, margin, life }
    }

    /// The opening, moved by `draw` through the first twentieth of the window.
    pub(super) fn opens_jittered(&self, draw: u64) -> UnixTime {
        self.opens + backoff::share(self.closes.since(self.opens) / 20, draw)
    }

    /// Half-way between opening and close: a responder that is still down then is told.
    pub(super) fn middle(&self) -> UnixTime {
        self.opens + self.closes.since(self.opens) / 2
    }

    /// How long a reload at the close may still be put off to keep reloads apart; warnings begin at
    /// twice that.
    pub(super) fn latest_reload(&self) -> UnixTime {
        self.closes + self.margin / 8
    }

    /// Below three quarters of the margin: warn.
    pub(super) fn late(&self) -> UnixTime {
        self.closes + self.margin / 4
    }

    /// Below a quarter of the margin: critical with Must-Staple.
    pub(super) fn at_risk(&self) -> UnixTime {
        self.closes + self.margin * 3 / 4
    }

    /// A freeze is over: five sixteenths of the margin are left. That is the quarter from which on it is
    /// critical, and a sixteenth in which the reload that follows gathers, is done and is confirmed: a freeze
    /// that lasted down to the quarter would have its own end told as a risk.
    pub(super) fn thaws(&self) -> UnixTime {
        self.closes + self.margin * 11 / 16
    }

    /// The longest wait between two attempts while this staple is the one that is held.
    ///
    /// Up to the close a quarter of what is left of it. Past it the failure is told and the staple
    /// still good, so waits may grow again to a hundredth of usable life, less as expiry nears.
    pub(super) fn longest_wait(&self, now: UnixTime) -> Duration {
        let longest = if now < self.closes {
            self.closes.since(now) / 4
        } else if now < self.expires {
            (self.expires.since(now) / 4).min(self.life / 100)
        } else {
            self.life / 100
        };
        longest.max(SHORTEST_WAIT)
    }
}

/// From then on clients are better off with no staple than with this one, which runs out: a reload
/// that takes it away has gathered, is done, and its last old worker is gone, before it expires.
pub(super) fn withdraws(staple: &Facts, policy: &Policy) -> UnixTime {
    let window = Window::of(staple.this_update, staple.expires, Lead::default(), policy);
    staple.expires - WITHDRAWN_BEFORE.min(window.margin / 2)
}

/// nginx with 10,000 hosts takes some ten seconds to load them, and gathering takes up to five.
const WITHDRAWN_BEFORE: Duration = Duration::from_secs(30);

/// Nobody is asked again sooner than this, however short the answers live.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{DAY, HOUR, MINUTE};

    const START: UnixTime = UnixTime::from_secs(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    /// `life`, early stop, and what follows: opening and close from thisUpdate, and the margin.
    #[test]
    fn windows_scale_with_usable_life() {
        let cases = [
            (7 * DAY, Duration::ZERO, 84 * HOUR, 6 * DAY, DAY),
            (30 * DAY, Duration::ZERO, 5 * DAY, 9 * DAY, DAY), // max_age shortens it to ten days
            (12 * HOUR, Duration::ZERO, 6 * HOUR, 9 * HOUR, 3 * HOUR),
            (12 * HOUR, 5 * MINUTE, 6 * HOUR, 9 * HOUR - 5 * MINUTE, 3 * HOUR),
            (20 * SECOND, Duration::ZERO, 10 * SECOND, 15 * SECOND, 5 * SECOND),
            (20 * MINUTE, 5 * MINUTE, 5 * MINUTE, 10 * MINUTE, 5 * MINUTE), // no second half left
        ];
        for (life, stops_early, opens, closes, margin) in cases {
            let lead = Lead::stops_early(stops_early);
            let window = Window::of(START, START + life, lead, &Policy::default());
            assert_eq!(window.opens.since(START), opens, "opening of {life:?}");
            assert_eq!(window.closes.since(START), closes, "close of {life:?}");
            assert_eq!(window.margin, margin, "margin of {life:?}");
        }
    }

    /// `life` and what the server takes to take it up by itself: the close from thisUpdate.
    #[test]
    fn a_server_that_takes_its_time_is_published_to_earlier() {
        let cases = [
            (7 * DAY, HOUR, 6 * DAY - HOUR),
            (12 * HOUR, HOUR, 8 * HOUR),
            (2 * HOUR, HOUR, 75 * MINUTE), // half of the window, not all of it
            (MINUTE, HOUR, 37 * SECOND + SECOND / 2),
        ];
        for (life, takes_up, closes) in cases {
            let lead = Lead { takes_up, ..Lead::default() };
            let window = Window::of(START, START + life, lead, &Policy::default());
            assert_eq!(window.opens.since(START), life / 2, "opening of {life:?}");
            // Instants are whole seconds.
            let off = window.closes.since(START).abs_diff(closes);
            assert!(off <= SECOND, "close of {life:?} is {off:?} off");
        }
    }

    #[test]
    fn jitter_stays_in_the_first_twentieth() {
        let window = Window::of(START, START + 7 * DAY, Lead::default(), &Policy::default());
        for attempt in 0..1000 {
            let opens = window.opens_jittered(backoff::draw(1, 2, attempt));
            assert!(window.opens <= opens && opens <= window.opens + 3 * HOUR);
        }
    }

    /// `life`, and how long before its end a staple is withdrawn that is not to be kept.
    #[test]
    fn what_is_to_go_goes_before_it_expires() {
        for (life, before) in [(7 * DAY, 30), (12 * HOUR, 30), (2 * MINUTE, 15), (40 * SECOND, 5)] {
            let (this_update, expires) = (START, START + life);
            let (digest, status) = (crate::digest::Digest::of(b""), crate::ocsp::Status::Good);
            let staple = Facts { digest, status, this_update, expires };
            let goes = withdraws(&staple, &Policy::default());
            assert_eq!(expires.since(goes), Duration::from_secs(before), "{life:?}");
        }
    }

    #[test]
    fn waits_shrink_towards_the_close_and_again_towards_expiry() {
        let window = Window::of(START, START + 7 * DAY, Lead::default(), &Policy::default());
        let cases = [
            (window.closes - 4 * HOUR, HOUR),
            (window.closes - 4 * MINUTE, MINUTE),
            (window.closes - Duration::from_secs(1), SHORTEST_WAIT),
            (window.closes, window.life / 100),
            (window.expires - 4 * MINUTE, MINUTE),
            (window.expires, window.life / 100),
        ];
        for (now, longest) in cases {
            assert_eq!(window.longest_wait(now), longest, "at {now}");
        }
    }
}
