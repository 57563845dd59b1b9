//! The agent: performs what the planner decides and tells it what became of it.
//!
//! One task holds all state; everything slow runs elsewhere and comes back as a `Message`. `model` and
//! `sighting` turn what is found into events, `perform` turns actions into work, `asking`, `looking`,
//! `writer` and `issuers` are that work, `remember` is what survives a restart, `refreshing` follows
//! what somebody asked for by hand and `hooking` what ACME clients wait for, `answering` runs our own
//! responder, `report` makes the status document, `saying` a line of it, `watched` shows metrics and the status page, `life` keeps its file and shows
//! that the agent is alive, `observing` says what happened to those who keep a record, `told` remembers what hooks were told, `ensure` knows what
//! a boot needs before there is an agent.

mod answering;
mod asking;
mod brief;
mod calling;
mod ensure;
mod expiring;
mod freezing;
mod guarding;
mod hooking;
mod hung;
mod importing;
mod issuers;
mod kinds;
pub mod life;
mod looking;
mod message;
mod metrics;
mod model;
mod observing;
mod once;
mod outages;
mod page;
mod perform;
mod pieces;
mod places;
mod prepare;
mod profiles;
mod refreshing;
mod reloading;
mod remember;
mod report;
mod saying;
mod server;
mod sighting;
pub mod status;
mod storing;
mod sunset;
mod survey;
mod telling;
mod told;
mod underway;
mod warming;
mod watched;
mod world;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use crate::audit::{self, Recorder};
use crate::clock::{Alarm, Clock};
use crate::config::{self, Settings};
use crate::confirm::{self, Confirmer};
use crate::digest::Fingerprint;
use crate::discover::{Names, Scanner, Watched, Watcher};
use crate::fetch::{self, Fetcher};
use crate::happening::Happening;
use crate::hooks::Hooks;
use crate::pki::Certificate;
use crate::pki::signature::Checked;
use crate::plan::{
    Attempts, CertId, Content, Event, Expiry, ExpiryPolicy, Planner, Policy, RenewalAttempts,
    ServerId, TargetId,
};
use crate::serve::control::{Call, Control, Order, SOCKET};
use crate::serve::responder::Listener;
use crate::store::{self, StateDir, Store, StoreError};
use crate::time::UnixTime;
use answering::Answering;
pub use ensure::Shelf;
pub use freezing::freeze_here;
use hooking::Hookings;
use message::Message;
pub use model::scan_settings;
pub use once::{hook_here, import_here, look, look_at, refresh_here};
use outages::Outages;
use pieces::Pieces;
pub use profiles::ProfileError;
use profiles::Profiles;
use refreshing::Refreshing;
pub use refreshing::{Progress, Verdict};
use reloading::Due;
pub use survey::Survey;
use underway::Underway;
use world::World;
use writer::Writer;

/// How often servers are looked at for reloads by others.
const SIGHT_EVERY: Duration = Duration::from_secs(10);
/// The same for some time after certificates or configurations have changed.
const SIGHT_SOON: Duration = Duration::from_secs(1);
/// The same once a process has asked our responder that may be a new worker, and for how long: nginx
/// stops its old workers 0.1 s after it has made new ones.
const SIGHT_AT_ONCE: Duration = Duration::from_millis(25);
const SIGHT_AT_ONCE_FOR: Duration = Duration::from_secs(2);
/// That time: an ACME client's hooks reload within it.
const SIGHT_SOON_FOR: Duration = Duration::from_secs(300);
/// The status file is written at most this often.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be used, or another agent uses it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that the configuration names cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The system refuses something every process may have.
    #[error("cannot set up {what}: {cause}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot listen on {}: {cause}; does its folder exist, and may this user write it?", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// The agent, at work.
