//! A `Confirm` action for nginx that asks our responder: every worker is seen to have its staple.
//!
//! Each worker asks for itself, when a client comes, and that client goes without (facts/servers.md 21).
//! So after a reload the agent is that client: it connects in bursts, since connections made one by one
//! all end with the same worker, until the responder has been asked by every worker of the server, for
//! every block; then it looks once more at what is handed out. Over TCP nobody says who asks: there it
//! connects until a long row of handshakes has shown nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::looking::{Looked, One, Viewing};
use super::message::Message;
use super::status::WarmStatus;
use super::{Agent, SIGHT_AT_ONCE_FOR};
use crate::confirm::{self, Look};
use crate::digest::{Digest, Fingerprint};
use crate::plan::{Content, ServerId, TargetId};
use crate::reload::{self, Snapshot};
use crate::serve::responder::Table;

/// What a server may be asked to bear, in handshakes a second: some tenth of what a core can do.
const MOST_A_SECOND: u32 = 250;
/// After a rest so much of it may be made up for at once: clients are waiting.
const CREDIT: Duration = Duration::from_millis(500);
/// Handshakes that are begun together, at most.
const MOST_AT_ONCE: usize = 64;
/// After so long the workers that are left are given up.
const WITHIN: Duration = Duration::from_secs(20);
/// Where it is not known how many workers there are.
const WORKERS_ASSUMED: usize = 4;
/// So many bursts that show another certificate are believed.
const STRANGERS: u32 = 10;
/// nginx gives every seventeenth connection to another worker; as many right ones in a row for each.
const ROW: usize = 24;

/// Workers that are to have a staple.
#[derive(Debug)]
pub(super) struct Warming {
    pub(super) viewing: Viewing,
    pub(super) certificate: Fingerprint,
    pub(super) staple: Digest,
    /// Where the server's processes are found.
    pub(super) pid_file: Option<PathBuf>,
    /// The server asks by unix socket, so that it is known who does.
    pub(super) told_apart: bool,
    pub(super) answers: Arc<Table>,
    pub(super) pace: Arc<Pace>,
    /// The planner asked for it.
    pub(super) asked: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Warmth {
    /// The workers that have it.
    pub(super) workers: BTreeSet<i32>,
    /// These are all there are.
    pub(super) complete: bool,
    pub(super) handshakes: usize,
    /// The planner asked for it.
    pub(super) asked: bool,
}

/// Turns for bursts, all servers together.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Instant>>);

/// What a burst showed.
#[derive(Debug, Default)]
struct Burst {
    right: usize,
    /// The last that was right.
    good: Option<One>,
    wrong: Option<One>,
}

impl Pace {
    async fn turn(&self, handshakes: usize) {
        let turn = {
            let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = Instant::now().checked_sub(CREDIT).unwrap_or_else(Instant::now);
            let turn = next.map_or(earliest, |next| next.max(earliest));
            let share = u32::try_from(handshakes).unwrap_or(u32::MAX);
            *next = Some(turn + Duration::from_secs(1) * share / MOST_A_SECOND);
            turn
        };
        sleep_until(turn).await;
    }
}

impl Warming {
    pub(super) async fn run(self) -> Looked {
        let deadline = Instant::now() + WITHIN;
        let looks = self.viewing.looks();
        let (mut handshakes, mut row, mut strangers) = (0, 0, 0);
        loop {
            let workers = workers(self.pid_file.as_deref());
            let count = if workers.is_empty() { WORKERS_ASSUMED } else { workers.len() };
            let burst = self.burst(&looks, count * 2).await;
            handshakes += looks.len() * count * 2;
            row = if burst.wrong.is_none() { row + burst.right } else { 0 };
            let superseded =
                self.answers.staple(self.certificate).map(|one| one.digest()) != Some(self.staple);
            let asked = match self.told_apart && !workers.is_empty() {
                true => self.all_asked(&workers, looks.len()),
                false => row >= ROW * count * looks.len(),
            };
            // Nobody new came while it went on.
            let complete = asked && burst.wrong.is_none() && burst.right > 0;
            let complete = complete && self::workers(self.pid_file.as_deref()) == workers;
            // An old worker, or a certificate that has been renewed and not been taken up.
            let other = |one: &One| one.shown.leaf != Some(self.certificate);
            let strange = burst.right == 0 && burst.wrong.as_ref().is_some_and(other);
            strangers = if strange { strangers + 1 } else { 0 };
            let unseen = strangers > STRANGERS || burst.right == 0 && burst.wrong.is_none();
            if complete || superseded || unseen || Instant::now() > deadline {
                let warmth = Warmth { workers, complete, handshakes, asked: self.asked };
                let (target, server) = (self.viewing.target, self.viewing.server);
                // Workers that never came to be asked may hold anything: what was seen is right.
                let shown = burst.wrong.or(burst.good);
                return Looked { target, server, shown, warmth: Some(warmth) };
            }
        }
    }

