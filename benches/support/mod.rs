//! What benchmarks share: certificates with answers ready, a fast responder, processes and their cost.

#![allow(unreachable_pub, dead_code, reason = "helpers are written for benchmarks yet to come")]

#[path = "../../tests/it/support/ca/mod.rs"]
pub mod ca;

pub mod corpus;
pub mod process;
pub mod responder;
pub mod table;
pub mod workspace;

use std::time::Duration;

/// The one in the middle; of an even number the upper.
pub fn median<T: PartialOrd + Copy>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| one.partial_cmp(other).expect("no figure is NaN"));
    sorted[sorted.len() / 2]
}

/// `0.123 s`.
pub fn seconds(length: Duration) -> String {
    format!("{:.3} s", length.as_secs_f64())
}
