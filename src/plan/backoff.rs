//! Waits that grow with failures, and the jitter that keeps hosts from asking in step.
//!
//! There is no random number generator: a draw is a hash of the installation's seed, an identity and
//! the attempt, so the same history gives the same waits again.

use std::time::Duration;

use crate::time::{HOUR, MINUTE};

/// The longest wait between two requests.
pub(super) const LONGEST_WAIT: Duration = HOUR;
/// The same while somebody waits for the outcome.
pub(super) const LONGEST_WAIT_OF_A_CALLER: Duration = Duration::from_secs(15);

/// A number that looks random, from the seed, whom it is about and which attempt it is.
pub(super) fn draw(seed: u64, identity: u64, attempt: u64) -> u64 {
    [seed, identity, attempt].into_iter().fold(0, |hash, part| mix(hash ^ part))
}

/// The finaliser of SplitMix64.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A share of `length` between nothing and the whole.
pub(super) fn share(length: Duration, draw: u64) -> Duration {
    let nanos = (length.as_nanos() * u128::from(draw >> 32)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The wait after the `failures`th failure in a row: between half and the whole of one minute,
/// doubling to `most`.
pub(super) fn wait(failures: u32, most: Duration, draw: u64) -> Duration {
    doubling(MINUTE, failures, most, draw)
}

/// The same while somebody waits for the outcome: from one second to a quarter of a minute.
pub(super) fn short_wait(failures: u32, draw: u64) -> Duration {
    doubling(Duration::from_secs(1), failures, LONGEST_WAIT_OF_A_CALLER, draw)
}

fn doubling(first: Duration, failures: u32, most: Duration, draw: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = (first * (1 << doublings)).min(most);
    whole / 2 + share(whole / 2, draw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_lie_between_half_and_the_whole() {
        let whole = [1, 1, 2, 4, 8, 16, 32, 60, 60, 60];
        for (failures, minutes) in whole.into_iter().enumerate() {
            let failures = u32::try_from(failures).expect("a short table");
            for identity in 0..100 {
                let wait = wait(failures, LONGEST_WAIT, draw(7, identity, u64::from(failures)));
                assert!(wait >= MINUTE * minutes / 2, "{failures}: {wait:?}");
                assert!(wait <= MINUTE * minutes, "{failures}: {wait:?}");
            }
        }
        // HAProxy's uncapped exponent wrapped after some 30 failures.
        assert!(wait(u32::MAX, LONGEST_WAIT, 0) >= HOUR / 2);
    }

    #[test]
    fn draws_differ_by_each_of_their_parts() {
        let draws = [draw(1, 1, 1), draw(2, 1, 1), draw(1, 2, 1), draw(1, 1, 2)];
        let distinct: std::collections::BTreeSet<_> = draws.iter().collect();
        assert_eq!(distinct.len(), draws.len());
        let mean = (0..1000).map(|n| draw(3, 4, n) >> 54).sum::<u64>() / 1000;
        assert!((450..570).contains(&mean), "{mean}");
    }
}
