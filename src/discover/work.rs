//! Many small pieces of work over the machine's cores.

use std::num::NonZero;
use std::thread;

/// Fewer pieces than this are not worth a thread.
const WORTH_A_THREAD: usize = 64;

/// More threads than this only take from the servers beside us.
const MAX_THREADS: usize = 4;

/// Does `work` on each of `items` and gives the results in their order. Each thread has a scratch
/// value of its own, made by `scratch`.
pub(super) fn in_parallel<T: Sync, S, R: Send>(
    items: &[T],
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(MAX_THREADS).min(items.len() / WORTH_A_THREAD).max(1);
    let share = items.len().div_ceil(threads).max(1);
    let run = |items: &[T]| {
        let mut scratch = scratch();
        items.iter().map(|item| work(&mut scratch, item)).collect::<Vec<_>>()
    };
    if threads == 1 {
        return run(items);
    }
    thread::scope(|scope| {
        let run = &run;
        let shares: Vec<_> =
            items.chunks(share).map(|share| scope.spawn(move || run(share))).collect();
        let joined = shares.into_iter().map(|share| share.join());
        joined.flat_map(|results| results.expect("the work does not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        for count in [0, 1, 63, 64, 129, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = in_parallel(&items, || 2, |factor, item| item * *factor);
            assert_eq!(doubled, (0..count).map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
