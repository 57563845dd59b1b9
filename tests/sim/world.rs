//! The virtual world: its clock, its lineages, and what happens in it and when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use staplekeeper::plan::{CertId, Event, Facts, Planner, Policy, Sighting};
use staplekeeper::time::{DAY, MINUTE, Now, UnixTime};

use crate::agent::{Agent, Effect};
use crate::nginx::{File, Nginx, Presented, Way};
use crate::responder::{Mood, Responder};

/// When every world begins.
pub(crate) const START: UnixTime = UnixTime::from_secs(1_800_000_000);
/// Machines have been up for a while then.
pub(crate) const BOOTED: Duration = Duration::from_secs(1_000);

/// What a world is like at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) certificates: usize,
    pub(crate) servers: usize,
    /// How they come by their staples, in turn.
    pub(crate) ways: &'static [Way],
    pub(crate) responders: usize,
    /// Certificates ask so many of the responders, in turn.
    pub(crate) urls: usize,
    /// Every so manieth certificate carries Must-Staple; 0: none.
    pub(crate) must_staple_every: usize,
    /// Of the answers.
    pub(crate) life: Duration,
    pub(crate) signs_every: Duration,
    pub(crate) publication_gap: Duration,
    pub(crate) policy: Policy,
    /// Everything is in order already, at phases spread over half of the life; else nothing is there.
    pub(crate) warm: bool,
    pub(crate) probed: bool,
    pub(crate) seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            certificates: 30,
            servers: 1,
            ways: &[Way::File],
            responders: 1,
            urls: 1,
            must_staple_every: 3,
            life: 7 * DAY,
            signs_every: Duration::ZERO,
            publication_gap: Duration::ZERO,
            policy: Policy::default(),
            warm: true,
            probed: true,
            seed: 1,
        }
    }
}

/// Something that happens to the world.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// A responder behaves like this from now on.
    Mood(usize, Mood),
    /// It chokes on one certificate.
    Poison(usize, Option<CertId>),
    /// A lineage gets a new certificate; its owner reloads the server after that long, or never.
    Renew(usize, Option<Duration>),
    /// Somebody else reloads a server.
    OwnerReloads(usize),
    /// Somebody reloads a server so close to a reload of the agent's that they look like one; so long
    /// after it has read its files, its new workers come.
    ReloadsUnseen(usize, Duration),
    Stop(usize),
    Start(usize),
    /// The next reloads of a server are refused.
    Refuses(usize, u32),
    /// nginx reads another file than the agent writes for a lineage, or the right one again.
    Misplaces(usize, bool),
    /// The wall clock is put forward or back by so many seconds.
    ClockStep(i64),
    /// The agent dies after so many more actions, and is started again a while later.
    Crash {
        after_actions: u32,
        down: Duration,
    },
    /// The disk is full, or has room again.
    DiskFull(bool),
    /// An event out of nowhere, such as a command.
    Event(u32),
}

/// One thing on the world's calendar.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Change(Change),
    /// Work of the agent ends; of the incarnation that began it.
    Effect(u32, Effect),
    /// The agent notices something.
    Noticed(u32, Notice),
    /// New workers come, with what was read when they were made.
    Loads(usize, Vec<Presented>),
    Restart,
    /// The first staple that a server took up at its so manieth load expires.
    Expires(usize, u64),
    /// Clients come to every block of a server that does not read files.
    Clients(usize),
}

/// What the agent notices by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    Renewed(usize),
    Server(usize, Sighting),
}

/// A place that holds one certificate after another.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    pub(crate) leaf: CertId,
    pub(crate) issued: UnixTime,
    pub(crate) not_after: UnixTime,
    pub(crate) must_staple: bool,
    pub(crate) responders: Vec<usize>,
    pub(crate) server: usize,
    /// Which of the server's blocks presents it.
    pub(crate) block: usize,
    /// Its staple file.
    pub(crate) file: File,
    /// nginx reads another one, which holds a placeholder.
    pub(crate) misplaced: bool,
    /// The leaf that the agent knows of, and since when.
    pub(crate) known: (CertId, Duration),
}

/// A small generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn within(&mut self, length: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(length.as_millis()).expect("not so long")))
    }
}

