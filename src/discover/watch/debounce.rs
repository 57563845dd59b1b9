//! When to speak: soon after the first change, then when it is quiet.

use std::time::{Duration, Instant};

/// How long to wait for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After the first change of a burst: a file arrives by more than one event.
    pub gather: Duration,
    /// After the last one: a burst is over when nothing has happened for so long.
    pub quiet: Duration,
    /// After the first change that was not told yet, however busy it is.
    pub at_most: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            gather: Duration::from_millis(50),
            quiet: Duration::from_secs(2),
            at_most: Duration::from_secs(30),
        }
    }
}

/// Decides when changes are told. A renewed certificate must reach its target before anyone's
/// reload does, so the first change of a burst is told almost at once.
#[derive(Debug)]
pub(super) struct Debounce {
    pace: Pace,
    last: Option<Instant>,
    /// Since when there is something to tell, and whether it began a burst.
    untold: Option<(Instant, bool)>,
}

impl Debounce {
    pub(super) fn new(pace: Pace) -> Self {
        Debounce { pace, last: None, untold: None }
    }

    /// Something changed at `now`.
    pub(super) fn noticed(&mut self, now: Instant) {
        let quiet = |last: Instant| now.saturating_duration_since(last) >= self.pace.quiet;
        let begins = self.last.is_none_or(quiet);
        self.untold.get_or_insert((now, begins));
        self.last = Some(now);
    }

    /// When to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        let (since, begins) = self.untold?;
        if begins {
            return Some(since + self.pace.gather);
        }
        let quiet = self.last.unwrap_or(since) + self.pace.quiet;
        Some(quiet.min(since + self.pace.at_most))
    }

    /// It was told.
    pub(super) fn told(&mut self) {
        self.untold = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notices changes at `noticed` (milliseconds) and gives the instants of telling.
    fn check(noticed: &[u64], told: &[u64]) {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut debounce = Debounce::new(Pace::default());
        let mut tellings = Vec::new();
        let mut tell = |debounce: &mut Debounce, until: Option<Instant>| {
            while let Some(due) = debounce.due().filter(|due| until.is_none_or(|end| *due <= end)) {
                tellings.push(u64::try_from((due - start).as_millis()).expect("it is short"));
                debounce.told();
            }
        };
        for millis in noticed {
            tell(&mut debounce, Some(at(*millis)));
            debounce.noticed(at(*millis));
        }
        tell(&mut debounce, None);
        assert_eq!(tellings, told, "of {noticed:?}");
    }

    #[test]
    fn soon_then_when_quiet() {
        check(&[0], &[50]);
        check(&[0, 10, 40], &[50]);
        check(&[0, 60, 500], &[50, 2_500]);
        check(&[0, 5_000], &[50, 5_050]);
        check(&[0, 1_000, 4_000], &[50, 3_000, 4_050]);
    }

    #[test]
    fn never_later_than_the_most() {
        let busy: Vec<_> = (0..=40).map(|second| second * 1_000).collect();
        check(&busy, &[50, 31_000, 42_000]);
    }
}