    /// Every worker has asked for each of the blocks.
    fn all_asked(&self, workers: &BTreeSet<i32>, blocks: usize) -> bool {
        let askers = self.answers.askers();
        let times = |pid: &i32| askers.times(*pid, self.certificate, self.staple) as usize;
        workers.iter().all(|pid| times(pid) >= blocks)
    }

    /// Knocks at every block so many times, together.
    async fn burst(&self, looks: &[Look], times: usize) -> Burst {
        let mut burst = Burst::default();
        let all: Vec<&Look> = looks.iter().flat_map(|look| vec![look; times]).collect();
        for some in all.chunks(MOST_AT_ONCE) {
            self.pace.turn(some.len()).await;
            let mut running = JoinSet::new();
            for look in some {
                let look = Look::clone(look);
                running.spawn(async move { confirm::look(&look).await });
            }
            while let Some(ended) = running.join_next().await {
                let Ok(Ok(seen)) = ended else { continue };
                let one = self.viewing.one(seen);
                if one.expected.is_some() {
                    burst.right += 1;
                    burst.good = Some(one);
                } else {
                    burst.wrong = Some(one);
                }
            }
        }
        burst
    }
}

/// How far the workers of a server have been given their staples.
#[derive(Debug, Default)]
pub(super) struct Warm {
    /// Targets that are being seen to.
    left: usize,
    targets: usize,
    begun: Option<Instant>,
    handshakes: usize,
    failed: bool,
    /// The workers that have what has been seen to so far.
    workers: Option<BTreeSet<i32>>,
    /// Those that have every staple.
    ready: BTreeSet<i32>,
}

impl Warm {
    /// For the status; `None` before anything had to be seen to.
    pub(super) fn status(&self) -> Option<WarmStatus> {
        self.begun?;
        let workers = self.ready.iter().copied().collect();
        Some(WarmStatus { workers, under_way: self.left })
    }

    fn begin(&mut self) {
        if self.left == 0 {
            *self = Warm { ready: std::mem::take(&mut self.ready), ..Warm::default() };
        }
        self.begun.get_or_insert_with(Instant::now);
        self.left += 1;
        self.targets += 1;
    }

    /// One more is done; `true`: the last.
    fn end(&mut self, warmth: &Warmth) -> bool {
        self.left = self.left.saturating_sub(1);
        self.handshakes += warmth.handshakes;
        self.failed |= !warmth.complete;
        self.workers = Some(match self.workers.take() {
            Some(workers) => workers.intersection(&warmth.workers).copied().collect(),
            None => warmth.workers.clone(),
        });
        self.left == 0
    }
}

impl Agent {
    /// Sees to it that each worker of a server has what is published for a target.
    pub(super) fn warm(&mut self, target: TargetId, id: ServerId, expect: &[Content]) {
        if !self.begin_warming(target, id, expect, true) {
            self.confirming.push_back((target, id, expect.to_vec()));
            self.confirm_next();
        }
    }

