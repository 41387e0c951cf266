//! Time as tokio's paused clock has it, seen by a board that is switched off and on.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use outpost::domain::{BootTime, Clock, Stamp, UnixSeconds};
use tokio::time::Instant;

struct Boot {
    number: u32,
    at: Instant,
    /// What the wall clock shows beside what is true, seconds.
    wall_error: i64,
    synced: bool,
}

#[derive(Clone)]
pub(crate) struct SimClock(Arc<Mutex<Boot>>);

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600;

impl SimClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Boot { number: 1, at: Instant::now(), wall_error: 0, synced: true })))
    }

    /// The board is switched on again; its wall clock may be wrong by a year.
    pub(crate) fn reboot(&self, wall_error: i64, synced: bool) {
        let mut boot = self.0.lock().unwrap();
        *boot = Boot { number: boot.number + 1, at: Instant::now(), wall_error, synced };
    }

    /// The wall clock jumps.
    pub(crate) fn jump(&self, seconds: i64) {
        self.0.lock().unwrap().wall_error += seconds;
    }
}

impl Clock for SimClock {
    fn boot(&self) -> BootTime {
        // A kernel takes some seconds before anybody asks it for the time.
        BootTime::new(self.0.lock().unwrap().at.elapsed() + Duration::from_secs(3))
    }

    fn wall(&self) -> UnixSeconds {
        let boot = self.0.lock().unwrap();
        UnixSeconds(START + boot.at.elapsed().as_secs() as i64 + boot.wall_error)
    }

    fn stamp(&self) -> Stamp {
        let (boot, wall) = (self.boot(), self.wall());
        let inner = self.0.lock().unwrap();
        Stamp { boot_id: format!("boot-{}", inner.number).into(), boot, wall, synced: inner.synced }
    }
}