pub struct Agent {
    settings: Settings,
    clock: Arc<dyn Clock>,
    planner: Planner,
    world: World,
    profiles: Profiles,
    state: StateDir,
    /// Absent where nothing is to be done, only looked at.
    store: Option<Arc<Store>>,
    fetcher: Arc<Fetcher>,
    confirmer: Arc<Confirmer>,
    /// At home while no scan runs.
    scanner: Option<(Scanner, Names)>,
    scan_again: bool,
    /// What the last scan wants to be watched, until it is.
    watch_paths: Option<Watched>,
    /// The staple files are others than those that are watched.
    guard_anew: bool,
    /// When something on the move is looked at again.
    scan_due: Option<Instant>,
    scan_begun: Instant,
    /// How many there were so far, the running one included.
    scans_begun: u64,
    /// No scan begins before.
    scan_rest: Instant,
    /// Reloads that wait for the next scan to begin, and for the one under way to end.
    reloads: Vec<Due>,
    reloads_next: Vec<Due>,
    new_settings: bool,
    sight_soon_until: Instant,
    sight_at_once_until: Instant,
    writer: Option<Writer>,
    /// Writes the audit trail; absent like the store.
    recorder: Option<Recorder>,
    inbox: mpsc::UnboundedReceiver<Message>,
    outbox: mpsc::UnboundedSender<Message>,
    alarm: Alarm,
    /// When it is to ring, where that has changed since it was set.
    wake_at: Option<crate::time::Now>,
    /// Handshakes that wait for their turn, and how many are under way.
    confirming: VecDeque<(TargetId, ServerId, Vec<Content>)>,
    looks: usize,
    /// What those under way would be content with.
    looking: BTreeMap<(TargetId, ServerId), looking::Expected>,
    warming_pace: Arc<warming::Pace>,
    refreshing: Vec<Refreshing>,
    hooking: Hookings,
    hooks: Hooks,
    /// What is wrong with the operator's commands.
    failed_commands: BTreeMap<String, String>,
    expiry: Expiry,
    /// When it has something to do.
    expiry_due: UnixTime,
    /// The same of the planner.
    planner_wakes: Option<crate::time::Now>,
    /// Attempts to renew certificates, over restarts.
    renewals: BTreeMap<Fingerprint, RenewalAttempts>,
    /// Where some hook is run at certificates that are new.
    seen: Option<calling::Seen>,
    /// What hooks were told of and what has not ended, over restarts.
    told: told::Told,
    progress_told: Instant,
    /// What the last scan could not read or use.
    scan_problems: Vec<String>,
    /// What went wrong since the last scan.
    problems: Vec<String>,
    /// Why the names given to certificates could not be written down.
    names_trouble: Option<String>,
    /// Issuers that were learned by AIA.
    issuers: Arc<[Arc<Certificate>]>,
    /// AIA URLs that were asked since the last periodic scan.
    issuers_asked: HashSet<String>,
    /// How many of them have not answered yet.
    issuers_awaited: usize,
    /// Why staples are kept from their targets.
    obstacles: BTreeMap<TargetId, String>,
    /// Targets that were named until the last scan; it says which still are.
    forgotten: BTreeSet<TargetId>,
    /// What is on its way into targets.
    underway: Underway,
    /// Certificates that are presented by servers which take no CertID but SHA-1's.
    sha1_wanted: HashSet<CertId>,
    /// Certificates whose published staples stay.
    frozen: BTreeSet<Fingerprint>,
    /// OCSP URLs that lineages lost at a renewal, by the lineage's name.
    lost: BTreeMap<String, String>,
    /// Which responders fail, as far as the log was told.
    outages: Outages,
    /// Our own OCSP responder, where one is configured.
    answering: Option<Answering>,
    /// What earlier attempts left behind, for certificates that have not been found yet.
    attempts: HashMap<Fingerprint, Attempts>,
    /// The same for what came with answers.
    answers: HashMap<Fingerprint, Vec<store::Answer>>,
    /// What is to be remembered before the next request leaves.
    records: Vec<store::Record>,
    /// Signatures that were found good before this start; let go of once everything has been read.
    checked: Checked,
    /// There are others that were checked since they were written down.
    checked_due: bool,
    /// When this process began.
    started: UnixTime,
    /// Metrics and the status page.
    watched: watched::Watched,
    status_due: Option<Instant>,
    /// It could not be written when it was due.
    status_stale: bool,
    status_pause: Duration,
    scanned: bool,
    ready: bool,
    /// What the service manager was told last.
    said: String,
}

