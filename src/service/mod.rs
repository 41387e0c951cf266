//! The one door: every request, whatever its transport, comes in through [`Service::submit`].
//!
//! ```text
//! body → Request → admit → queue → dispatch → engine → Answer → transport
//! ```
//! Promises: what is refused is refused before it takes room; what is admitted ends with
//! exactly one outcome; a caller that goes away frees its place within one engine step.

mod answer;
mod body;
mod door;
mod input;
mod life;
pub mod reply;
mod request;
mod shared;
pub mod status;

pub use answer::Answer;
pub use door::Service;
pub use input::Input;
pub use request::{Defaults, Envelope, Request};
