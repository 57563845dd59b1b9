//! Figures for the planner's budgets: time an event takes, and memory a certificate takes. Run with
//! `cargo test --release --test sim measure -- --ignored --nocapture`.

use staplekeeper::plan::Planner;
use staplekeeper::time::{DAY, HOUR};

use crate::world::{Setup, World};

#[test]
#[ignore = "prints figures and judges nothing"]
fn time_and_memory() {
    for certificates in [10_000, 100_000] {
        let mut world = World::new(Setup { certificates, ..Setup::default() });
        let (handled, spent) = (world.agent.handled, world.agent.spent);
        println!("{certificates} certificates: start {spent:?} for {handled} events");
        let days = if certificates == 10_000 { 60 } else { 8 };
        world.run(days * DAY);
        let events = u32::try_from(world.agent.handled - handled).expect("not so many");
        let each = (world.agent.spent - spent) / events;
        println!("  {days} days: {events} events, {each:?} each, {} reloads", world.reloads());
        let before = resident();
        let copies: Vec<Planner> = (0..4).map(|_| world.agent.planner.clone()).collect();
        let each = (resident() - before) / copies.len() / certificates;
        println!("  {each} bytes a certificate");
        world.run(days * DAY + HOUR);
    }
}

/// Resident memory, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number of pages") * 4096
}
