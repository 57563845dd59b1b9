//! When to speak: soon after each change, but not all the time.

use std::time::{Duration, Instant};

/// How long to wait for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After a change: a file arrives by more than one event.
    pub gather: Duration,
    /// Between two tellings, however busy it is.
    pub apart: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { gather: Duration::from_millis(50), apart: Duration::from_millis(250) }
    }
}

/// Decides when changes are told. A renewed certificate must reach its target before anyone's
/// reload does, and the files of a renewal may come seconds apart: nothing waits for quiet.
#[derive(Debug)]
pub(super) struct Debounce {
    pace: Pace,
    told: Option<Instant>,
    /// Since when there is something to tell.
    untold: Option<Instant>,
}

impl Debounce {
    pub(super) fn new(pace: Pace) -> Self {
        Debounce { pace, told: None, untold: None }
    }

    /// Something changed at `now`.
    pub(super) fn noticed(&mut self, now: Instant) {
        self.untold.get_or_insert(now);
    }

    /// When to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        let gathered = self.untold? + self.pace.gather;
        Some(self.told.map_or(gathered, |told| gathered.max(told + self.pace.apart)))
    }

    /// It was told at `now`.
    pub(super) fn told(&mut self, now: Instant) {
        self.untold = None;
        self.told = Some(now);
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
                debounce.told(due);
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
    fn soon_and_not_all_the_time() {
        check(&[0], &[50]);
        check(&[0, 10, 40], &[50]);
        check(&[0, 60, 500], &[50, 300, 550]);
        check(&[0, 1_000, 4_000], &[50, 1_050, 4_050]);
        let busy: Vec<_> = (0..=100).map(|at| at * 10).collect();
        check(&busy, &[50, 300, 550, 800, 1_050]);
    }
}
