//! `staplekeeper check` beside the agent: silent through months of normal operation, and heard in time
//! under each fault that the simulator knows.

use std::time::Duration;

use staplekeeper::agent::status::{
    AgentStatus, CertificateStatus, Document, Published, ResponderStatus, SCHEMA, ServerStatus,
    State, TargetStatus,
};
use staplekeeper::cli::check::{Grade, Thresholds, judge};
use staplekeeper::digest::Fingerprint;
use staplekeeper::ocsp::Status;
use staplekeeper::plan::{CertId, CertificateView, Lead, Window};
use staplekeeper::time::{DAY, HOUR, MINUTE, UnixTime};

use crate::nginx::{File, Way};
use crate::responder::Mood;
use crate::world::{Change, Setup, World};

/// How often a monitor looks.
const EVERY: Duration = MINUTE.saturating_mul(5);

impl World {
    /// What the agent would say of itself now.
    fn document(&self) -> Document {
        let planner = &self.agent.planner;
        let now = self.now().wall;
        let server = |view: staplekeeper::plan::ServerView| ServerStatus {
            kind: "nginx".to_owned(),
            config: None,
            running: view.running,
            complete: true,
            pending: view.pending,
            next_reload: None,
            next_reload_reason: None,
            last_reload: None,
            last_reload_reason: None,
            last_error: None,
            severity: view.severity.into(),
            warm: None,
        };
        let responders = planner.responders();
        Document {
            schema: SCHEMA,
            at: now,
            agent: AgentStatus {
                version: String::new(),
                pid: Some(1),
                pid_namespace: None,
                process_start: None,
                started_at: None,
                valid_for_seconds: None,
                ready: true,
                clock_suspect: planner.clock_is_suspect(),
            },
            certificates: planner.certificates().map(|view| certificate(&view, now)).collect(),
            servers: planner.servers().map(server).collect(),
            responders: responders
                .map(|(id, view)| ResponderStatus::of(url(id.0), &view))
                .collect(),
            loopback: None,
            problems: Vec::new(),
        }
    }

    fn grade(&self) -> Grade {
        judge(&self.document(), Thresholds::default(), self.now().wall).grade
    }

    /// The least that must be said by what clients are handed, whatever the planner thinks of it.
    fn least_grade(&self) -> Grade {
        let now = self.true_time();
        let mut least = Grade::Ok;
        for server in self.servers.iter().filter(|server| server.running && server.way == Way::File)
        {
            for (lineage, presented) in server.blocks.iter().zip(&server.memory) {
                let File::Staple(_, facts) = presented.file else { continue };
                let policy = &self.setup.policy;
                let window = Window::of(facts.this_update, facts.expires, Lead::default(), policy);
                // The monitor looks every so often, and handshakes and reloads take their time.
                let left = window.expires.since(now) + EVERY;
                if left < window.margin * 3 / 4 {
                    least = least.max(Grade::Warning);
                }
                if left < window.margin / 4 && self.lineages[*lineage].must_staple {
                    least = least.max(Grade::Critical);
                }
            }
        }
        least
    }

    /// Lets time pass with a monitor that looks; what it saw and when, changes only.
    fn watched(&mut self, until: Duration) -> Vec<(Duration, Grade)> {
        let mut seen: Vec<(Duration, Grade)> = Vec::new();
        while self.time < until {
            self.run(self.time + EVERY);
            let grade = self.grade();
            let blind = !self.agent.running || self.agent.planner.clock_is_suspect();
            let least = self.least_grade();
            assert!(blind || grade >= least, "{grade:?} at {:?}, to be {least:?}", self.time);
            if seen.last().is_none_or(|(_, last)| *last != grade) {
                seen.push((self.time, grade));
            }
        }
        seen
    }
}

fn url(id: u32) -> String {
    format!("http://ocsp{id}.example/")
}

