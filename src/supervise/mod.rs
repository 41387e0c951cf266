//! Start order and end of the daemon.
//!
//! ```text
//! sockets bound → store opened → engine thread → what was accepted before taken up → MQTT
//!   → READY=1 … SIGTERM → STOPPING=1 → intake closed → running answers get their grace
//!   → sockets and MQTT closed → engine joined → store closed
//! ```
//! READY comes when requests can be accepted durably; the model loads after
//! that, and `STATUS=` tells how far it is.

mod board;
mod broker;
mod daemon;
mod parts;
mod remotes;
mod rules;
mod signals;
mod systemd;
mod tokens;
mod upkeep;
mod vital;

pub use board::of as board_of;
pub use broker::free_port;
pub use daemon::{StartError, provider, run};
