//! A model nginx (facts/servers.md): it reads its files at start and at reload only, hands out
//! whatever they hold for ever, refuses to load with a file missing, and keeps old workers a while.

use std::time::Duration;

use staplekeeper::plan::{CertId, Facts};

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

/// A server with its memory; the blocks are those lineages that name it.
#[derive(Clone, Debug)]
pub(crate) struct Nginx {
    pub(crate) blocks: Vec<usize>,
    pub(crate) running: bool,
    pub(crate) reloads: bool,
    pub(crate) probed: bool,
    /// By block, as of the last load; empty before the first.
    pub(crate) memory: Vec<Presented>,
    before: Vec<Presented>,
    /// How often it has loaded.
    pub(crate) loads: u64,
    old_workers_until: Duration,
    /// The next reloads that fail.
    pub(crate) refuses: u32,
    pub(crate) takes: Duration,
    /// Reloads by the agent, and when.
    pub(crate) ours: Vec<Duration>,
    pub(crate) in_progress: bool,
}

impl Nginx {
    pub(crate) fn new() -> Self {
        Nginx {
            blocks: Vec::new(),
            running: true,
            reloads: true,
            probed: true,
            memory: Vec::new(),
            before: Vec::new(),
            loads: 0,
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
        if files.iter().any(|presented| presented.file == File::Missing) {
            return false;
        }
        self.loads += 1;
        self.before = std::mem::replace(&mut self.memory, files);
        self.old_workers_until = now + Duration::from_millis(600);
        true
    }

    /// What a client is handed by some worker; `draw` picks an old or a new one.
    pub(crate) fn handshake(&self, block: usize, now: Duration, draw: u64) -> Option<Presented> {
        let old = now < self.old_workers_until && draw.is_multiple_of(2);
        let memory = if old && !self.before.is_empty() { &self.before } else { &self.memory };
        memory.get(block).copied().filter(|_| self.running)
    }
}
