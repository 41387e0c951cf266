//! Moments that outlive a boot.

use std::time::Duration;

use super::{BootTime, UnixSeconds};

/// A moment, as well as this board knows it.
///
/// Boot time is exact within one boot and means nothing in the next. Wall time spans boots, but
/// may be years off until the network has set it. A stamp holds both and says which to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Names the boot that `boot` counts from.
    pub boot_id: Box<str>,
    /// Time since that boot.
    pub boot: BootTime,
    /// Wall time.
    pub wall: UnixSeconds,
    /// Whether the wall time had been set by somebody who knows it.
    pub synced: bool,
}

impl Stamp {
    /// The time that has certainly passed from this moment to `now`: never too long, so that
    /// nothing is thrown away or given up early because a clock was wrong.
    pub fn elapsed(&self, now: &Self) -> Duration {
        if self.boot_id == now.boot_id {
            return now.boot.since(self.boot);
        }
        // Another boot: everything up to the start of this one lies in between.
        let uptime = now.boot.since(BootTime::new(Duration::ZERO));
        if !(self.synced && now.synced) {
            return uptime;
        }
        let seconds = now.wall.0.saturating_sub(self.wall.0);
        uptime.max(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 365 * 86_400;

    fn stamp(boot_id: &str, boot_s: u64, wall: i64, synced: bool) -> Stamp {
        let boot = BootTime::new(Duration::from_secs(boot_s));
        Stamp { boot_id: boot_id.into(), boot, wall: UnixSeconds(wall), synced }
    }

    #[test]
    fn within_one_boot_wall_time_does_not_matter() {
        let then = stamp("a", 100, 0, false);
        assert_eq!(then.elapsed(&stamp("a", 160, YEAR * 50, true)), Duration::from_mins(1));
        assert_eq!(then.elapsed(&stamp("a", 160, -YEAR, true)), Duration::from_mins(1));
        assert_eq!(then.elapsed(&stamp("a", 40, YEAR, true)), Duration::ZERO, "never negative");
    }

    #[test]
    fn across_boots_synchronised_wall_time_counts() {
        let then = stamp("a", 9_000, YEAR * 56, true);
        assert_eq!(then.elapsed(&stamp("b", 30, YEAR * 56 + 600, true)), Duration::from_mins(10));
    }

    #[test]
    fn a_clock_that_jumps_a_year_while_unsynced_counts_only_uptime() {
        let uptime = Duration::from_secs(30);
        for (then_synced, now_synced) in [(false, true), (true, false), (false, false)] {
            let then = stamp("a", 9_000, YEAR * 55, then_synced);
            assert_eq!(then.elapsed(&stamp("b", 30, YEAR * 56, now_synced)), uptime);
        }
    }

    #[test]
    fn a_wall_clock_that_was_set_back_cannot_take_away_the_uptime() {
        let then = stamp("a", 9_000, YEAR * 56, true);
        assert_eq!(then.elapsed(&stamp("b", 30, YEAR * 55, true)), Duration::from_secs(30));
        assert_eq!(then.elapsed(&stamp("b", 30, YEAR * 56 + 10, true)), Duration::from_secs(30));
    }
}
