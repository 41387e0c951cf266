//! The ways in. A transport translates; it never decides.

pub mod http;
pub mod mqtt;
