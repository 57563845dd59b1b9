//! A bounded number of connections: when all seats are taken, whoever was silent longest gives up his.
//!
//! Clients that connect and say nothing cannot keep others out, however many they are, and what they
//! cost stays bounded: descriptors, buffers, tasks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

/// All seats.
#[derive(Debug)]
pub(super) struct Seats {
    limit: usize,
    opened: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// Somebody sweeps them.
    swept: bool,
    seats: HashMap<u64, (Arc<AtomicU64>, Option<AbortHandle>)>,
}

/// One connection's; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    /// When it was last heard of, in milliseconds since the seats were opened.
    heard: Arc<AtomicU64>,
    seats: Arc<Seats>,
}

impl Seats {
    pub(super) fn new(limit: usize) -> Seats {
        Seats { limit, opened: Instant::now(), taken: Mutex::default() }
    }

    /// A seat for a connection that was just accepted, if need be the most silent one's.
    pub(super) fn take(self: &Arc<Self>) -> Seat {
        let now = self.now();
        let heard = Arc::new(AtomicU64::new(now));
        let mut taken = self.lock();
        while taken.seats.len() >= self.limit {
            let silent = taken.seats.iter().min_by_key(|(number, (heard, _))| {
                // Of those that were never heard of, the first that came.
                (heard.load(Ordering::Relaxed), **number)
            });
            let Some(number) = silent.map(|(number, _)| *number) else { break };
            taken.evict(number);
        }
        let number = taken.next;
        taken.next += 1;
        taken.seats.insert(number, (heard.clone(), None));
        Seat { number, heard, seats: self.clone() }
    }

    /// Who has not been heard of for so long has to leave.
    pub(super) fn sweep(&self, silent: Duration) {
        let before = self.now().saturating_sub(millis(silent));
        let mut taken = self.lock();
        let silent = |heard: &AtomicU64| heard.load(Ordering::Relaxed) < before;
        let all = taken.seats.iter().filter(|(_, (heard, _))| silent(heard));
        let numbers: Vec<u64> = all.map(|(number, _)| *number).collect();
        numbers.into_iter().for_each(|number| taken.evict(number));
    }

    /// Whether whoever asks is to sweep from now on, nobody else doing it.
    pub(super) fn begin_sweeping(&self) -> bool {
        let mut taken = self.lock();
        !std::mem::replace(&mut taken.swept, true)
    }

    /// Whether the sweeping is over, all seats being free.
    pub(super) fn end_sweeping(&self) -> bool {
        let mut taken = self.lock();
        taken.swept = !taken.seats.is_empty();
        !taken.swept
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().seats.len()
    }

    fn now(&self) -> u64 {
        millis(self.opened.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn evict(&mut self, number: u64) {
        if let Some((_, Some(task))) = self.seats.remove(&number) {
            task.abort();
        }
    }
}

impl Seat {
    /// Where to say that the connection has been heard of.
    pub(super) fn bell(&self) -> Bell {
        Bell { heard: self.heard.clone(), seats: self.seats.clone() }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().seats.remove(&self.number);
    }
}

/// Tells that a connection has been heard of.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    heard: Arc<AtomicU64>,
    seats: Arc<Seats>,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.heard.store(self.seats.now(), Ordering::Relaxed);
    }
}

impl Seats {
    /// Says which task is to be ended when seat `number` is needed by another.
    pub(super) fn occupy(&self, number: u64, task: AbortHandle) {
        match self.lock().seats.get_mut(&number) {
            Some((_, slot)) => *slot = Some(task),
            // It was evicted before it began, or has ended already.
            None => task.abort(),
        }
    }
}

impl Seat {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
