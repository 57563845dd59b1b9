//! Model servers (facts/servers.md), each with the one thing that makes it hard to serve.
//!
//! nginx with files reads them at start and at reload only, hands out whatever they hold for ever,
//! refuses to load with a file missing, and keeps old workers a while. Apache asks the agent's
//! responder while a client waits, keeps the answer in one cache and throws a valid one away when it
//! cannot renew it. nginx with a responder asks behind a client's back, each worker for itself.
//! HAProxy takes what it is told at once and stops five minutes early.

use std::collections::BTreeMap;
use std::time::Duration;

use staplekeeper::plan::{Bare, CertId, Delivery, Facts, TakesUp};
use staplekeeper::time::{HOUR, MINUTE, UnixTime};

/// What a staple file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum File {
    Staple(CertId, Facts),
    Placeholder,
    Missing,
}

/// What one server block presents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Presented {
    pub(crate) leaf: CertId,
    pub(crate) file: File,
}

/// How a server comes by its staples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// nginx, `ssl_stapling_file`.
    File,
    /// Apache, `SSLStaplingForceURL`, with this `SSLStaplingStandardCacheTimeout`.
    Cache(Duration),
    /// nginx, `ssl_stapling_responder`.
    Workers,
    /// HAProxy: `.ocsp` file and admin socket.
    AtOnce,
}

impl Way {
    pub(crate) fn delivery(self) -> Delivery {
        let takes_up = match self {
            Way::File => TakesUp::OnReload,
            Way::Cache(within) => TakesUp::ByItself { within },
            Way::Workers => TakesUp::ByItself { within: HOUR },
            Way::AtOnce => TakesUp::ByItself { within: Duration::ZERO },
        };
        let early = if self == Way::AtOnce { 5 * MINUTE } else { Duration::ZERO };
        let bare = if self == Way::File { Bare::Placeholder } else { Bare::Nothing };
        let per_worker = self == Way::Workers;
        Delivery { takes_up, per_worker, stops_early: early, bare, takes_revoked: true }
    }

    /// It asks the agent's responder.
    pub(crate) fn asks(self) -> bool {
        matches!(self, Way::Cache(_) | Way::Workers)
    }
}

/// What a server or a worker of it has been answered about a block's certificate.
#[derive(Clone, Copy, Debug)]
struct Cached {
    file: File,
    /// It asks again with the first handshake from then on.
    asks_at: UnixTime,
}

/// nginx's `worker_processes`.
const WORKERS: u64 = 4;

/// A server with its memory; the blocks are those lineages that name it.
#[derive(Clone, Debug)]
pub(crate) struct Nginx {
    pub(crate) way: Way,
    pub(crate) blocks: Vec<usize>,
    pub(crate) running: bool,
    pub(crate) reloads: bool,
    pub(crate) probed: bool,
    /// By block, as of the last load or answer; empty before the first.
    pub(crate) memory: Vec<Presented>,
    before: Vec<Presented>,
    /// By block and worker; a cache that all share is worker 0's.
    cache: BTreeMap<(usize, u64), Cached>,
    /// How often it has loaded, and when it did last.
    pub(crate) loads: u64,
    pub(crate) loaded_at: Duration,
    old_workers_until: Duration,
    /// The next reloads that fail.
    pub(crate) refuses: u32,
    pub(crate) takes: Duration,
    /// Reloads by the agent, and when.
    pub(crate) ours: Vec<Duration>,
    pub(crate) in_progress: bool,
}

impl Nginx {
    pub(crate) fn new(way: Way) -> Self {
        Nginx {
            way,
            blocks: Vec::new(),
            running: true,
            reloads: true,
            probed: true,
            memory: Vec::new(),
            before: Vec::new(),
            cache: BTreeMap::new(),
            loads: 0,
            loaded_at: Duration::ZERO,
            old_workers_until: Duration::ZERO,
            refuses: 0,
            takes: Duration::from_millis(500),
            ours: Vec::new(),
            in_progress: false,
        }
    }

