//! Read-only probes of the board.

mod cpu;
mod memory;
mod name;

pub use cpu::engine_threads;
pub use memory::{Resident, resident};
pub use name::node_name;
