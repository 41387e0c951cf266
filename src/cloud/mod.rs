//! The way to providers off the device.
//!
//! Nothing here decides what may leave: whoever sends brings a [`Permit`](crate::policy::Permit),
//! and what is sent are its bytes.

mod body;

pub use body::{Outgoing, draft};
