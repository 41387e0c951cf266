//! Read-only probes of the board.

mod cpu;
mod memory;

pub use cpu::engine_threads;
pub use memory::{Resident, resident};
