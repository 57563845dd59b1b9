//! The clocks of the machine: read together, and waited for together.
//!
//! [`Clock`] is what the agent reads. [`Alarm`] sleeps until either clock reaches an instant and also
//! wakes when somebody sets the wall clock, so that a step is noticed when it happens.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Readable, clock_gettime};
use tokio::io::unix::AsyncFd;

use crate::time::{Now, UnixTime};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Both clocks, read together.
    fn now(&self) -> Now;
}

/// The clocks of this machine: CLOCK_REALTIME and CLOCK_BOOTTIME.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = clock_gettime(Readable::CLOCK_REALTIME).expect("every Linux has this clock");
        let uptime = clock_gettime(Readable::CLOCK_BOOTTIME).expect("every Linux has this clock");
        Now { wall: UnixTime::from_secs(wall.tv_sec()), uptime: Duration::from(uptime) }
    }
}

/// A clock for tests, moved by hand.
#[derive(Debug)]
pub struct HandClock(Mutex<Now>);

impl HandClock {
    /// Stands at `now` until it is moved.
    pub fn at(now: Now) -> Self {
        HandClock(Mutex::new(now))
    }

    /// Time passes on both clocks.
    pub fn pass(&self, length: Duration) {
        let mut now = self.0.lock().expect("nobody panics while holding it");
        now.wall = now.wall + length;
        now.uptime += length;
    }

    /// Somebody sets the wall clock.
    pub fn step_to(&self, wall: UnixTime) {
        self.0.lock().expect("nobody panics while holding it").wall = wall;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        *self.0.lock().expect("nobody panics while holding it")
    }
}

/// Wakes the agent; costs nothing while it waits.
#[derive(Debug)]
pub struct Alarm {
    wall: AsyncFd<Timer>,
    uptime: AsyncFd<Timer>,
}

/// A timer that the reactor can watch.
#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// When the system has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "the replacement is unsafe; a Timer keeps its descriptor open"
        )]
        let timer = |clock| {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            AsyncFd::new(Timer(TimerFd::new(clock, flags)?))
        };
        Ok(Alarm { wall: timer(ClockId::CLOCK_REALTIME)?, uptime: timer(ClockId::CLOCK_BOOTTIME)? })
    }

    /// Rings once either clock has reached its part of `at`, or the wall clock is set.
    ///
    /// # Errors
    /// When the kernel refuses the timer.
    pub fn set(&self, at: Now) -> io::Result<()> {
        // A wall time past the year 2400 stands for "never"; the kernel would refuse the largest ones.
        let wall = at.wall.as_secs().clamp(1, 13_569_465_600);
        self.wall.get_ref().0.set(
            Expiration::OneShot(TimeSpec::new(wall, 0)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
        )?;
        let uptime = at.uptime.clamp(Duration::from_nanos(1), Duration::from_secs(10_000_000_000));
        self.uptime.get_ref().0.set(
            Expiration::OneShot(TimeSpec::from_duration(uptime)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        )?;
        Ok(())
    }

    /// Waits until it rings.
    pub async fn rang(&self) {
        tokio::select! {
            () = rang(&self.wall) => {}
            () = rang(&self.uptime) => {}
        }
    }
}

async fn rang(timer: &AsyncFd<Timer>) {
    // An error of the reactor cannot be waited out; ringing early costs one idle pass.
    let Ok(mut ready) = timer.readable().await else { return };
    // Reading tells how often it rang, or ECANCELED after a clock step: both mean "look again".
    let _ = timer.get_ref().0.wait();
    ready.clear_ready();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_alarm_rings_at_the_earlier_clock() {
        let alarm = Alarm::new().expect("timers");
        let start = SystemClock.now();
        let soon = start.uptime + Duration::from_millis(30);
        alarm.set(Now { wall: UnixTime::MAX, uptime: soon }).expect("set");
        alarm.rang().await;
        assert!(SystemClock.now().uptime >= soon);
        alarm.set(Now { wall: start.wall, uptime: Duration::MAX }).expect("set");
        alarm.rang().await;
        assert!(SystemClock.now().uptime < soon + Duration::from_secs(1));
    }
}
