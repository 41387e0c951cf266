//! Packages that are activated while the daemon runs, and those that do not pass: what was accepted is answered
//! in every case.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "a failed test shows the daemon's log")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

mod board;
#[path = "../support/node.rs"]
mod node;
mod published;
mod trial;
