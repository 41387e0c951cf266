//! Everything that is read of the board, every few seconds.
//!
//! Which files there are is found once and looked at again now and then; after that a reading is
//! a few small files. What is not there, cannot be read or makes no sense is left out: a board
//! that tells nothing is no error, only unknown.

mod files;
mod heat;
mod memory;
mod power;
mod throttle;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::domain::{BootTime, Clock, limits};

pub use heat::{HeatLevels, HeatOverrides, Zone};
pub use memory::{Group, Memory};
pub use power::{Feed, Power};
pub use throttle::{Cooling, Flags, Throttle};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`, or what stands for it.
    pub sys: PathBuf,
    /// `/proc`, likewise.
    pub proc: PathBuf,
    /// The store's folder, for the disk that it is on.
    pub store: PathBuf,
}

/// One look at the board.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Temperatures.
    pub zones: Vec<Zone>,
    /// Who slows the board down.
    pub throttle: Throttle,
    /// How short of memory it is.
    pub memory: Memory,
    /// What feeds it.
    pub power: Power,
    /// Free on the store's disk for us, bytes.
    pub disk_free: Option<u64>,
    /// What the look took.
    pub took: Duration,
}

impl Reading {
    /// What this board does not tell.
    pub fn unknown(&self) -> Vec<&'static str> {
        let throttle = &self.throttle;
        let slowed = throttle.flags.is_some() || !throttle.cooling.is_empty();
        let known = [
            ("heat", !self.zones.is_empty()),
            ("throttling", slowed),
            ("under_voltage", throttle.flags.is_some() || throttle.low_supply.is_some()),
            ("memory_pressure", self.memory.some_avg10.is_some()),
            ("memory", self.memory.available.is_some() && self.memory.total.is_some()),
            ("power", self.power.feed.is_some()),
            ("disk", self.disk_free.is_some()),
        ];
        known.into_iter().filter(|(_, known)| !known).map(|(name, _)| name).collect()
    }
}

/// The sensors of a board.
#[derive(Debug)]
pub struct Board {
    roots: Roots,
    heat: HeatOverrides,
    found: Found,
    found_at: Option<BootTime>,
}

#[derive(Debug, Default)]
struct Found {
    zones: Vec<heat::Source>,
    throttle: throttle::Sources,
    memory: memory::Sources,
    supplies: Vec<PathBuf>,
}

impl Board {
    /// Looks at nothing yet.
    pub fn new(roots: Roots, heat: HeatOverrides) -> Self {
        Self { roots, heat, found: Found::default(), found_at: None }
    }

    /// One look. It blocks: a sensor behind a slow bus may take its time.
    pub fn read(&mut self, clock: &dyn Clock) -> Reading {
        let start = clock.boot();
        let Roots { sys, proc, store } = &self.roots;
        if self.found_at.is_none_or(|at| start.since(at) >= limits::BOARD_RESCAN) {
            self.found = Found {
                zones: heat::find(sys, &self.heat),
                throttle: throttle::find(sys),
                memory: memory::find(sys, proc),
                supplies: power::find(sys),
            };
            self.found_at = Some(start);
        }
        Reading {
            zones: heat::read(&self.found.zones),
            throttle: throttle::read(&self.found.throttle),
            memory: memory::read(&self.found.memory),
            power: power::read(&self.found.supplies),
            disk_free: disk_free(store),
            took: clock.boot().since(start),
        }
    }
}

fn disk_free(store: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(store).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests;
