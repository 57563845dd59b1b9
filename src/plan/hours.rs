//! The hours in which reloads that can wait may happen: `[schedule] reload_windows`.
//!
//! They are hours of the day in UTC: no clock change makes one come twice or not at all.

use std::time::Duration;

use crate::time::{DAY, MINUTE, UnixTime};

/// So many spans at most.
const SPANS: usize = 8;

/// Spans of the day; none: any time will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    /// First minute of the day, and how many minutes; 0: no span.
    spans: [(u16, u16); SPANS],
}

impl Hours {
    /// The spans from one minute of the day (UTC) to another; one that ends before it begins ends on
    /// the next day.
    ///
    /// # Errors
    /// More than eight; a span that is empty, or begins or ends outside the day.
    pub fn new(spans: &[(u16, u16)]) -> Result<Hours, NotHours> {
        let mut hours = Hours::default();
        if spans.len() > SPANS {
            return Err(NotHours::TooMany(spans.len()));
        }
        for (place, (from, to)) in hours.spans.iter_mut().zip(spans) {
            if *from >= 1_440 || *to > 1_440 || from == to {
                return Err(NotHours::Empty);
            }
            *place = (*from, if to > from { to - from } else { 1_440 + to - from });
        }
        Ok(hours)
    }

    /// When a reload is due that has time until `closes`, as of `now`: in the last quarter of the
    /// last span before `closes`, so that it gathers much and a failure can be made good; an instant
    /// that has passed means now. `closes` itself, where no span comes before it.
    pub(super) fn before(&self, closes: UnixTime, now: UnixTime) -> UnixTime {
        let spans = self.around(closes).filter(|(from, to)| *from <= closes && *to > now);
        let dues = spans.map(|(from, to)| match to > closes {
            true => closes,
            false => to - to.since(from) / 4,
        });
        dues.max().unwrap_or(closes)
    }

    /// The first instant from `now` on that lies in one of them.
    pub(super) fn next(&self, now: UnixTime) -> UnixTime {
        let spans = self.around(now).filter(|(_, to)| *to > now);
        spans.map(|(from, _)| from.max(now)).min().unwrap_or(now)
    }

    /// The spans of the day before an instant, of its day and of the next one.
    fn around(&self, at: UnixTime) -> impl Iterator<Item = (UnixTime, UnixTime)> {
        let secs = at.as_secs();
        let midnight = UnixTime::from_secs(secs - secs.rem_euclid(86_400));
        let days = [midnight - DAY, midnight, midnight + DAY];
        let spans = self.spans.iter().filter(|(_, minutes)| *minutes > 0).copied();
        spans.flat_map(move |(from, minutes)| {
            days.map(|day| {
                let from = day + MINUTE * u32::from(from);
                (from, from + Duration::from_secs(60 * u64::from(minutes)))
            })
        })
    }
}

/// Why spans are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHours {
    /// There are too many.
    #[error("there are {0} of them, more than 8")]
    TooMany(usize),
    /// One is empty or does not lie in the day.
    #[error("it is empty, or goes beyond 24:00")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "05 02:30" in January 2027, UTC.
    fn at(text: &str) -> UnixTime {
        let (day, time) = text.split_once(' ').expect("day and time");
        format!("2027-01-{day}T{time}:00Z").parse().expect("RFC 3339")
    }

    #[test]
    fn a_close_is_served_in_the_last_hours_before_it() {
        let hours = Hours::new(&[(120, 300), (22 * 60, 60)]).expect("02:00-05:00, 22:00-01:00");
        // The close, now, and when it is due.
        let cases = [
            ("05 12:00", "04 12:00", "05 04:15"),
            ("05 03:00", "04 12:00", "05 03:00"), // within them: at the close, as ever
            ("05 01:30", "04 12:00", "05 00:15"), // over midnight
            ("05 12:00", "05 04:30", "05 04:15"), // has passed: now
            ("05 12:00", "05 06:00", "05 12:00"), // none is left: as ever
        ];
        for (closes, now, due) in cases {
            assert_eq!(hours.before(at(closes), at(now)), at(due), "{closes} as of {now}");
        }
        assert_eq!(Hours::default().before(at("05 12:00"), at("04 12:00")), at("05 12:00"));
    }

    #[test]
    fn what_is_due_waits_for_them() {
        let hours = Hours::new(&[(120, 300)]).expect("02:00-05:00");
        assert_eq!(hours.next(at("05 01:00")), at("05 02:00"));
        assert_eq!(hours.next(at("05 03:00")), at("05 03:00"));
        assert_eq!(hours.next(at("05 05:00")), at("06 02:00"));
        assert_eq!(Hours::default().next(at("05 05:00")), at("05 05:00"));
        assert_eq!(Hours::new(&[(60, 60)]), Err(NotHours::Empty));
        assert_eq!(Hours::new(&[(0, 60); 9]), Err(NotHours::TooMany(9)));
    }
}
