//! How often and how long it is tried again. Pure: time comes in.

use std::time::Duration;

use super::fault::{Cure, Fault};
use crate::domain::{BootTime, limits};

/// Of one pull.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    retries: u32,
    failures: u32,
    since_failure: u64,
    progress_at: BootTime,
}

impl Patience {
    /// With so many failures in a row at most.
    pub(super) fn new(retries: u32, now: BootTime) -> Self {
        Self { retries, failures: 0, since_failure: 0, progress_at: now }
    }

    /// So many bytes have come. A few are no progress.
    pub(super) fn got(&mut self, bytes: u64, now: BootTime) {
        self.since_failure = self.since_failure.saturating_add(bytes);
        if self.since_failure >= limits::PULL_PROGRESS_BYTES {
            (self.failures, self.progress_at) = (0, now);
        }
    }

    /// A file has become whole: however small, that is progress.
    pub(super) fn whole(&mut self, now: BootTime) {
        self.got(limits::PULL_PROGRESS_BYTES, now);
    }

    /// The wait before another try; `None`: it is enough.
    pub(super) fn after(&mut self, fault: &Fault, now: BootTime) -> Option<Duration> {
        let least = match fault.cure() {
            Cure::None => return None,
            Cure::Again(least) => least.unwrap_or_default(),
            Cure::Anew => Duration::ZERO,
        };
        self.failures += 1;
        self.since_failure = 0;
        if self.failures > self.retries || now.since(self.progress_at) > limits::PULL_STILL_MAX {
            return None;
        }
        let doubled = limits::PULL_RETRY_FIRST.saturating_mul(1 << (self.failures - 1).min(16));
        Some(doubled.min(limits::PULL_RETRY_MAX).max(least))
    }
}

/// A connection over which next to nothing comes is worth no more than one that broke.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    from: BootTime,
    bytes: u64,
}

impl Flow {
    pub(super) fn new(now: BootTime) -> Self {
        Self { from: now, bytes: 0 }
    }

    /// Counts; whether it trickles.
    pub(super) fn trickles(&mut self, bytes: u64, now: BootTime) -> bool {
        self.bytes += bytes;
        if now.since(self.from) < limits::PULL_TRICKLE_WINDOW {
            return false;
        }
        let trickles = self.bytes < limits::PULL_TRICKLE_BYTES;
        *self = Self::new(now);
        trickles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::new(Duration::from_secs(seconds))
    }

    fn broke() -> Fault {
        Fault::Broke("x".into())
    }

    #[test]
    fn failures_in_a_row_are_counted_and_waits_double() {
        let mut patience = Patience::new(3, at(0));
        let waits: Vec<_> = (0..4).map(|_| patience.after(&broke(), at(1))).collect();
        let first = limits::PULL_RETRY_FIRST;
        assert_eq!(waits, [Some(first), Some(first * 2), Some(first * 4), None]);
        let mut patience = Patience::new(100, at(0));
        assert_eq!(
            (0..50).filter_map(|_| patience.after(&broke(), at(1))).max(),
            Some(limits::PULL_RETRY_MAX)
        );
        assert_eq!(Patience::new(3, at(0)).after(&Fault::Forbidden { words: String::new() }, at(0)), None);
    }

    #[test]
    fn progress_forgives_but_a_byte_is_none() {
        let mut patience = Patience::new(1, at(0));
        for n in 0..100 {
            assert!(patience.after(&broke(), at(n)).is_some());
            patience.got(limits::PULL_PROGRESS_BYTES, at(n));
        }
        patience.after(&broke(), at(100));
        patience.got(1, at(100));
        assert_eq!(patience.after(&broke(), at(100)), None);
    }

    #[test]
    fn without_progress_it_ends_after_a_time_too() {
        let mut patience = Patience::new(1_000, at(0));
        assert!(patience.after(&broke(), at(10)).is_some());
        assert_eq!(patience.after(&broke(), at(limits::PULL_STILL_MAX.as_secs() + 1)), None);
    }

    #[test]
    fn a_server_says_how_long_to_wait_at_least() {
        let busy = Fault::Busy { status: 429, words: String::new(), after: Some(Duration::from_secs(9)) };
        assert_eq!(Patience::new(3, at(0)).after(&busy, at(0)), Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_trickle_is_given_up_and_a_slow_line_is_not() {
        let mut flow = Flow::new(at(0));
        assert!(!(1..60).any(|s| flow.trickles(1, at(s))));
        assert!(flow.trickles(1, at(60)));
        let mut flow = Flow::new(at(0));
        assert!(!(1..600).any(|s| flow.trickles(1_000, at(s))));
    }
}
