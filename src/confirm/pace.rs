//! Turns, evenly spaced: servers see at most so many of our handshakes a second.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{self, Instant};

#[derive(Debug)]
pub(super) struct Pace {
    spacing: Duration,
    /// The first turn nobody has taken yet; no timer runs for it.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Pace {
        Pace { spacing: Duration::from_secs(1) / per_second.max(1), next: Mutex::default() }
    }

    /// Returns when it is the caller's turn, in the order of calls.
    pub(super) async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().expect("nothing panics while it holds this");
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + self.spacing);
            turn
        };
        time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn twenty_a_second_and_no_saving_up() {
        let pace = Pace::new(20);
        let begun = Instant::now();
        for _ in 0..41 {
            pace.turn().await;
        }
        assert_eq!(begun.elapsed().as_secs(), 2);
        time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        for _ in 0..3 {
            pace.turn().await;
        }
        assert_eq!(begun.elapsed().as_millis(), 100);
    }
}
