//! Which processes have been answered what.
//!
//! Each of nginx's workers asks for itself, once for each server block and certificate, and a client
//! that comes before that goes without a staple (facts/servers.md 21). The kernel says whose the other
//! end of a unix socket is; so it can be known which workers have what they need.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::digest::{Digest, Fingerprint};

/// Anybody on this machine may ask, in as many processes as they like: then all is forgotten.
const MOST: usize = 1 << 18;

/// What each process was answered last about each certificate.
#[derive(Debug, Default)]
pub struct Askers {
    inner: Mutex<Inner>,
    newcomer: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    heard: HashMap<(i32, Fingerprint), Heard>,
    known: HashSet<i32>,
}

/// An answer that a process was given.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Of the staple.
    staple: Digest,
    /// How often in a row.
    times: u32,
}

impl Askers {
    /// The process `pid` was answered about `certificate` with `staple`.
    pub(super) fn answered(&self, pid: i32, certificate: Fingerprint, staple: Digest) {
        let mut inner = self.lock();
        if inner.heard.len() >= MOST {
            *inner = Inner::default();
        }
        let heard = inner.heard.entry((pid, certificate)).or_insert(Heard { staple, times: 0 });
        if heard.staple != staple {
            *heard = Heard { staple, times: 0 };
        }
        heard.times = heard.times.saturating_add(1);
        if inner.known.insert(pid) {
            self.newcomer.notify_one();
        }
    }

    /// How often in a row the process `pid` was answered about `certificate` with `staple`.
    pub fn times(&self, pid: i32, certificate: Fingerprint, staple: Digest) -> u32 {
        let inner = self.lock();
        let heard = inner.heard.get(&(pid, certificate)).filter(|heard| heard.staple == staple);
        heard.map_or(0, |heard| heard.times)
    }

    /// Returns when a process has asked that had not asked before: a worker may be new.
    pub async fn newcomer(&self) {
        self.newcomer.notified().await;
    }

    /// Forgets all processes but those for which `stays` holds: their numbers are used again.
    pub fn keep(&self, stays: impl Fn(i32) -> bool) {
        let mut inner = self.lock();
        inner.heard.retain(|(pid, _), _| stays(*pid));
        inner.known.retain(|pid| stays(*pid));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between two statements of this file costs some handshakes at most.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_what_each_process_was_answered_last() {
        let askers = Askers::default();
        let [cert, old, new] = ["cert", "old", "new"].map(|text| Digest::of(text.as_bytes()));
        askers.answered(7, cert, old);
        askers.newcomer().await;
        askers.answered(7, cert, new);
        askers.answered(7, cert, new);
        askers.answered(8, cert, old);
        let times = |pid, staple| askers.times(pid, cert, staple);
        assert_eq!((times(7, old), times(7, new), times(8, old), times(8, new)), (0, 2, 1, 0));
        askers.keep(|pid| pid == 8);
        assert_eq!((askers.times(7, cert, new), askers.times(8, cert, old)), (0, 1));
    }
}
