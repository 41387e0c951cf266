//! What the daemon says of itself: log and metrics.

mod board;
mod log;
mod metrics;
mod readings;

pub use board::BoardGauges;
pub use log::init as init_log;
pub use metrics::{Metrics, Snapshot};
pub use readings::Readings;