#[derive(Debug)]
struct Entry(Duration, u64, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    /// Since [`START`].
    pub(crate) time: Duration,
    /// The host's wall clock is off by so much.
    pub(crate) offset: i64,
    /// When that last changed.
    pub(crate) stepped: Duration,
    pub(crate) rng: Rng,
    pub(crate) lineages: Vec<Lineage>,
    pub(crate) servers: Vec<Nginx>,
    pub(crate) responders: Vec<Responder>,
    pub(crate) disk_full: bool,
    /// What the agent's responder says.
    pub(crate) answers: BTreeMap<CertId, Facts>,
    pub(crate) agent: Agent,
    /// Which lineage a certificate belongs to, by its number.
    pub(crate) lineage_of: Vec<usize>,
    /// Prints every event and what came of it: `SIM_TRACE=1`.
    pub(crate) trace: bool,
    calendar: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut rng = Rng(setup.seed);
        let mut responder = Responder::new(setup.life);
        responder.signs_every = setup.signs_every;
        responder.publication_gap = setup.publication_gap;
        let mut servers: Vec<Nginx> = Vec::new();
        for server in 0..setup.servers {
            servers.push(Nginx::new(setup.ways[server % setup.ways.len()]));
        }
        let mut answers = BTreeMap::new();
        let mut lineages = Vec::new();
        for index in 0..setup.certificates {
            let server = index % setup.servers;
            let leaf = CertId(u32::try_from(index).expect("not so many"));
            let urls = (0..setup.urls).map(|url| (index + url) % setup.responders);
            // Spread as if asked about at half of the life ever since.
            let spread = if setup.signs_every.is_zero() { setup.life / 2 } else { Duration::ZERO };
            let age = rng.within(spread);
            let facts = responder.sign(leaf, START - age, staplekeeper::ocsp::Status::Good);
            let way = servers[server].way;
            if setup.warm && way.asks() {
                answers.insert(leaf, facts);
            }
            let bare = if way == Way::File { File::Placeholder } else { File::Missing };
            lineages.push(Lineage {
                leaf,
                issued: START - 30 * DAY,
                not_after: START + 10_000 * DAY,
                must_staple: setup.must_staple_every > 0 && index % setup.must_staple_every == 0,
                responders: urls.collect(),
                server,
                block: servers[server].blocks.len(),
                file: if setup.warm { File::Staple(leaf, facts) } else { bare },
                misplaced: false,
                known: (leaf, Duration::ZERO),
            });
            servers[server].blocks.push(index);
        }
        let planner =
            Planner::new(Policy { seed: setup.seed, ..setup.policy }, now(Duration::ZERO, 0));
        let lineage_of = (0..setup.certificates).collect();
        let mut world = World {
            setup,
            time: Duration::ZERO,
            offset: 0,
            stepped: Duration::ZERO,
            rng,
            lineages,
            servers,
            responders: vec![responder; setup.responders],
            disk_full: false,
            answers,
            agent: Agent::new(planner),
            lineage_of,
            trace: std::env::var_os("SIM_TRACE").is_some(),
            calendar: BinaryHeap::new(),
            sequence: 0,
        };
        for server in 0..setup.servers {
            world.servers[server].probed = setup.probed;
            let files = world.files(server);
            world.servers[server].load(files, Duration::ZERO);
            world.watch_expiries(server);
            if world.servers[server].way != Way::File {
                world.schedule(Duration::ZERO, Happening::Clients(server));
            }
        }
        if setup.warm {
            world.remember_everything();
        }
        world.start_agent();
        world
    }

    /// The host's clocks.
    pub(crate) fn now(&self) -> Now {
        now(self.time, self.offset)
    }

    /// The time as it is.
    pub(crate) fn true_time(&self) -> UnixTime {
        START + self.time
    }

    /// Puts a change on the calendar.
    pub(crate) fn at(&mut self, time: Duration, change: Change) -> &mut Self {
        self.schedule(time, Happening::Change(change));
        self
    }

    pub(crate) fn schedule(&mut self, time: Duration, happening: Happening) {
        self.sequence += 1;
        self.calendar.push(Reverse(Entry(time, self.sequence, happening)));
    }

    /// Lets the world go on until `end`, checking what must always hold.
    pub(crate) fn run(&mut self, end: Duration) -> &mut Self {
        loop {
            let next = self.calendar.peek().map_or(Duration::MAX, |Reverse(entry)| entry.0);
            let wake = self.wakes_at();
            let at = next.min(wake);
            if at > end {
                break;
            }
            self.time = self.time.max(at);
            if next <= wake {
                let Some(Reverse(Entry(_, _, happening))) = self.calendar.pop() else { break };
                self.happen(happening);
            } else {
                self.tell(Event::Tick);
            }
        }
        self.time = end;
        self
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Change(change) => self.change(change),
            Happening::Effect(incarnation, effect) => self.take_effect(incarnation, effect),
            Happening::Noticed(incarnation, notice) => self.notice(incarnation, notice),
            Happening::Loads(server, files) => {
                self.load(server, files);
            }
            Happening::Restart => self.start_agent(),
            Happening::Expires(server, load) => self.check_expiries(server, load),
            Happening::Clients(server) => self.clients(server),
        }
    }

    fn change(&mut self, change: Change) {
        if self.trace {
            eprintln!("{:?} -- {change:?}", self.time);
        }
        match change {
            Change::Mood(responder, mood) => self.responders[responder].mood = mood,
            Change::Poison(responder, cert) => self.responders[responder].poisoned_by = cert,
            Change::Renew(lineage, owner_reloads) => self.renew(lineage, owner_reloads),
            Change::OwnerReloads(server) => {
                if self.load(server, self.files(server)) {
                    self.notices(Notice::Server(server, Sighting::Reloaded));
                }
            }
            Change::ReloadsUnseen(server, wait) => {
                self.schedule(self.time + wait, Happening::Loads(server, self.files(server)));
            }
            Change::Stop(server) => {
                self.servers[server].running = false;
                self.notices(Notice::Server(server, Sighting::Stopped));
            }
            Change::Start(server) => {
                let files = self.files(server);
                self.servers[server].refuses = 0;
                assert!(self.servers[server].load(files, self.time), "nginx does not start");
                self.servers[server].running = true;
                self.watch_expiries(server);
                self.notices(Notice::Server(server, Sighting::Started));
            }
            Change::Refuses(server, times) => self.servers[server].refuses = times,
            Change::Misplaces(lineage, misplaced) => self.lineages[lineage].misplaced = misplaced,
            Change::ClockStep(seconds) => {
                self.offset += seconds;
                self.stepped = self.time;
                self.tell(Event::Tick);
            }
            Change::Crash { after_actions, down } => self.agent.crash_after(after_actions, down),
            Change::DiskFull(full) => self.disk_full = full,
            Change::Event(which) => self.command(which),
        }
    }

    /// A client comes to every block of a server, and the next ones are put on the calendar.
    fn clients(&mut self, server: usize) {
        for block in 0..self.servers[server].blocks.len() {
            let (now, draw) = ((self.time, self.true_time()), self.rng.next());
            let misplaced = self.lineages[self.servers[server].blocks[block]].misplaced;
            let answers = (self.agent.running && !misplaced).then_some(&self.answers);
            let seen = self.servers[server].handshake(block, now, draw, answers);
            self.check_client(server, block, seen);
        }
        let most = (self.setup.life / 50).min(20 * MINUTE);
        let next = self.time + most / 2 + self.rng.within(most / 2);
        self.schedule(next, Happening::Clients(server));
    }

    /// What a server would read now.
    pub(crate) fn files(&self, server: usize) -> Vec<Presented> {
        let blocks = self.servers[server].blocks.iter().map(|lineage| &self.lineages[*lineage]);
        let presented = blocks.map(|lineage| Presented {
            leaf: lineage.leaf,
            file: if lineage.misplaced { File::Placeholder } else { lineage.file },
        });
        presented.collect()
    }

    fn load(&mut self, server: usize, files: Vec<Presented>) -> bool {
        let loaded = self.servers[server].running && self.servers[server].load(files, self.time);
        if loaded {
            self.watch_expiries(server);
        }
        loaded
    }

    fn renew(&mut self, index: usize, owner_reloads: Option<Duration>) {
        let leaf = CertId(u32::try_from(self.lineage_of.len()).expect("not so many"));
        self.lineage_of.push(index);
        let issued = self.true_time();
        let lineage = &mut self.lineages[index];
        (lineage.leaf, lineage.issued) = (leaf, issued);
        let server = lineage.server;
        self.notices(Notice::Renewed(index));
        if let Some(wait) = owner_reloads {
            self.schedule(self.time + wait, Happening::Change(Change::OwnerReloads(server)));
        }
    }

    /// The agent notices within a second or two.
    fn notices(&mut self, notice: Notice) {
        let after = Duration::from_millis(200) + self.rng.within(Duration::from_secs(1));
        self.schedule(self.time + after, Happening::Noticed(self.agent.incarnation, notice));
    }

    /// Puts the first expiry of what a server holds on the calendar.
    pub(crate) fn watch_expiries(&mut self, server: usize) {
        let nginx = &self.servers[server];
        if nginx.way != Way::File {
            return; // its clients tell
        }
        let load = nginx.loads;
        let now = self.true_time();
        let expiries = nginx.memory.iter().filter_map(|presented| match presented.file {
            File::Staple(_, facts) if facts.expires > now => Some(facts.expires),
            _ => None,
        });
        if let Some(first) = expiries.min() {
            self.schedule(first.since(START), Happening::Expires(server, load));
        }
    }

    /// How long a thing takes at most that is not told otherwise.
    pub(crate) fn soon(&mut self) -> Duration {
        Duration::from_millis(1) + self.rng.within(Duration::from_millis(20))
    }

    /// When the planner asked to be woken, on the world's calendar.
    fn wakes_at(&self) -> Duration {
        let Some(wake) = self.agent.wake else { return Duration::MAX };
        let by_uptime = wake.uptime.saturating_sub(BOOTED);
        if wake.wall == UnixTime::MAX {
            return by_uptime;
        }
        let seconds = wake.wall.seconds_since(START).saturating_sub(self.offset);
        by_uptime.min(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).max(self.time)
    }
}

fn now(time: Duration, offset: i64) -> Now {
    let true_time = START + time;
    Now { wall: UnixTime::from_secs(true_time.as_secs() + offset), uptime: BOOTED + time }
}

/// A year, and what remains of it after the leap day.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// How long the agent may take to act on what it knows.
pub(crate) const GRACE: Duration = MINUTE;
