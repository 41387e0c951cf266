//! Start order and end of the daemon.
//!
//! ```text
//! sockets bound → engine thread → service → READY=1 … SIGTERM → STOPPING=1
//!   → intake closed → running answers get their grace → sockets closed → engine joined
//! ```
//! READY comes when prompts can be taken in or refused in good order; the model loads after
//! that, and `STATUS=` tells how far it is.

mod daemon;
mod signals;
mod systemd;

pub use daemon::{StartError, run};
