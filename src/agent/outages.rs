//! A responder that fails says so once, not once for each certificate behind it.
//!
//! One line when it begins, one an hour while it goes on, one when nobody waits for it any more; and one
//! that comes and goes is told of twice an hour at most. What each request came to is for the debug log.

use std::collections::{HashMap, HashSet};

use crate::digest::Fingerprint;
use crate::happening::{Happening, Subject};
use crate::time::{HOUR, UnixTime, format_duration};

/// Which responders fail, and what has been said about them.
#[derive(Debug, Default)]
pub(super) struct Outages {
    responders: HashMap<String, Outage>,
}

#[derive(Debug)]
struct Outage {
    /// Those whose last request it failed.
    failing: HashSet<Fingerprint>,
    begun: UnixTime,
    told: Option<UnixTime>,
    /// It is known to fail.
    announced: bool,
    /// Since the last line.
    failures: u64,
}

/// Something worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A responder fails.
    Fails {
        responder: String,
        /// One of those it fails.
        certificate: String,
        error: String,
        /// How many certificates wait for it, and requests that failed since the last line.
        waiting: usize,
        failures: u64,
    },
    /// It answers again.
    Recovered { responder: String, after: String },
}

impl Outages {
    /// Takes in what happened; gives what is to be logged.
    pub(super) fn observe(&mut self, happening: &Happening, now: UnixTime) -> Option<News> {
        match happening {
            Happening::NotAnswered { certificate, responder, error, .. } => {
                self.failed(responder, certificate, error, now)
            }
            Happening::Answered { certificate, responder, .. } => {
                self.answered(responder, certificate.fingerprint, now)
            }
            Happening::Removed { certificate } => {
                for outage in self.responders.values_mut() {
                    outage.failing.remove(&certificate.fingerprint);
                }
                None
            }
            _ => None,
        }
    }

    fn failed(
        &mut self,
        responder: &str,
        certificate: &Subject,
        error: &str,
        now: UnixTime,
    ) -> Option<News> {
        if !self.responders.contains_key(responder) {
            let outage = Outage {
                failing: HashSet::new(),
                begun: now,
                told: None,
                announced: false,
                failures: 0,
            };
            self.responders.insert(responder.to_owned(), outage);
        }
        let outage = self.responders.get_mut(responder)?;
        if outage.failing.is_empty() {
            outage.begun = now;
        }
        outage.failing.insert(certificate.fingerprint);
        outage.failures += 1;
        // A clock that was put back must not silence it.
        if outage.told.is_some_and(|told| told <= now && now < told + HOUR) {
            return None;
        }
        (outage.told, outage.announced) = (Some(now), true);
        Some(News::Fails {
            responder: responder.to_owned(),
            certificate: certificate.name.clone(),
            error: error.to_owned(),
            waiting: outage.failing.len(),
            failures: std::mem::take(&mut outage.failures),
        })
    }

    fn answered(&mut self, responder: &str, of: Fingerprint, now: UnixTime) -> Option<News> {
        let outage = self.responders.get_mut(responder)?;
        let last = outage.failing.remove(&of) && outage.failing.is_empty();
        if !last || !std::mem::take(&mut outage.announced) {
            return None;
        }
        (outage.told, outage.failures) = (Some(now), 0);
        let after = format_duration(now.since(outage.begun));
        Some(News::Recovered { responder: responder.to_owned(), after })
    }
}

impl News {
    /// Logs it.
    pub(super) fn log(&self) {
        match self {
            News::Fails { responder, certificate, error, waiting: 1, failures: 1 } => {
                tracing::warn!(responder, cert = certificate, "{error}");
            }
            News::Fails { responder, certificate, error, waiting, failures } => tracing::warn!(
                responder,
                cert = certificate,
                certificates = waiting,
                failures,
                "{error}; {waiting} certificates wait for it, {failures} requests have failed since \
                 the last word about it"
            ),
            News::Recovered { responder, after } => {
                tracing::info!(responder, "answers again about all that waited, after {after}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::ocsp::Status;
    use crate::plan::Facts;
    use crate::time::DAY;
    use std::time::Duration;

    const URL: &str = "http://ocsp.example/";
    const START: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn subject(number: u32) -> Subject {
        let fingerprint = Digest::of(&number.to_be_bytes());
        Subject { name: format!("www{number}"), fingerprint }
    }

    fn failed(number: u32) -> Happening {
        Happening::NotAnswered {
            certificate: subject(number),
            responder: URL.to_owned(),
            // Each has an error of its own: that used to be a line each.
            error: format!("{URL}: number {number} is not known"),
            news: true,
            unknown: false,
        }
    }

    fn answered(number: u32) -> Happening {
        Happening::Answered {
            certificate: subject(number),
            responder: URL.to_owned(),
            staple: Facts {
                digest: Digest::of(b"x"),
                status: Status::Good,
                this_update: START,
                expires: START + DAY,
            },
            unchanged: false,
        }
    }

    /// Ten thousand certificates ask once an hour each, all day.
    #[test]
    fn a_day_of_failure_is_a_line_an_hour() {
        let (mut outages, mut lines) = (Outages::default(), Vec::new());
        for hour in 0..24 {
            for number in 0..10_000 {
                let now = START + HOUR * hour + Duration::from_secs(u64::from(number) * 36 / 100);
                lines.extend(outages.observe(&failed(number), now));
            }
        }
        assert!((20..=24).contains(&lines.len()), "{} lines", lines.len());
        let News::Fails { waiting: 1, failures: 1, .. } = &lines[0] else {
            panic!("{:?}", lines[0])
        };
        let News::Fails { waiting: 10_000, failures, .. } = &lines[1] else {
            panic!("{:?}", lines[1])
        };
        assert!((9_900..=10_100).contains(failures), "{failures}");
        let end = START + DAY;
        let ends: Vec<_> =
            (0..10_000).filter_map(|number| outages.observe(&answered(number), end)).collect();
        let after = "1d".to_owned();
        assert_eq!(ends, [News::Recovered { responder: URL.to_owned(), after }]);
    }

    #[test]
    fn one_that_comes_and_goes_is_told_of_twice_an_hour() {
        let (mut outages, mut lines) = (Outages::default(), 0);
        for minute in 0..24 * 60 {
            let now = START + Duration::from_secs(60 * minute);
            lines += usize::from(outages.observe(&failed(1), now).is_some());
            let now = now + Duration::from_secs(30);
            lines += usize::from(outages.observe(&answered(1), now).is_some());
        }
        assert!((40..=48).contains(&lines), "{lines} lines");
    }

    #[test]
    fn other_responders_have_lines_of_their_own() {
        let mut outages = Outages::default();
        assert!(outages.observe(&failed(1), START).is_some());
        assert_eq!(outages.observe(&answered(2), START), None);
        let Happening::NotAnswered { certificate, error, .. } = failed(1) else { unreachable!() };
        let responder = "http://other.example/".to_owned();
        let other =
            Happening::NotAnswered { certificate, responder, error, news: false, unknown: false };
        assert!(outages.observe(&other, START).is_some());
    }
}
