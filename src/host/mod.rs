//! Read-only probes of the board, and what they mean.
//!
//! - `board`: heat, throttling, memory, power and disk, as the kernel tells them.
//! - `pressure`: from readings to one word, with hysteresis; pure. `sign`: what each reading means.
//! - `cpu`, `memory`, `name`: what is asked once or of ourselves.

mod board;
mod cpu;
mod memory;
mod name;
mod pressure;
mod sign;

pub use board::{
    Board, Cooling, Feed, Flags, Group, HeatLevels, HeatOverrides, Memory, Power, Reading, Roots, Throttle,
    Zone,
};
pub use cpu::{engine_threads, kernel, processors};
pub use memory::{Resident, resident};
pub use name::node_name;
pub use pressure::{BoardState, Judge, State};
