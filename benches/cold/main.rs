//! The budgets of a start: cold, with a distant responder, durable, again with everything on disk.
//!
//! `cargo bench --bench cold` runs every row, `cargo bench --bench cold -- restart memory` those named.
//! `RUNS=9` for more runs than five, `IDLE=60` for seconds of idleness, `STAPLEKEEPER=/path` for another
//! build. Everything runs on this machine: contenders take turns, medians are shown, and what counts is
//! the ratio to the floor of the same run. Peers and strace are installed where that can be done.

#![allow(unreachable_pub, reason = "a program: nothing of it can be reached from outside")]

#[path = "../support/mod.rs"]
mod support;

mod contender;
mod floor;
mod rows;

use std::process::Command;

use support::table::layout;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "floor"
    {
        return floor::run(rest);
    }
    // cargo passes --bench.
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    for name in &wanted {
        let known = rows::ROWS.iter().any(|row| row.name == *name);
        assert!(known, "there is no row {name}: {:?}", rows::ROWS.map(|row| row.name));
    }
    install();
    let _workspace = support::workspace::open();
    for row in rows::ROWS {
        if wanted.is_empty() || wanted.iter().any(|name| *name == row.name) {
            println!("\n{}: {}", row.name, row.about);
            print!("{}", layout(row.heads, &(row.run)()));
        }
    }
}

/// Peers and strace; without them their lines are left out, or say so.
fn install() {
    let root = env!("CARGO_MANIFEST_DIR");
    for tool in ["caddy=caddy", "haproxy=haproxy", "strace=strace"] {
        let _ = Command::new("tests/install-tools").arg(tool).current_dir(root).status();
    }
}
