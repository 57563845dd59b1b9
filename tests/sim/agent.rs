//! The agent as a model: it performs the planner's actions against the world, has a disk that
//! survives its crashes, and feeds outcomes back.

use std::collections::BTreeMap;
use std::time::Duration;

use staplekeeper::digest::Digest;
use staplekeeper::ocsp::Status;
use staplekeeper::plan::{
    About, Action, Answer, Attempts, CertId, Certificate, Content, Event, Facts, FetchFault,
    Loaded, Memory, Notice as Told, Planner, Policy, PublishFault, ReloadFault, ResponderId,
    Served, Server, ServerId, Sighting, Target, TargetId, Want,
};
use staplekeeper::time::Now;

use crate::nginx::{File, Presented, Way};
use crate::world::{Happening, Notice, World};

/// How long the callers of hooks wait.
pub(crate) const HOOK: Duration = Duration::from_secs(20 * 60);

/// Work that ends some time after it was begun.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Fetched(CertId, ResponderId, Result<Facts, FetchFault>),
    Kept(CertId, Facts),
    Published(TargetId, File),
    Reloaded(ServerId),
    /// A handshake, the latest instant to try again, and what is hoped for.
    Handshake(TargetId, ServerId, Duration, Vec<Content>),
}

/// The process and its disk.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) planner: Planner,
    pub(crate) wake: Option<Now>,
    pub(crate) incarnation: u32,
    pub(crate) running: bool,
    /// Since when.
    pub(crate) since: Duration,
    crash: Option<(u32, Duration)>,
    /// Staples fetched and not yet stored.
    fetched: BTreeMap<CertId, Facts>,
    pub(crate) disk: Disk,
    /// Everything told, and when.
    pub(crate) told: Vec<(Duration, Told)>,
    /// What has begun and not ended.
    pub(crate) holds: Vec<About>,
    next_handshake: Duration,
    pub(crate) handled: u64,
    /// How long its planner has thought.
    pub(crate) spent: Duration,
    /// Lineages whose clients were handed an expired staple, and when that began.
    pub(crate) expired: Vec<(Duration, usize)>,
    /// Lineages whose clients were handed nothing while there was a staple, and when.
    pub(crate) bare: Vec<(Duration, usize)>,
    /// Wake-ups at one and the same instant.
    spins: (Duration, u32),
}

/// What survives a crash, besides the staple files themselves.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) responses: BTreeMap<CertId, Facts>,
    /// When they were stored.
    pub(crate) stored: BTreeMap<CertId, Duration>,
    attempts: BTreeMap<CertId, (Attempts, Duration)>,
    pub(crate) loaded: BTreeMap<(ServerId, TargetId), Loaded>,
}

impl Agent {
    pub(crate) fn new(planner: Planner) -> Self {
        Agent {
            planner,
            wake: None,
            incarnation: 0,
            running: false,
            since: Duration::ZERO,
            crash: None,
            fetched: BTreeMap::new(),
            disk: Disk::default(),
            told: Vec::new(),
            holds: Vec::new(),
            next_handshake: Duration::ZERO,
            handled: 0,
            spent: Duration::ZERO,
            expired: Vec::new(),
            bare: Vec::new(),
            spins: (Duration::ZERO, 0),
        }
    }

    pub(crate) fn crash_after(&mut self, actions: u32, down: Duration) {
        self.crash = Some((actions, down));
    }
}

impl World {
    /// As if an agent had left everything in order.
    pub(crate) fn remember_everything(&mut self) {
        for (index, lineage) in self.lineages.iter().enumerate() {
            let File::Staple(cert, facts) = lineage.file else { continue };
            self.agent.disk.responses.insert(cert, facts);
            let loaded = Loaded {
                content: Content::Staple(cert, facts.digest),
                leaf: Some(cert),
                must_staple: lineage.must_staple,
                this_update: facts.this_update,
                expires: facts.expires,
                proved: true,
            };
            let key = (server_id(lineage.server), target_id(index));
            self.agent.disk.loaded.insert(key, loaded);
        }
    }

    /// A new process reads the disk and tells its planner.
    pub(crate) fn start_agent(&mut self) {
        let policy = Policy { seed: self.setup.seed, ..self.setup.policy };
        self.agent.planner = Planner::new(policy, self.now());
        self.agent.incarnation += 1;
        self.agent.running = true;
        self.agent.since = self.time;
        self.agent.fetched.clear();
        self.agent.holds.clear();
        for responder in &mut self.responders {
            responder.in_flight = 0;
        }
        for index in 0..self.servers.len() {
            let server = &self.servers[index];
            let (running, reloads, probed) = (server.running, server.reloads, server.probed);
            self.tell(Event::Served(server_id(index), Server { running, reloads, probed }));
        }
        for index in 0..self.lineages.len() {
            self.tell_lineage(index);
        }
    }

