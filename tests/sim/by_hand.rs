//! What an operator decides: freezes, responses brought by hand, hours for reloads.

use std::time::Duration;

use staplekeeper::ocsp::Status;
use staplekeeper::plan::{About, CertId, Event, Hours, Policy};
use staplekeeper::time::{DAY, HOUR, UnixTime};

use crate::nginx::File;
use crate::world::{START, Setup, World};

const FIRST: CertId = CertId(0);

fn this_update(world: &World, lineage: usize) -> UnixTime {
    match world.lineages[lineage].file {
        File::Staple(_, facts) => facts.this_update,
        ref other => panic!("{other:?} lies there"),
    }
}

#[test]
fn what_is_frozen_stays_until_it_is_thawed() {
    let mut world = World::new(Setup { certificates: 5, ..Setup::default() });
    let before = this_update(&world, 0);
    world.tell(Event::Frozen(FIRST));
    let end = (before + 5 * DAY).since(START);
    world.run(end);
    assert_eq!(this_update(&world, 0), before);
    // It is fetched all the same: the newest is at hand.
    let view = world.agent.planner.certificate(FIRST).expect("known");
    assert!(view.frozen && view.held.is_some_and(|held| held.this_update > before));
    world.tell(Event::Thawed(FIRST));
    world.run(end + HOUR);
    assert!(this_update(&world, 0) > before);
    world.run(30 * DAY).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
}

#[test]
fn a_freeze_ends_before_anybody_is_at_risk() {
    let mut world = World::new(Setup { certificates: 5, ..Setup::default() });
    let before = this_update(&world, 0);
    world.tell(Event::Frozen(FIRST));
    let view = world.agent.planner.certificate(FIRST).expect("known");
    let until = view.frozen_until.expect("something is published");
    assert!(until > before + 6 * DAY && until < before + 7 * DAY - 6 * HOUR, "{before} to {until}");
    // A margin of a day, of answers that live for a week: 7.5 hours of it are left.
    assert_eq!(before + 7 * DAY - until.since(before), before + 5 * DAY / 16, "until {until}");
    world.run(until.since(START) - Duration::from_secs(2));
    assert_eq!(this_update(&world, 0), before);
    world.run(30 * DAY).nobody_saw_an_expired_staple().all_is_well();
    assert!(this_update(&world, 0) > before);
    assert!(!world.agent.planner.certificate(FIRST).expect("known").frozen);
    // That it grew old was told; that it was dangerous never had to be.
    world.was_told_and_ended(&[About::Late(FIRST)]);
}

#[test]
fn a_frozen_certificate_that_is_revoked_is_told() {
    let mut world = World::new(Setup { certificates: 5, ..Setup::default() });
    let before = this_update(&world, 0);
    world.tell(Event::Frozen(FIRST));
    let (now, responder) = (world.true_time(), &world.responders[0]);
    let facts = responder.sign(FIRST, now, Status::Revoked);
    world.bring(FIRST, facts);
    world.run(HOUR);
    assert_eq!(this_update(&world, 0), before, "whoever froze it decides");
    assert!(world.agent.holds.contains(&About::Revoked(FIRST)), "{:?}", world.agent.holds);
    world.tell(Event::Thawed(FIRST));
    world.run(2 * HOUR);
    assert!(this_update(&world, 0) > before);
}

#[test]
fn what_is_brought_is_kept_if_it_is_newer() {
    let mut world = World::new(Setup { certificates: 5, ..Setup::default() });
    let before = this_update(&world, 0);
    let old = world.responders[0].sign(FIRST, before - DAY, Status::Good);
    world.bring(FIRST, old);
    world.run(HOUR);
    assert_eq!(this_update(&world, 0), before);
    let new = world.responders[0].sign(FIRST, world.true_time(), Status::Good);
    world.bring(FIRST, new);
    world.run(2 * HOUR);
    assert_eq!(this_update(&world, 0), new.this_update);
    let asked = world.requests(0);
    // Nobody is asked about it before half of its life is over; nobody else is the worse for it.
    world.run(3 * DAY).nothing_was_told();
    assert_eq!(this_update(&world, 0), new.this_update);
    assert!(world.requests(0) <= asked + 4);
    world.run(20 * DAY).nothing_was_told().all_is_well();
}

/// Whether every reload of the only server began between 02:00 and 05:00, UTC.
fn at_night(world: &World) -> usize {
    for at in &world.servers[0].ours {
        let hour = (START + *at).as_secs() % 86_400 / 3_600;
        assert!((2..5).contains(&hour), "a reload at {}", START + *at);
    }
    world.reloads()
}

#[test]
fn reloads_that_can_wait_happen_at_night() {
    let reload_windows = Hours::new(&[(2 * 60, 5 * 60)]).expect("hours");
    let policy = Policy { reload_windows, ..Policy::default() };
    let mut world = World::new(Setup { certificates: 200, policy, ..Setup::default() });
    world.run(60 * DAY).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
    let reloads = at_night(&world);
    assert!((10..=60).contains(&reloads), "{reloads} reloads in 60 days");
}

#[test]
fn a_close_before_the_next_night_is_met_by_day() {
    let reload_windows = Hours::new(&[(2 * 60, 5 * 60)]).expect("hours");
    let policy = Policy { reload_windows, ..Policy::default() };
    let setup = Setup { certificates: 50, life: 12 * HOUR, policy, ..Setup::default() };
    let mut world = World::new(setup);
    world.run(20 * DAY).nothing_was_told().nobody_saw_an_expired_staple().all_is_well();
    world.reloads_a_day_at_most(12);
}
