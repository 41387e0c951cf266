//! Time. Boards without a battery clock start in 1970 and jump when the network comes up,
//! so what decides anything is `CLOCK_BOOTTIME`, which also counts sleep; wall time is
//! only ever shown.

use std::{path::Path, time::Duration};

use super::Stamp;

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

    /// Whole milliseconds since boot, for storing. Comes back through [`BootTime::new`].
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Seconds of wall time since 1970-01-01 UTC. For people and logs, never for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSeconds(pub i64);

/// 2025-01-01T00:00:00Z.
const EARLIEST_PLAUSIBLE: i64 = 1_735_689_600;

impl UnixSeconds {
    /// Whether a clock can show this that was ever set: a board without a battery starts in 1970.
    pub fn is_plausible(self) -> bool {
        self.0 >= EARLIEST_PLAUSIBLE
    }
}

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
    /// This moment, in a form that can be compared after a restart of the board.
    fn stamp(&self) -> Stamp;
}

/// systemd-timesyncd makes this file at its first synchronisation of a boot. Beside another time
/// service, its unit can make it: `ExecStartPost=` of chrony's `chrony-wait.service`, say.
const SYNCHRONISED_MARK: &str = "/run/systemd/timesync/synchronized";

/// The machine's own clocks.
///
/// The kernel's own word on synchronisation comes only through `adjtimex`, which has no safe
/// wrapper here. So wall time counts as synchronised when timesyncd's mark is there and the year
/// is plausible; a board without the mark is served by boot time alone, which is never wrong,
/// only more patient.
#[derive(Clone, Debug)]
pub struct SystemClock {
    boot_id: Box<str>,
}

impl SystemClock {
    /// Reads once which boot this is.
    pub fn new() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        // Without a name for this boot, two runs must not be taken for the same one.
        let boot_id = boot_id.map_or_else(|_| uuid::Uuid::now_v7().to_string(), |id| id.trim().to_owned());
        Self { boot_id: boot_id.into() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn boot(&self) -> BootTime {
        BootTime(read(rustix::time::ClockId::Boottime))
    }

    fn wall(&self) -> UnixSeconds {
        UnixSeconds(read(rustix::time::ClockId::Realtime).as_secs() as i64)
    }

    fn stamp(&self) -> Stamp {
        let wall = self.wall();
        let synced = wall.is_plausible() && Path::new(SYNCHRONISED_MARK).exists();
        Stamp { boot_id: self.boot_id.clone(), boot: self.boot(), wall, synced }
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
        let clock = SystemClock::new();
        let a = clock.boot();
        assert!(clock.boot() >= a);
    }

    #[test]
    fn two_clocks_of_one_boot_agree_on_which_boot_it_is() {
        let (a, b) = (SystemClock::new().stamp(), SystemClock::new().stamp());
        assert_eq!(a.boot_id, b.boot_id);
        assert!(a.elapsed(&b) < Duration::from_mins(10), "the same boot, moments apart");
    }
}