    /// Takes up `files` at the instant `now`; `false`: it refused and goes on as before.
    pub(crate) fn load(&mut self, files: Vec<Presented>, now: Duration) -> bool {
        if self.refuses > 0 {
            self.refuses -= 1;
            return false;
        }
        let missing = files.iter().any(|presented| presented.file == File::Missing);
        if missing && self.way == Way::File {
            return false;
        }
        self.loads += 1;
        self.loaded_at = now;
        self.before = std::mem::replace(&mut self.memory, files);
        self.old_workers_until = now + Duration::from_millis(600);
        if self.way.asks() {
            self.cache.clear();
            self.memory.iter_mut().for_each(|presented| presented.file = File::Missing);
        }
        true
    }

    /// A block's staple comes over the admin socket.
    pub(crate) fn told(&mut self, block: usize, file: File) {
        if let (Way::AtOnce, true, Some(presented)) =
            (self.way, self.running, self.memory.get_mut(block))
            && matches!(file, File::Staple(cert, _) if cert == presented.leaf)
        {
            presented.file = file;
        }
    }

    /// What a client is handed by some worker, at `now` by either clock. `draw` picks the worker;
    /// `answers` are the responder's, `None` while nobody listens there.
    pub(crate) fn handshake(
        &mut self,
        block: usize,
        now: (Duration, UnixTime),
        draw: u64,
        answers: Option<&BTreeMap<CertId, Facts>>,
    ) -> Option<Presented> {
        let presented = self.memory.get(block).copied().filter(|_| self.running)?;
        let answer = || answers.and_then(|answers| answers.get(&presented.leaf));
        let answer = || answer().map(|facts| (File::Staple(presented.leaf, *facts), *facts));
        let file = match self.way {
            Way::File => {
                let old = now.0 < self.old_workers_until && draw.is_multiple_of(2);
                let old = old && !self.before.is_empty();
                return (if old { &self.before } else { &self.memory }).get(block).copied();
            }
            Way::AtOnce => match presented.file {
                File::Staple(cert, facts)
                    if cert == presented.leaf && facts.expires - 5 * MINUTE > now.1 =>
                {
                    presented.file
                }
                _ => File::Missing,
            },
            Way::Cache(timeout) => {
                let cached = self.cache.get(&(block, 0));
                match cached.filter(|cached| cached.asks_at > now.1) {
                    Some(cached) => cached.file,
                    None => {
                        let (file, asks_at) = match answer() {
                            Some((file, facts)) => {
                                (file, (now.1 + timeout).min(facts.expires + 5 * MINUTE))
                            }
                            None => (File::Placeholder, now.1 + 10 * MINUTE),
                        };
                        self.cache.insert((block, 0), Cached { file, asks_at });
                        file
                    }
                }
            }
            Way::Workers => {
                let key = (block, draw % WORKERS);
                let cached = self.cache.get(&key).copied();
                let asks = cached.is_none_or(|cached| cached.asks_at <= now.1);
                let in_date = |file: File| match file {
                    File::Staple(_, facts) if facts.expires > now.1 => file,
                    _ => File::Missing,
                };
                let file = in_date(cached.map_or(File::Missing, |cached| cached.file));
                if asks {
                    let soonest = now.1 + 5 * MINUTE;
                    let (file, asks_at) = match answer() {
                        Some((file, facts)) => {
                            let latest = (facts.expires - 5 * MINUTE).min(now.1 + HOUR);
                            (in_date(file), latest.max(soonest))
                        }
                        None => (file, soonest),
                    };
                    self.cache.insert(key, Cached { file, asks_at });
                }
                file
            }
        };
        if self.way.asks() {
            self.memory[block].file = file;
        }
        Some(Presented { file, ..presented })
    }

    /// What the agent's handshakes come to: of every worker, the last staple that is not `hoped` for.
    pub(crate) fn look(
        &mut self,
        block: usize,
        now: (Duration, UnixTime),
        draw: u64,
        answers: Option<&BTreeMap<CertId, Facts>>,
        hoped: impl Fn(File) -> bool,
    ) -> Option<Presented> {
        if self.way != Way::Workers {
            return self.handshake(block, now, draw, answers);
        }
        let mut worst = None;
        for worker in 0..WORKERS {
            self.handshake(block, now, worker, answers);
            let seen = self.handshake(block, now, worker, answers)?;
            if worst.is_none_or(|worst: Presented| hoped(worst.file)) {
                worst = Some(seen);
            }
        }
        worst
    }
}
