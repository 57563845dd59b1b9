//! Servers that take up by themselves what is published: in the normal course they are never reloaded.

use std::time::Duration;

use staplekeeper::plan::{About, CertId};
use staplekeeper::time::{DAY, HOUR, MINUTE};

use crate::nginx::{File, Way};
use crate::responder::Mood;
use crate::world::{Change, Setup, World};

const SECOND: Duration = Duration::from_secs(1);

/// One each.
const WAYS: [&[Way]; 5] = [
    &[Way::Cache(HOUR)],
    &[Way::Cache(Duration::from_secs(300))],
    &[Way::Workers],
    &[Way::AtOnce],
    &[Way::File, Way::Cache(HOUR), Way::Workers, Way::AtOnce],
];

fn each(setup: Setup, check: impl Fn(World)) {
    for ways in WAYS {
        eprintln!("{ways:?}");
        check(World::new(Setup { ways, servers: ways.len(), ..setup }));
    }
}

#[test]
fn nothing_is_reloaded_in_the_normal_course() {
    for (life, days) in [(7 * DAY, 60), (12 * HOUR, 20), (4 * HOUR, 10)] {
        each(Setup { certificates: 12, life, ..Setup::default() }, |mut world| {
            world.run(days * DAY).nothing_was_told().nobody_saw_an_expired_staple();
            world.all_is_well().nobody_went_without();
            for server in world.servers.iter().filter(|server| server.way != Way::File) {
                assert_eq!(server.ours.len(), 0, "{:?} of {:?}", life, server.way);
            }
        });
    }
}

/// Apache would hand out an answer past its end that lives for less than the cache: it is reloaded
/// instead, as often as a server that reads files.
#[test]
fn answers_shorter_than_the_cache_cost_reloads() {
    let ways: &[Way] = &[Way::Cache(HOUR)];
    let setup = Setup { certificates: 3, ways, life: HOUR, ..Setup::default() };
    let mut world = World::new(setup);
    world.run(2 * DAY).nobody_saw_an_expired_staple().nobody_went_without().all_is_well();
    assert!(world.reloads() <= 150, "{} reloads", world.reloads());
}

#[test]
fn a_clean_start_staples_everything_in_seconds() {
    each(Setup { certificates: 40, warm: false, ..Setup::default() }, |mut world| {
        world.run(30 * SECOND).nothing_was_told().all_is_well();
        assert!(world.reloads() <= 3 * world.servers.len(), "{} reloads", world.reloads());
        assert_eq!(world.requests(0), 40);
    });
}

#[test]
fn an_outage_shorter_than_the_window_hurts_nobody() {
    for mood in [Mood::Down, Mood::Unauthorized] {
        each(Setup { certificates: 12, ..Setup::default() }, |mut world| {
            world.at(10 * DAY, Change::Mood(0, mood));
            world.at(12 * DAY, Change::Mood(0, Mood::Works));
            world.run(20 * DAY).nobody_saw_an_expired_staple().nobody_went_without();
            world.all_is_well().nothing_is_told();
        });
    }
}

#[test]
fn a_revocation_does_not_wait_for_a_cache() {
    each(Setup { certificates: 4, ..Setup::default() }, |mut world| {
        world.at(DAY, Change::Mood(0, Mood::Revoking));
        world.run(DAY);
        world.at(DAY + SECOND, Change::Event(0));
        world.run(DAY + 15 * SECOND);
        for server in &mut world.servers {
            for presented in &server.memory {
                let File::Staple(_, facts) = presented.file else { panic!("no staple") };
                assert!(!crate::agent::is_good(&facts), "{:?} still says good", server.way);
            }
        }
    });
}

#[test]
fn a_renewed_certificate_is_taken_up() {
    for owner in [None, Some(30 * SECOND), Some(HOUR)] {
        each(Setup { certificates: 8, ..Setup::default() }, |mut world| {
            for index in 0..8 {
                let at = 5 * DAY + 3 * HOUR * u32::try_from(index).expect("few");
                world.at(at, Change::Renew(index, owner));
            }
            world.run(20 * DAY).nobody_saw_an_expired_staple().nobody_went_without();
            world.all_is_well().nothing_is_told();
        });
    }
}

#[test]
fn reloads_and_restarts_by_others_leave_nobody_without() {
    each(Setup { certificates: 12, ..Setup::default() }, |mut world| {
        for hour in 1..20 * 12 {
            let server = hour as usize % world.servers.len();
            world.at(2 * HOUR * hour, Change::OwnerReloads(server));
        }
        world.at(9 * DAY + HOUR, Change::Stop(0)).at(10 * DAY + HOUR, Change::Start(0));
        world.run(20 * DAY).nobody_saw_an_expired_staple().nobody_went_without();
        world.all_is_well().nothing_is_told();
    });
}

/// While the agent is away a cache throws away what it has; a reload gets it back.
#[test]
fn a_restarted_agent_puts_right_what_its_absence_did() {
    each(Setup { certificates: 12, ..Setup::default() }, |mut world| {
        for day in 1..20 {
            let crash = Change::Crash { after_actions: day % 3, down: 10 * MINUTE };
            world.at(day * DAY, crash);
            world.at(day * DAY, Change::Event(2));
        }
        world.run(22 * DAY).nobody_saw_an_expired_staple().nobody_went_without().all_is_well();
        world.nothing_is_told();
        assert!(world.reloads() <= 40 * world.servers.len(), "{} reloads", world.reloads());
    });
}

/// A server that says it takes up by itself and does not, say one that asks somebody else, is told
/// and reloaded for it once in a while at most.
#[test]
fn one_that_takes_nothing_up_is_told_and_not_reloaded_for_ever() {
    let ways: &[Way] = &[Way::Cache(HOUR)];
    let setup = Setup { certificates: 1, must_staple_every: 0, ways, ..Setup::default() };
    let mut world = World::new(setup);
    world.at(DAY, Change::Misplaces(0, true));
    world.run(30 * DAY);
    assert!(world.agent.told.iter().any(|(_, told)| matches!(told.about, About::Mismatch(..))));
    assert!(world.reloads() <= 3, "{} reloads", world.reloads());
    world.at(30 * DAY, Change::Misplaces(0, false));
    world.run(33 * DAY).all_is_well().nothing_is_told();
    assert!(!world.agent.holds.contains(&About::Late(CertId(0))));
}
