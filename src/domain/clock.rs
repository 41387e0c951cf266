//! Time. Boards without a battery clock start in 1970 and jump when the network comes up,
//! so what decides anything is `CLOCK_BOOTTIME`, which also counts sleep; wall time is
//! only ever shown.

use std::time::Duration;

/// Time since boot, sleep included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// `since_boot` after the kernel started.
    pub const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// The moment that is `wait` later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// Time from `earlier` to this, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Seconds of wall time since 1970-01-01 UTC. For people and logs, never for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSeconds(pub i64);

/// The moment after which a final is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(BootTime);

impl Deadline {
    /// `budget` from `now` on.
    pub fn after(now: BootTime, budget: Duration) -> Self {
        Self(now.after(budget))
    }

    /// What is left at `now`; `None` when the moment has passed.
    pub fn remaining(self, now: BootTime) -> Option<Duration> {
        self.0.0.checked_sub(now.0).filter(|left| !left.is_zero())
    }
}

/// Where time comes in, so that a simulator can own it.
pub trait Clock: Send + Sync {
    /// Time since boot.
    fn boot(&self) -> BootTime;
    /// Wall time.
    fn wall(&self) -> UnixSeconds;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> BootTime {
        BootTime(read(rustix::time::ClockId::Boottime))
    }

    fn wall(&self) -> UnixSeconds {
        UnixSeconds(read(rustix::time::ClockId::Realtime).as_secs() as i64)
    }
}

/// A clock before 1970 reads as 1970.
fn read(id: rustix::time::ClockId) -> Duration {
    let t = rustix::time::clock_gettime(id);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_ends_at_its_moment_and_not_before() {
        let at = |ms| BootTime::new(Duration::from_millis(ms));
        let deadline = Deadline::after(at(1_000), Duration::from_millis(500));
        assert_eq!(deadline.remaining(at(1_499)), Some(Duration::from_millis(1)));
        assert_eq!(deadline.remaining(at(1_500)), None);
        assert_eq!(deadline.remaining(at(9_000)), None);
    }

    #[test]
    fn the_system_clock_goes_forward() {
        let a = SystemClock.boot();
        assert!(SystemClock.boot() >= a);
    }
}
