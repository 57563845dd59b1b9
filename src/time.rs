//! Instants and lengths of time, as values: no clock is read here.
//!
//! [`UnixTime`] is the wall clock to the second, as certificates and responses state it. [`Now`] is
//! what the agent's clock reads: wall time for judging validity and the time since boot for waiting.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use jiff::{SpanRelativeTo, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One day, as certificates count it.
pub const DAY: Duration = Duration::from_secs(86_400);
/// One hour.
pub const HOUR: Duration = Duration::from_secs(3_600);
/// One minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Whole seconds since 1970-01-01T00:00:00Z; printed, parsed and serialised as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The last instant that can be said; stands for "never".
    pub const MAX: UnixTime = UnixTime(i64::MAX);

    /// An instant from its seconds since 1970 (negative ones lie before).
    pub const fn from_secs(secs: i64) -> Self {
        UnixTime(secs)
    }

    /// Seconds since 1970.
    pub const fn as_secs(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to this instant; negative where `earlier` is later.
    pub const fn seconds_since(self, earlier: UnixTime) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from `earlier` to this instant, or nothing where `earlier` is not earlier.
    pub fn since(self, earlier: UnixTime) -> Duration {
        Duration::from_secs(u64::try_from(self.seconds_since(earlier)).unwrap_or(0))
    }
}

impl Add<Duration> for UnixTime {
    type Output = UnixTime;

    fn add(self, length: Duration) -> UnixTime {
        UnixTime(self.0.saturating_add_unsigned(length.as_secs()))
    }
}

impl Sub<Duration> for UnixTime {
    type Output = UnixTime;

    fn sub(self, length: Duration) -> UnixTime {
        UnixTime(self.0.saturating_sub_unsigned(length.as_secs()))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_second(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

impl FromStr for UnixTime {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(UnixTime(text.parse::<Timestamp>()?.as_second()))
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One reading of both clocks: CLOCK_REALTIME for validity, CLOCK_BOOTTIME for waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// UTC, whole seconds.
    pub wall: UnixTime,
    /// Since the machine booted, suspended time included; no clock step moves it.
    pub uptime: Duration,
}

/// Reads a length of time as people write it: `"90s"`, `"6h"`, `"4d"`, `"1h 30m"`, `"2w"`.
///
/// # Errors
/// Text that is no such length, or a negative one.
pub fn parse_duration(text: &str) -> Result<Duration, jiff::Error> {
    let span: jiff::Span = text.parse()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours())?;
    Duration::try_from(length)
}

/// Writes a length of time by its two largest units: `3d 4h`, `12m 5s`, `0s`.
pub fn format_duration(length: Duration) -> String {
    let secs = length.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let largest = units.iter().position(|(size, _)| secs >= *size).unwrap_or(3);
    let mut rest = secs;
    let mut parts = Vec::new();
    for (size, unit) in units.iter().skip(largest).take(2) {
        if rest / size > 0 || parts.is_empty() {
            parts.push(format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        let cases = [
            ("90s", 90, "1m 30s"),
            ("6h", 21_600, "6h"),
            ("4d", 345_600, "4d"),
            ("1h 30m", 5_400, "1h 30m"),
            ("0s", 0, "0s"),
            ("2w", 1_209_600, "14d"),
        ];
        for (text, secs, printed) in cases {
            let length = parse_duration(text).expect(text);
            assert_eq!(length.as_secs(), secs, "{text}");
            assert_eq!(format_duration(length), printed);
        }
        assert!(parse_duration("-5m").is_err());
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn instants_print_as_rfc_3339() {
        let instant: UnixTime = "2026-03-05T00:00:01Z".parse().expect("RFC 3339");
        assert_eq!(instant.to_string(), "2026-03-05T00:00:01Z");
        assert_eq!((instant + MINUTE).seconds_since(instant), 60);
        assert_eq!(instant.since(instant + MINUTE), Duration::ZERO);
    }
}