fn certificate(view: &CertificateView, now: UnixTime) -> CertificateStatus {
    let state = match view.held {
        None if view.responders.is_empty() => State::NoOcspUrl,
        None => State::Waiting,
        Some(held) if held.expires <= now => State::Expired,
        Some(held) if held.status == Status::Revoked => State::Revoked,
        Some(_) => State::Good,
    };
    let target = TargetStatus {
        path: String::new(),
        published: Published::Staple,
        servers: Vec::new(),
        loaded: None,
        loaded_expiry: None,
        taken_up_by: None,
    };
    CertificateStatus {
        name: view.id.0.to_string(),
        fingerprint: Fingerprint::of(&view.id.0.to_be_bytes()),
        subject: String::new(),
        must_staple: view.must_staple,
        frozen: view.frozen,
        state,
        reason: format!("{state:?}"),
        severity: view.severity.into(),
        troubles: view.troubles.clone(),
        this_update: None,
        next_update: None,
        effective_expiry: None,
        slack_seconds: view.safe_until.map(|until| until.seconds_since(now)),
        warning_at: view.turns.0,
        critical_at: view.turns.1,
        next_attempt: view.next_attempt,
        last_error: None,
        failures: view.failures,
        not_after: UnixTime::MAX,
        expiring: false,
        responders: view.responders.iter().map(|id| url(id.0)).collect(),
        targets: view.targets.iter().map(|_| target.clone()).collect(),
        served: None,
    }
}

fn month_of_silence(setup: Setup) {
    let mut world = World::new(setup);
    for index in 0..setup.certificates / 3 {
        let at = DAY + HOUR * 15 * u32::try_from(index).expect("few");
        // As ACME clients do; some reload the server themselves.
        let owner = (index % 2 == 0).then_some(30 * MINUTE);
        world.at(at, Change::Renew(index, owner));
    }
    for day in (3..30).step_by(5) {
        world.at(DAY * day, Change::OwnerReloads(0));
    }
    // It is upgraded, and its responder is down for as long as responders are now and then.
    world.at(12 * DAY, Change::Crash { after_actions: 0, down: 10 * (MINUTE / 60) });
    world.at(20 * DAY, Change::Mood(0, Mood::Down));
    world.at(20 * DAY + setup.life / 50, Change::Mood(0, Mood::Works));
    let seen = world.watched(30 * DAY);
    assert!(matches!(&*seen, [(_, Grade::Ok)]), "{setup:?}: {seen:?}");
}

#[test]
fn a_month_of_normal_operation_never_alarms() {
    let setup = Setup { certificates: 12, ..Setup::default() };
    month_of_silence(setup);
    month_of_silence(Setup { life: 12 * HOUR, ..setup });
    month_of_silence(Setup { servers: 3, responders: 3, must_staple_every: 1, ..setup });
    month_of_silence(Setup { signs_every: DAY, ..setup });
    month_of_silence(Setup { life: 10 * DAY, signs_every: 4 * DAY, ..setup });
    month_of_silence(Setup { probed: false, ..setup });
}

#[test]
fn a_month_of_nothing_alarms_from_a_cold_start_either() {
    let mut world = World::new(Setup { warm: false, ..Setup::default() });
    let seen = world.watched(30 * DAY);
    assert!(matches!(&*seen, [(_, Grade::Ok)]), "{seen:?}");
}

/// A fault begins on the tenth day: what a monitor must have said by when, counted from there.
struct Fault {
    name: &'static str,
    setup: Setup,
    begins: Change,
    ends: Change,
    /// How long it lasts.
    lasts: Duration,
    /// The first grade that is promised, and the latest it may come.
    promised: (Grade, Duration),
    /// The worst that is to be seen.
    worst: Grade,
}

impl Fault {
    fn check(&self) {
        let Fault { name, lasts, .. } = self;
        let begins = 10 * DAY;
        let mut world = World::new(self.setup);
        world.at(begins, self.begins).at(begins + *lasts, self.ends);
        let before = world.watched(begins - EVERY);
        assert!(matches!(&*before, [(_, Grade::Ok)]), "{name}, before: {before:?}");
        let during = world.watched(begins + *lasts - EVERY);
        let (grade, within) = self.promised;
        let heard = during.iter().find(|(_, heard)| *heard >= grade);
        let Some((at, _)) = heard else { panic!("{name}: {grade:?} never: {during:?}") };
        assert!(*at <= begins + within + EVERY, "{name}: {grade:?} late: {during:?}");
        let worst = during.iter().map(|(_, grade)| *grade).max();
        assert_eq!(worst, Some(self.worst), "{name}: {during:?}");
        world.watched(begins + *lasts + 9 * DAY);
        assert_eq!(world.grade(), Grade::Ok, "{name}: it is over and still told");
    }
}

/// Half of a seven-day answer's life is over, and half of the window behind it.
const MIDDLE: Duration = Duration::from_secs(3600 * (84 + 30));

