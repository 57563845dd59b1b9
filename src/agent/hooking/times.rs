//! When hooks are told something, and how long they may take to begin.

use std::time::Duration;

use tokio::time::Instant;

use super::Hooking;

/// How long files that are on the move, and issuers that are fetched, may keep a hook from beginning;
/// of a short deadline no more than half.
const SETTLES: Duration = Duration::from_secs(10);
/// How long after a hook's deadline the look that it needs may still end: what it shows is worth more than
/// word that the time is over.
const LOOKS: Duration = Duration::from_secs(5);
/// Between two looks at what hooks wait for; longer where that takes longer, by this multiple.
const TELL_EVERY: Duration = Duration::from_millis(50);
const TELL_REST: u32 = 3;
/// Between two lines in the log that say that there are too many.
const FULL_EVERY: Duration = Duration::from_secs(600);
/// Between two looks that begin at once because a hook was called: many calls must not take all time.
const HURRIES_EVERY: Duration = Duration::from_secs(2);

/// All hooks on their way.
#[derive(Debug, Default)]
pub(in crate::agent) struct Hookings {
    pub(super) all: Vec<Hooking>,
    /// When something is to be told, whatever happens until then.
    pub(super) due: Option<Instant>,
    /// Nothing is told before: many certificates, each looked at after every event, would take all time.
    rest: Option<Instant>,
    /// No look at everything is hurried before.
    unhurried: Option<Instant>,
    /// When the log was told last that there are too many.
    full: Option<Instant>,
}

/// The latest instants at which a hook has to go on that has not begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begins {
    /// From then on things are taken as they lie, and looked at once more for that.
    pub(super) as_it_lies: Instant,
    /// That look was asked for.
    pub(super) asked: bool,
    /// From then on there is nothing to hope for.
    pub(super) never: Instant,
}

impl Hookings {
    /// It is too soon to tell anything, or there is nobody to tell.
    pub(super) fn rests(&mut self, now: Instant) -> bool {
        if self.all.is_empty() {
            self.due = None;
            return true;
        }
        let rests = self.rest.is_some_and(|rest| now < rest);
        if rests {
            // What has happened is told when the rest is over, though nothing else may happen.
            self.due = self.rest;
        }
        rests
    }

    /// Whether the look that a call needs may begin at once; else it begins in its turn, a few times as long
    /// after the last one as that took.
    pub(super) fn may_hurry(&mut self, now: Instant) -> bool {
        let may = self.unhurried.is_none_or(|until| now >= until);
        if may {
            self.unhurried = Some(now + HURRIES_EVERY);
        }
        may
    }

    /// Whether the log is to be told that there are too many: they come back every few seconds.
    pub(super) fn is_news_that_full(&mut self, now: Instant) -> bool {
        let news = self.full.is_none_or(|told| now >= told + FULL_EVERY);
        if news {
            self.full = Some(now);
        }
        news
    }

    /// All were told, which took so long.
    pub(super) fn told(&mut self, took: Duration) {
        self.rest = Some(Instant::now() + TELL_EVERY.max(took * TELL_REST));
        self.due = self.all.iter().filter_map(Hooking::due).min();
    }
}

impl Begins {
    /// For a hook that is called `now` and waits for `patience` from `since` on.
    pub(super) fn of(since: Instant, patience: Duration, now: Instant) -> Begins {
        let as_it_lies = since + SETTLES.min(patience / 2);
        Begins { as_it_lies, asked: false, never: (since + patience).max(now) + LOOKS }
    }

    pub(super) fn due(&self) -> Instant {
        if self.asked { self.never } else { self.as_it_lies }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::sync::mpsc;

    use super::*;
    use crate::serve::control::Hook;

    fn hooking(begins: Begins) -> Hooking {
        Hooking {
            order: Hook::default(),
            since: Instant::now(),
            scan: 1,
            waiting: None,
            begins,
            told: BTreeSet::new(),
            good: 0,
            bad: 0,
            replies: mpsc::unbounded_channel().0,
        }
    }

    #[test]
    fn a_hook_that_cannot_begin_ends_all_the_same() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut begins = Begins::of(now, 1200 * second, now);
        assert_eq!(begins.due(), now + SETTLES);
        begins.asked = true;
        assert_eq!(begins.due(), now + 1200 * second + LOOKS);
        let short = Begins::of(now, 4 * second, now);
        assert_eq!((short.due(), short.never), (now + 2 * second, now + 4 * second + LOOKS));
        // Told anew by another agent, after the deadline: one look still.
        let again = Begins::of(now, 4 * second, now + 60 * second);
        assert_eq!(again.never, now + 60 * second + LOOKS);
    }

    #[test]
    fn many_calls_do_not_hurry_each_look() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut hooks = Hookings::default();
        let hurries: Vec<_> = (0..6).map(|at| hooks.may_hurry(now + at * second)).collect();
        assert_eq!(hurries, [true, false, true, false, true, false]);
    }

    #[test]
    fn hooks_are_told_as_often_as_that_is_cheap() {
        let now = Instant::now();
        let mut hooks = Hookings::default();
        assert!(hooks.rests(now), "nobody waits");
        hooks.all.push(hooking(Begins::of(now, Hook::LONGEST, now)));
        assert!(!hooks.rests(now));
        hooks.told(Duration::from_secs(1));
        assert_eq!(hooks.due, Some(now + SETTLES));
        assert!(hooks.rests(now + Duration::from_secs(2)));
        assert_eq!(hooks.due, hooks.rest, "what happened meanwhile is told after the rest");
        assert!(!hooks.rests(now + Duration::from_secs(5)));
    }
}
