//! How often what was answered.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

/// Counters that every connection adds to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    requests: AtomicU64,
    unknown: AtomicU64,
    without_staple: AtomicU64,
    refused: AtomicU64,
}

/// What was answered since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All HTTP requests that could be read.
    pub requests: u64,
    /// Certificates that are not known here: `unauthorized`.
    pub unknown: u64,
    /// Certificates without a staple: `tryLater`.
    pub without_staple: u64,
    /// What was no OCSP request, too long or too slow.
    pub refused: u64,
}

impl Counts {
    pub(super) fn replied(&self, status: StatusCode) {
        add(&self.requests);
        if status.is_client_error() {
            add(&self.refused);
        }
    }

    pub(super) fn unknown(&self) {
        add(&self.unknown);
    }

    pub(super) fn without_staple(&self) {
        add(&self.without_staple);
    }

    pub(super) fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            requests: read(&self.requests),
            unknown: read(&self.unknown),
            without_staple: read(&self.without_staple),
            refused: read(&self.refused),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