    /// Tells of a lineage's certificate and target.
    fn tell_lineage(&mut self, index: usize) {
        let leaf = self.lineages[index].leaf;
        self.lineages[index].known = (leaf, self.time);
        let found = self.found(index);
        self.tell(Event::Found(found));
        let target = self.placed(index);
        self.tell(Event::Placed(target_id(index), target));
    }

    fn found(&self, index: usize) -> Certificate {
        let lineage = &self.lineages[index];
        let disk = &self.agent.disk;
        let uptime = self.now().uptime;
        let attempts = disk.attempts.get(&lineage.leaf).map(|(attempts, at)| Attempts {
            wait: (attempts.wait + *at).saturating_sub(uptime),
            ..*attempts
        });
        let mut identity = [0; 32];
        identity[4..8].copy_from_slice(&lineage.leaf.0.to_be_bytes());
        let held = disk.responses.get(&lineage.leaf).copied();
        Certificate {
            id: lineage.leaf,
            identity: Digest::from_bytes(identity),
            must_staple: lineage.must_staple,
            not_after: lineage.not_after,
            responders: lineage.responders.iter().map(|index| responder_id(*index)).collect(),
            held,
            attempts: attempts.unwrap_or_default(),
        }
    }

    fn placed(&self, index: usize) -> Target {
        let lineage = &self.lineages[index];
        let (published, published_facts) = match lineage.file {
            File::Staple(cert, facts) if cert == lineage.leaf => {
                (Content::Staple(cert, facts.digest), Some(facts))
            }
            File::Staple(..) => (Content::Foreign, None),
            File::Placeholder => (Content::Placeholder, None),
            File::Missing => (Content::Nothing, None),
        };
        let key = (server_id(lineage.server), target_id(index));
        let loaded = self.agent.disk.loaded.get(&key).map(|loaded| (key.0, *loaded));
        Target {
            servers: vec![key.0],
            claimants: vec![lineage.leaf],
            delivery: self.servers[lineage.server].way.delivery(),
            published,
            published_facts,
            loaded: loaded.into_iter().collect(),
        }
    }

    /// The agent notices something by itself.
    pub(crate) fn notice(&mut self, incarnation: u32, notice: Notice) {
        if !self.agent.running || incarnation != self.agent.incarnation {
            return;
        }
        match notice {
            Notice::Renewed(index) => {
                let (old, _) = self.lineages[index].known;
                self.tell_lineage(index);
                if old != self.lineages[index].leaf {
                    self.tell(Event::Gone(old));
                }
            }
            Notice::Server(index, sighting) => {
                // Its state may have changed again since.
                let running = self.servers[index].running;
                if running == (sighting != Sighting::Stopped) {
                    self.tell(Event::Sighted(server_id(index), sighting));
                }
            }
        }
    }

    /// Commands that an operator may give, by number.
    pub(crate) fn command(&mut self, which: u32) {
        let all: Vec<CertId> = self.lineages.iter().map(|lineage| lineage.known.0).collect();
        let want = match which {
            0 => Want::Refresh,
            1 => Want::RefreshWithoutReload,
            _ => Want::Hook { until: self.now().uptime + HOOK },
        };
        self.tell(Event::Wanted(all, want));
    }

    /// Somebody brings a staple.
    pub(crate) fn bring(&mut self, cert: CertId, facts: Facts) {
        self.agent.fetched.insert(cert, facts);
        self.tell(Event::Brought { cert, facts });
    }