#[test]
fn each_fault_is_heard_in_time() {
    let all = Setup { must_staple_every: 1, certificates: 10, ..Setup::default() };
    let plain = Setup { must_staple_every: 0, ..all };
    let works = Change::Mood(0, Mood::Works);
    let responder = |name, mood, setup, promised, worst| Fault {
        name,
        setup,
        begins: Change::Mood(0, mood),
        ends: works,
        lasts: 9 * DAY,
        promised,
        worst,
    };
    // The last answer before came at once: by then every certificate's window is half over, …
    let down = (Grade::Warning, MIDDLE);
    // … three quarters of the day before the end are left, …
    let late = (Grade::Warning, 6 * DAY + 6 * HOUR);
    // … or a quarter.
    let risk = (Grade::Critical, 6 * DAY + 18 * HOUR);
    use Grade::{Critical, Warning};
    let faults = [
        responder("down", Mood::Down, all, down, Critical),
        responder("down, in the end", Mood::Down, all, risk, Critical),
        responder("down, without Must-Staple", Mood::Down, plain, down, Warning),
        responder("busy", Mood::Busy(None), all, down, Critical),
        responder("busy for a day", Mood::Busy(Some(DAY)), all, down, Critical),
        responder("unauthorized", Mood::Unauthorized, all, late, Critical),
        responder("unauthorized, plain", Mood::Unauthorized, plain, late, Warning),
        responder("another's answers", Mood::WrongCertificate, all, late, Critical),
        responder("stuck", Mood::Stuck(crate::world::START + 10 * DAY), all, late, Critical),
        responder("revoking", Mood::Revoking, all, (Critical, MIDDLE), Critical),
        Fault {
            name: "chokes on one certificate",
            setup: Setup { certificates: 10, ..Setup::default() },
            begins: Change::Poison(0, Some(CertId(7))),
            ends: Change::Poison(0, None),
            lasts: 9 * DAY,
            promised: late,
            worst: Warning,
        },
        Fault {
            name: "reloads are refused",
            setup: all,
            begins: Change::Refuses(0, u32::MAX),
            ends: Change::Refuses(0, 0),
            lasts: 9 * DAY,
            // Reloads are due at closes only: a day before the end.
            promised: (Critical, 6 * DAY),
            worst: Critical,
        },
        Fault {
            name: "another file is read",
            setup: all,
            begins: Change::Misplaces(4, true),
            ends: Change::Misplaces(4, false),
            lasts: 9 * DAY,
            // It shows at the next reload.
            promised: (Critical, 6 * DAY),
            worst: Critical,
        },
        Fault {
            name: "the disk is full",
            setup: all,
            begins: Change::DiskFull(true),
            ends: Change::DiskFull(false),
            lasts: 3 * DAY,
            promised: (Warning, 2 * DAY),
            worst: Warning,
        },
    ];
    faults.iter().for_each(Fault::check);
}

/// A clock that is wrong for an hour is told, and no certificate is blamed for it.
#[test]
fn a_wrong_clock_is_a_warning() {
    for days in [-30, -1, 1, 5] {
        let mut world = World::new(Setup::default());
        world.at(10 * DAY, Change::ClockStep(days * 86_400));
        world.at(10 * DAY + HOUR, Change::ClockStep(-days * 86_400));
        let seen = world.watched(20 * DAY);
        let heard: Vec<Grade> = seen.iter().map(|(_, grade)| *grade).collect();
        assert!(heard.iter().all(|grade| *grade <= Grade::Warning), "{days} days: {seen:?}");
        assert_eq!(heard.last(), Some(&Grade::Ok), "{days} days: {seen:?}");
    }
}

/// The owner loads a Must-Staple certificate before there is a staple for it.
#[test]
fn a_must_staple_certificate_without_staple_is_critical_at_once() {
    let setup = Setup {
        must_staple_every: 1,
        publication_gap: 2 * HOUR,
        certificates: 4,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.at(10 * DAY, Change::Renew(2, Some(MINUTE)));
    let seen = world.watched(12 * DAY);
    let [(_, Grade::Ok), (begins, Grade::Critical), (ends, Grade::Ok)] = &*seen else {
        panic!("{seen:?}")
    };
    assert!(*begins <= 10 * DAY + 10 * MINUTE && *ends <= 10 * DAY + 3 * HOUR, "{seen:?}");
}