impl Agent {
    /// Takes the state directory and sets everything up; nothing is looked at or asked yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Agent, StartError> {
        let state_dir = settings.state_dir.clone();
        let store = Arc::new(Store::open(&store::Settings { state_dir })?);
        Agent::with(settings, clock, Some(store))
    }

    /// The same, to look and do nothing: without a store no action is performed.
    fn with(
        settings: Settings,
        clock: Arc<dyn Clock>,
        store: Option<Arc<Store>>,
    ) -> Result<Agent, StartError> {
        let profiles = Profiles::read(&settings.issuers)?;
        let (outbox, inbox) = mpsc::unbounded_channel();
        let alarm = Alarm::new().map_err(|cause| StartError::System { what: "a timer", cause })?;
        let seed = store.as_ref().map_or(0, |store| store.seed());
        let policy = Policy { seed, ..settings.policy };
        let mut scanner = Scanner::new(model::scan_settings(&settings));
        let mut agent = Agent {
            planner: Planner::new(policy, clock.now()),
            world: World::default(),
            profiles,
            state: StateDir::new(&settings.state_dir),
            fetcher: Arc::new(Fetcher::new(fetch::Settings::default())),
            confirmer: Arc::new(Confirmer::new(confirm::Settings::default())),
            scanner: None,
            scan_again: false,
            scan_due: None,
            scan_begun: Instant::now(),
            scans_begun: 0,
            scan_rest: Instant::now(),
            reloads: Vec::new(),
            reloads_next: Vec::new(),
            new_settings: false,
            sight_soon_until: Instant::now() + SIGHT_SOON_FOR,
            sight_at_once_until: Instant::now(),
            watch_paths: None,
            guard_anew: false,
            recorder: store.as_ref().map(|store| {
                let folder = store.dir().root().join(audit::FOLDER);
                Recorder::start(audit::Settings::new(folder))
            }),
            writer: store.clone().map(|store| Writer::start(store, outbox.clone())),
            store,
            inbox,
            outbox,
            alarm,
            wake_at: None,
            confirming: VecDeque::new(),
            looks: 0,
            looking: BTreeMap::new(),
            warming_pace: Arc::default(),
            refreshing: Vec::new(),
            hooking: Hookings::default(),
            hooks: Hooks::default(),
            expiry: Expiry::new(ExpiryPolicy {
                warn_below: settings.expiry_warn_below,
                renews: false,
                seed,
            }),
            expiry_due: UnixTime::MAX,
            planner_wakes: None,
            renewals: BTreeMap::new(),
            seen: None,
            told: told::Told::default(),
            failed_commands: BTreeMap::new(),
            progress_told: Instant::now(),
            scan_problems: Vec::new(),
            problems: Vec::new(),
            names_trouble: None,
            issuers: Arc::new([]),
            issuers_asked: HashSet::new(),
            issuers_awaited: 0,
            obstacles: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            underway: Underway::default(),
            sha1_wanted: HashSet::new(),
            frozen: BTreeSet::new(),
            lost: BTreeMap::new(),
            outages: Outages::default(),
            answering: Answering::wanted(&settings),
            attempts: HashMap::new(),
            answers: HashMap::new(),
            records: Vec::new(),
            checked: Checked::default(),
            checked_due: false,
            started: clock.now().wall,
            watched: watched::Watched::default(),
            status_due: None,
            status_stale: false,
            status_pause: STATUS_EVERY,
            scanned: false,
            ready: false,
            said: String::new(),
            settings,
            clock,
        };
        let names = agent.recall();
        scanner.set_checked(agent.checked.clone());
        agent.scanner = Some((scanner, names));
        Ok(agent)
    }

    /// Works until SIGTERM or SIGINT. `config` is the file that SIGHUP has read again, `given` are
    /// sockets that the service manager made for the OCSP responder.
    ///
    /// # Errors
    /// [`StartError`] where the control socket or the signals cannot be had.
    pub async fn run(
        mut self,
        config: Option<PathBuf>,
        given: Vec<Listener>,
    ) -> Result<(), StartError> {
        let system = |what| move |cause| StartError::System { what, cause };
        let mut terminate = signal(SignalKind::terminate()).map_err(system("SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("SIGINT"))?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(system("SIGHUP"))?;
        let (calls, mut called) = mpsc::unbounded_channel();
        let socket = self.settings.runtime_dir.join(SOCKET);
        // systemd makes it; whoever starts the agent by hand need not. Binding tells what is wrong.
        let _ = std::fs::create_dir_all(&self.settings.runtime_dir);
        let control = Control::bind(&socket)
            .map_err(|cause| StartError::Control { path: socket.clone(), cause })?;
        let control = tokio::spawn(control.serve(calls));
        self.start_responder(given);
        let mut visited = self.open_to_visitors();
        let (changes, mut changed) = mpsc::unbounded_channel();
        // The receiver is gone only when all ends.
        let told = move |_| {
            let _ = changes.send(());
        };
        let mut watcher =
            Watcher::start(told).inspect_err(|error| self.complain(error.to_string())).ok();
        let (touches, mut touched) = mpsc::unbounded_channel();
        let told = move |changed| {
            let _ = touches.send(changed);
        };
        let mut guard =
            Watcher::start(told).inspect_err(|error| self.complain(error.to_string())).ok();
        let mut rescan = every(self.settings.rescan_every);
        let mut sighted: Option<Instant> = None;
        let mut watchdog = sd_notify::watchdog_enabled().map(|within| every(within / 2));
        let mut beat = every(life::BEAT);
        self.recall_told();
        self.start_hooks();
        self.expiry.configured(self.expiry_policy(true));
        self.observe(Happening::Started {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: config::digest(config.as_deref()),
        });
        self.rescan();
        loop {
            let (status_due, sight_due) = (self.status_due, self.sight_due(sighted));
            let answers = self.world.answers.clone();
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = self.step() => {}
                Some(call) = called.recv() => self.answer(call),
                _ = hang_up.recv() => {
                    self.read_again(config.as_deref());
                    rescan = every(self.settings.rescan_every);
                }
                Some(()) = changed.recv() => self.rescan(),
                Some(changed) = touched.recv() => self.touched(&changed),
                _ = rescan.tick() => {
                    self.issuers_asked.clear();
                    self.put_all_right();
                    self.world.answers.tidy(self.clock.now().wall);
                    let runs = |pid: i32| Path::new("/proc").join(pid.to_string()).exists();
                    self.world.answers.askers().keep(runs);
                    self.remember_checked();
                    self.rescan();
                }
                () = at(sight_due) => {
                    sighted = Some(Instant::now());
                    self.sight();
                }
                () = answers.askers().newcomer() => self.newcomer(),
                () = at(status_due) => self.write_status(),
                _ = beat.tick() => self.beat(),
                Some(visit) = visited.recv() => self.visited(visit),
                _ = tick(&mut watchdog) => drop(sd_notify::notify(&[NotifyState::Watchdog])),
            }
            self.follow_up();
            if let (Some(watcher), Some(paths)) = (&mut watcher, self.watch_paths.take()) {
                for problem in watcher.set(&paths) {
                    self.complain(problem.to_string());
                }
            }
            if let (Some(guard), Some(paths)) = (&mut guard, self.take_guarded()) {
                for problem in guard.set(&paths) {
                    self.complain(problem.to_string());
                }
            }
        }
        self.observe(Happening::Stopping);
        self.remember_told();
        self.remember_checked();
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        control.abort();
        self.close_responder().await;
        Ok(())
    }

    /// Waits for work that has ended or has become due, and takes it in.
    async fn step(&mut self) {
        let hooks_due = self.hooks_due();
        tokio::select! {
            biased;
            Some(message) = self.inbox.recv() => {
                self.receive(message);
                while let Ok(message) = self.inbox.try_recv() {
                    self.receive(message);
                }
            }
            () = self.alarm.rang() => self.handle(Event::Tick),
            () = at(self.scan_due) => {
                self.scan_due = None;
                self.rescan();
            }
            // What follows from that comes behind every step.
            () = at(hooks_due) => {}
        }
    }

    /// What follows from whatever happened.
    fn follow_up(&mut self) {
        self.look_at_expiry();
        if let Some(Err(error)) = self.wake_at.take().map(|at| self.alarm.set(at)) {
            tracing::error!(%error, "cannot set the alarm; what is due may be late");
        }
        self.flush_records();
        self.report_progress();
        self.report_hooks();
        self.settle_told();
        if !self.ready && self.scanned && self.planner.busy().is_idle() {
            self.ready = true;
            tracing::info!(certificates = self.world.certificates.len(), "ready");
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            self.remember_checked();
            self.status_due = Some(Instant::now());
        }
    }

    fn answer(&mut self, call: Call) {
        match call.order {
            Order::Status => {
                let mut pieces =
                    Pieces::new(|piece| call.replies.send(piece).map_err(|_| pieces::Left));
                // Whoever hung up does not want to know.
                let told = serde_json::to_writer(&mut pieces, &self.told(&self.briefs()));
                let _ = told.map(|()| pieces.finish());
            }
            // Dropping the replies is the answer: this loop goes round.
            Order::Alive => {}
            Order::Refresh(order) => {
                let (names, no_reload) = (order.names.clone(), order.no_reload);
                self.observe(Happening::RefreshAsked { uid: call.uid, names, no_reload, more: 0 });
                self.refresh(&order, call.replies);
            }
            Order::Freeze(order) => self.freeze(&order, call.uid, &call.replies),
            Order::Import(order) => {
                // What is no base64 is no response either.
                let response = order.bytes().unwrap_or_default();
                self.import(&response, call.uid, call.replies);
            }
            Order::Hook(order) => self.hook(order, call.uid, call.replies),
        }
    }

    /// Reads the configuration again; a bad one keeps the settings in force.
    fn read_again(&mut self, config: Option<&Path>) {
        let read = config::load(config).map_err(|error| error.to_string()).and_then(|settings| {
            let profiles = Profiles::read(&settings.issuers).map_err(|error| error.to_string())?;
            Ok((settings, profiles))
        });
        let (settings, profiles) = match read {
            Ok(read) => read,
            Err(error) => {
                return self.observe(Happening::NotConfigured { error });
            }
        };
        if (&settings.state_dir, &settings.runtime_dir)
            != (&self.settings.state_dir, &self.settings.runtime_dir)
        {
            tracing::warn!("state_dir and runtime_dir change at the next start only");
        }
        self.observe(Happening::Configured { configuration: config::digest(config) });
        let dirs = (self.settings.state_dir.clone(), self.settings.runtime_dir.clone());
        self.settings = Settings { state_dir: dirs.0, runtime_dir: dirs.1, ..settings };
        self.profiles = profiles;
        self.responder_configured();
        self.metrics_configured();
        self.start_hooks();
        self.expiry.configured(self.expiry_policy(true));
        let seed = self.store.as_ref().map_or(0, |store| store.seed());
        self.handle(Event::Configured(Policy { seed, ..self.settings.policy }));
        self.rescan_from_scratch();
    }
}

/// Ticks every `period`, the first time after one.
fn every(period: Duration) -> Interval {
    let period = period.max(Duration::from_millis(100));
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
