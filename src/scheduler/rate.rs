//! A token bucket: so many a minute, all at once if need be.

use std::time::Duration;

use crate::domain::BootTime;

/// One client's allowance.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    left: f64,
    filled: BootTime,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_minute: u32, now: BootTime) -> Self {
        Self { left: f64::from(per_minute), filled: now }
    }

    /// Takes one, or says how long until there is one.
    pub fn take(&mut self, per_minute: u32, now: BootTime) -> Result<(), Duration> {
        let per_second = f64::from(per_minute.max(1)) / 60.0;
        let grown = now.since(self.filled).as_secs_f64() * per_second;
        self.left = (self.left + grown).min(f64::from(per_minute.max(1)));
        self.filled = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / per_second))
    }

    /// Whether it is full again: then nothing needs to be remembered of it.
    pub fn is_full(&self, per_minute: u32, now: BootTime) -> bool {
        let grown = now.since(self.filled).as_secs_f64() * f64::from(per_minute.max(1)) / 60.0;
        self.left + grown >= f64::from(per_minute.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_and_not_one_more() {
        let at = |s| BootTime::new(Duration::from_secs(s));
        let mut bucket = Bucket::new(6, at(100));
        assert_eq!((0..10).filter(|_| bucket.take(6, at(100)).is_ok()).count(), 6);
        assert_eq!(bucket.take(6, at(105)), Err(Duration::from_secs(5)));
        assert_eq!(bucket.take(6, at(110)), Ok(()));
        assert!(!bucket.is_full(6, at(120)) && bucket.is_full(6, at(170)));
        assert_eq!((0..100).filter(|_| bucket.take(6, at(9_000)).is_ok()).count(), 6, "never more than full");
    }
}