    /// Hands an event to the planner and begins what it asks for.
    pub(crate) fn tell(&mut self, event: Event) {
        if !self.agent.running {
            return;
        }
        let now = self.now();
        let is_tick = event == Event::Tick;
        self.agent.handled += 1;
        let traced = self.trace.then(|| format!("{event:?}"));
        let begun = std::time::Instant::now();
        let actions = self.agent.planner.handle(event, now);
        self.agent.spent += begun.elapsed();
        if let Some(event) = traced {
            eprintln!("{:?} {event}\n    {actions:?}", self.time);
        }
        self.check_actions(&actions, is_tick);
        for action in actions {
            if let Some((left, down)) = &mut self.agent.crash {
                if *left == 0 {
                    let restart = self.time + *down;
                    self.agent.crash = None;
                    self.agent.running = false;
                    self.agent.wake = None;
                    self.schedule(restart, Happening::Restart);
                    return;
                }
                *left -= 1;
            }
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        let (time, soon) = (self.time, self.soon());
        let (at, effect) = match action {
            Action::Remember(memory) => return self.remember(memory),
            Action::Tell(told) => return self.told(told),
            Action::WakeAt(at) => {
                self.agent.wake = Some(at);
                return;
            }
            Action::Fetch { cert, from, ask: _ } => {
                let lineage = &self.lineages[self.lineage_of[cert.0 as usize]];
                let (issued, true_time) = (lineage.issued, self.true_time());
                let responder = &mut self.responders[from.0 as usize];
                responder.in_flight += 1;
                assert!(responder.in_flight <= 16, "{} requests in flight", responder.in_flight);
                let (takes, answer) = responder.answer(cert, issued, true_time);
                (time + takes, Effect::Fetched(cert, from, answer))
            }
            Action::Keep { cert, staple } => {
                let facts = self.agent.fetched.remove(&cert).expect("fetched just now");
                assert_eq!(facts.digest, staple, "another staple is kept than was fetched");
                (time + soon, Effect::Kept(cert, facts))
            }
            Action::Publish { target, content } => {
                let file = match content {
                    Content::Staple(cert, digest) => {
                        let held = self.agent.disk.responses.get(&cert).copied();
                        let held = held.filter(|held| held.digest == digest);
                        File::Staple(cert, held.expect("only what is stored is published"))
                    }
                    Content::Placeholder => File::Placeholder,
                    Content::Nothing => File::Missing,
                    Content::Foreign => panic!("published: {content:?}"),
                };
                (time + soon, Effect::Published(target, file))
            }
            Action::Reload { server, why: _ } => {
                let nginx = &mut self.servers[server.0 as usize];
                assert!(!nginx.in_progress, "two reloads of one server at a time");
                nginx.in_progress = true;
                nginx.ours.push(time);
                (time + nginx.takes, Effect::Reloaded(server))
            }
            Action::Confirm { target, server, expect } => {
                // At most twenty a second.
                let at = self.agent.next_handshake.max(time);
                self.agent.next_handshake = at + Duration::from_millis(50);
                let patience = at + Duration::from_secs(10);
                (at + soon, Effect::Handshake(target, server, patience, expect))
            }
        };
        self.schedule(at, Happening::Effect(self.agent.incarnation, effect));
    }

    fn remember(&mut self, memory: Memory) {
        let uptime = self.now().uptime;
        let disk = &mut self.agent.disk;
        match memory {
            Memory::Attempt { cert, from: _, attempts } => {
                disk.attempts.insert(cert, (attempts, uptime));
            }
            Memory::Thawed { .. } => {}
            Memory::Settled { cert } => {
                disk.attempts.remove(&cert);
            }
            Memory::Loaded { server, targets } => {
                let entries =
                    targets.into_iter().map(|(target, loaded)| ((server, target), loaded));
                disk.loaded.extend(entries);
            }
        }
    }

    fn told(&mut self, told: Told) {
        let known = self.agent.holds.iter().position(|about| *about == told.about);
        match (told.begins, known) {
            (true, None) => self.agent.holds.push(told.about),
            (false, Some(index)) => drop(self.agent.holds.swap_remove(index)),
            _ => panic!("told twice: {told:?}"),
        }
        self.agent.told.push((self.time, told));
    }

    /// Work ends. What an agent began that has died since may have been done or not.
    pub(crate) fn take_effect(&mut self, incarnation: u32, effect: Effect) {
        let alive = self.agent.running && incarnation == self.agent.incarnation;
        let lost = !alive && self.rng.below(2) == 0;
        let event = match effect {
            Effect::Fetched(cert, from, answer) => {
                if !alive {
                    return;
                }
                self.responders[from.0 as usize].in_flight -= 1;
                let outcome = answer.and_then(|facts| self.verify(facts));
                if let Ok(answer) = &outcome {
                    self.agent.fetched.insert(cert, answer.facts);
                }
                Event::Fetched { cert, from, outcome }
            }
            Effect::Kept(cert, facts) => {
                if lost {
                    return;
                }
                self.check_kept(cert, &facts);
                self.agent.disk.responses.insert(cert, facts);
                self.agent.disk.stored.insert(cert, self.time);
                let outcome = if self.disk_full { Err(PublishFault::Failed) } else { Ok(()) };
                Event::Kept { cert, outcome }
            }
            Effect::Published(target, file) => {
                if lost {
                    return;
                }
                let index = target.0 as usize;
                let server = self.lineages[index].server;
                let way = self.servers[server].way;
                assert!(way != Way::File || file != File::Missing, "a file nginx needs is removed");
                if self.disk_full && !way.asks() {
                    Event::Published { target, outcome: Err(PublishFault::Failed) }
                } else {
                    self.check_published(index, file);
                    let lineage = &mut self.lineages[index];
                    lineage.file = file;
                    self.servers[server].told(lineage.block, file);
                    match file {
                        File::Staple(cert, facts) => self.answers.insert(cert, facts),
                        _ => self.answers.remove(&lineage.known.0),
                    };
                    Event::Published { target, outcome: Ok(content(file)) }
                }
            }
            Effect::Reloaded(server) => {
                let outcome = self.reload(server.0 as usize);
                Event::Reloaded { server, outcome }
            }
            Effect::Handshake(target, server, patience, expect) => {
                if !alive {
                    return;
                }
                let served = self.handshake(target, server, &expect);
                let hoped = match served {
                    Served::Seen { content, .. } => expect.contains(&content),
                    Served::Unproven => true,
                };
                if !hoped && self.time < patience {
                    let again = Effect::Handshake(target, server, patience, expect);
                    let at = self.time + Duration::from_secs(1);
                    return self.schedule(at, Happening::Effect(incarnation, again));
                }
                Event::Confirmed { target, server, served }
            }
        };
        if alive {
            self.tell(event);
        }
    }

    /// What `ocsp::verify` and the host's clock make of an answer.
    fn verify(&self, facts: Facts) -> Result<Answer, FetchFault> {
        let (wall, skew) = (self.now().wall, self.setup.policy.max_skew);
        if facts.this_update > wall + skew {
            return Err(FetchFault::Certificate);
        }
        if facts.expires <= wall {
            return Err(FetchFault::Expired);
        }
        Ok(Answer { facts, fresh_for: None })
    }

    fn reload(&mut self, server: usize) -> Result<(), ReloadFault> {
        let files = self.files(server);
        self.servers[server].in_progress = false;
        if !self.servers[server].running {
            return Err(ReloadFault::Inactive);
        }
        self.check_reload(server, &files);
        if !self.servers[server].load(files, self.time) {
            return Err(ReloadFault::Failed);
        }
        self.watch_expiries(server);
        Ok(())
    }

    fn handshake(&mut self, target: TargetId, server: ServerId, expect: &[Content]) -> Served {
        let draw = self.rng.next();
        let lineage = &self.lineages[target.0 as usize];
        let now = (self.time, self.true_time());
        let known = lineage.known.0;
        let hoped = |file| expect.contains(&content(file));
        let server = &mut self.servers[server.0 as usize];
        let answers = (!lineage.misplaced).then_some(&self.answers);
        let seen = server.look(lineage.block, now, draw, answers, hoped);
        let Some(Presented { leaf, file }) = seen else { return Served::Unproven };
        // The agent knows its lineages' certificates only once it has noticed them.
        let leaf = (leaf.0 <= known.0).then_some(leaf);
        Served::Seen { leaf, content: content(file) }
    }
}

fn content(file: File) -> Content {
    match file {
        File::Staple(cert, facts) => Content::Staple(cert, facts.digest),
        File::Placeholder => Content::Placeholder,
        File::Missing => Content::Nothing,
    }
}

fn server_id(index: usize) -> ServerId {
    ServerId(u32::try_from(index).expect("not so many"))
}

fn target_id(index: usize) -> TargetId {
    TargetId(u32::try_from(index).expect("not so many"))
}

fn responder_id(index: usize) -> ResponderId {
    ResponderId(u32::try_from(index).expect("not so many"))
}

/// Whether a staple says good.
pub(crate) fn is_good(facts: &Facts) -> bool {
    facts.status == Status::Good
}

impl Agent {
    /// Counts wake-ups at one instant: a planner that asks to be woken now for ever is stuck.
    pub(crate) fn spin(&mut self, time: Duration) -> u32 {
        if self.spins.0 == time {
            self.spins.1 += 1;
        } else {
            self.spins = (time, 1);
        }
        self.spins.1
    }
}
