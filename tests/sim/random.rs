//! Random worlds. A seed that fails is printed and runs again by `SIM_SEED=n cargo test --test sim`;
//! `SIM_SEEDS=n` runs so many of them.

use std::time::Duration;

use staplekeeper::plan::CertId;
use staplekeeper::time::{DAY, HOUR, MINUTE};

use crate::nginx::Way;
use crate::responder::Mood;
use crate::world::{Change, Rng, START, Setup, World};

/// Faults of all kinds for a month, each shorter than the time that windows leave; then a quiet
/// fortnight, after which all must be well again.
#[test]
fn nobody_is_hurt_by_anything_short() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(25),
    };
    for seed in seeds {
        let run = std::panic::AssertUnwindSafe(|| one_world(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("again with: SIM_SEED={seed} cargo test --test sim random");
            std::panic::resume_unwind(panic);
        }
    }
}

const WAYS: [&[Way]; 6] = [
    &[Way::File],
    &[Way::File],
    &[Way::Cache(HOUR), Way::File, Way::Workers],
    &[Way::Workers, Way::AtOnce],
    &[Way::Cache(Duration::from_secs(300)), Way::Workers],
    &[Way::AtOnce, Way::Cache(HOUR)],
];

fn one_world(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let mut pick = |choices: &[Duration]| choices[rng.below(choices.len() as u64) as usize];
    let life = pick(&[7 * DAY, 10 * DAY, 4 * DAY, DAY, 12 * HOUR]);
    let signs_every = pick(&[Duration::ZERO, Duration::ZERO, life / 4, life / 8]);
    let publication_gap = pick(&[Duration::ZERO, 15 * MINUTE]);
    let responders = 1 + rng.below(3) as usize;
    let setup = Setup {
        ways: WAYS[rng.below(6) as usize],
        certificates: 1 + rng.below(24) as usize,
        servers: 1 + rng.below(3) as usize,
        responders,
        urls: 1 + rng.below(responders as u64) as usize,
        must_staple_every: rng.below(4) as usize,
        life,
        signs_every,
        publication_gap,
        warm: rng.below(4) > 0,
        probed: rng.below(4) > 0,
        seed,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    for (at, change) in faults(&mut rng, &setup) {
        world.at(at, change);
    }
    let end = 30 * DAY + 2 * life.max(3 * DAY);
    world.run(end).nobody_saw_an_expired_staple().nobody_went_without();
    world.all_is_well().nothing_is_told();
    let days = end.as_secs() / 86_400;
    let most = days * if life > 2 * DAY { 6 } else { 30 };
    assert!(world.reloads() as u64 <= most * setup.servers as u64, "{} reloads", world.reloads());
}

/// A month of faults; each begins well after the one before has ended.
fn faults(rng: &mut Rng, setup: &Setup) -> Vec<(Duration, Change)> {
    let mut changes = Vec::new();
    let mut at = HOUR + rng.within(DAY);
    let below = |rng: &mut Rng, limit: usize| rng.below(limit as u64) as usize;
    while at < 30 * DAY {
        let short = rng.within(setup.life / 16);
        let server = below(rng, setup.servers);
        let lineage = below(rng, setup.certificates);
        let responder = below(rng, setup.responders);
        let mut length = short;
        match rng.below(12) {
            0..=2 => {
                length = rng.within(setup.life / 5);
                let moods = [
                    Mood::Down,
                    Mood::Busy(None),
                    Mood::Busy(Some(DAY)),
                    Mood::Slow(9 * Duration::from_secs(1)),
                    Mood::Unauthorized,
                    Mood::WrongCertificate,
                    Mood::Alternating,
                    Mood::Stuck(START + at),
                ];
                let mood = moods[below(rng, moods.len())];
                changes.push((at, Change::Mood(responder, mood)));
                changes.push((at + length, Change::Mood(responder, Mood::Works)));
            }
            3 => {
                changes.push((at, Change::Poison(responder, Some(CertId(lineage as u32)))));
                changes.push((at + length, Change::Poison(responder, None)));
            }
            4 => {
                changes.push((at, Change::Stop(server)));
                changes.push((at + length, Change::Start(server)));
            }
            5 => changes.push((at, Change::Refuses(server, 1 + rng.below(2) as u32))),
            6 => {
                let step = rng.below(40 * 86_400) as i64 - 20 * 86_400;
                length = length.min(HOUR);
                changes.push((at, Change::ClockStep(step)));
                changes.push((at + length, Change::ClockStep(-step)));
            }
            7 => {
                let down = rng.within(10 * MINUTE);
                let after_actions = rng.below(40) as u32;
                changes.push((at, Change::Crash { after_actions, down }));
            }
            8 => changes.push((at, Change::OwnerReloads(server))),
            9 => changes.push((at, Change::Event(rng.below(3) as u32))),
            10 => {
                length = length.min(HOUR);
                changes.push((at, Change::DiskFull(true)));
                changes.push((at + length, Change::DiskFull(false)));
            }
            _ => {
                let owner = match rng.below(3) {
                    0 => None,
                    1 => Some(rng.within(Duration::from_secs(2))),
                    _ => Some(rng.within(HOUR)),
                };
                changes.push((at, Change::Renew(lineage, owner)));
            }
        }
        at += length + 2 * HOUR + rng.within(setup.life / 4);
    }
    changes
}
