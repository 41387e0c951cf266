//! `outpost pull` against a stand-in for the Hub: what it fetches, what it resumes, what it refuses.
//!
//! With `-- --nocapture` the table of faults is printed, and what the kills have cost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the table is printed for those who ask")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

mod board;
mod disk;
mod faults;
mod folder;
#[path = "../support/hub_files/mod.rs"]
mod hub_files;
mod kill;
mod layouts;
mod signed;
mod token;