    /// A process has asked our responder that had not before. If it is a worker, its server has been
    /// reloaded, or the worker replaces one that crashed: the others are seen to before it is known
    /// which.
    pub(super) fn newcomer(&mut self) {
        self.sight_at_once_until = Instant::now() + SIGHT_AT_ONCE_FOR;
        let servers = self.world.servers.iter();
        let idle = servers.filter(|(_, server)| server.asks_us && server.warm.left == 0);
        let idle: Vec<ServerId> = idle.map(|(id, _)| *id).collect();
        for id in idle {
            let server = &self.world.servers[&id];
            if !server.is_probed() || workers(server.pid_file()).is_subset(&server.warm.ready) {
                continue;
            }
            let targets: Vec<TargetId> = self
                .world
                .places_of(id)
                .filter(|one| self.world.asks_for_itself(*one, id))
                .collect();
            for target in targets {
                if let Some(view) = self.planner.target(target) {
                    self.begin_warming(target, id, &[view.published], false);
                }
            }
        }
    }

    /// `false`: there is nothing to give to the workers.
    fn begin_warming(
        &mut self,
        target: TargetId,
        id: ServerId,
        expect: &[Content],
        asked: bool,
    ) -> bool {
        let place = self.world.places.get(&target);
        let (Some(place), Some(Content::Staple(cert, staple))) = (place, expect.last()) else {
            return false;
        };
        let viewing = self.viewing(place, target, id, expect);
        let mut urls = viewing.deployments.iter().filter_map(|one| one.responder_url());
        let told_apart = urls.all(|url| url.contains("unix:"));
        let certificate = self.world.fingerprint(*cert);
        let Some(server) = self.world.servers.get_mut(&id) else { return false };
        server.warm.begin();
        let warming = Warming {
            viewing,
            certificate,
            staple: *staple,
            pid_file: server.pid_file().map(Path::to_owned),
            told_apart,
            answers: self.world.answers.clone(),
            pace: self.warming_pace.clone(),
            asked,
        };
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let _ = outbox.send(Message::Looked(warming.run().await));
        });
        true
    }

    /// A target of a server has been seen to.
    pub(super) fn warmed(&mut self, id: ServerId, warmth: &Warmth) {
        let all = self.world.places_of(id).filter(|one| self.world.asks_for_itself(*one, id));
        let all = all.count();
        let Some(server) = self.world.servers.get_mut(&id) else { return };
        if !server.warm.end(warmth) {
            return;
        }
        let label = server.label();
        let warm = &mut server.warm;
        let workers = warm.workers.clone().unwrap_or_default();
        let (took, handshakes) = (warm.begun.map(|begun| begun.elapsed()), warm.handshakes);
        if warm.failed {
            warm.ready.clear();
            tracing::warn!(server = %label, ?took, handshakes, "not every worker could be seen to have its staples");
        } else if warm.targets >= all {
            warm.ready = workers;
            let workers = warm.ready.len();
            tracing::info!(server = %label, workers, targets = all, ?took, handshakes, "ready: every worker has its staples");
        }
    }

    /// Some server's workers ask for themselves: their changes are looked for often.
    pub(super) fn has_askers(&self) -> bool {
        self.world.servers.values().any(|server| server.asks_us)
    }
}

/// The workers that take connections now; none where they cannot be seen.
fn workers(pid_file: Option<&Path>) -> BTreeSet<i32> {
    let snapshot = pid_file.map(|path| Snapshot::take(reload::Kind::Nginx, path));
    let snapshot = snapshot.and_then(|taken| taken.ok()?.ok());
    snapshot.map(|snapshot| snapshot.worker_pids().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bursts_share_what_a_server_may_be_asked_to_bear() {
        let (pace, begun) = (Pace::default(), Instant::now());
        for _ in 0..11 {
            pace.turn(50).await;
        }
        assert_eq!(begun.elapsed().as_millis(), 10 * 200 - 500);
    }
}
