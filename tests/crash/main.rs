//! The crash test: a real daemon with the real model, a real mosquitto, a client that publishes
//! requests with ids; then SIGKILL, again and again, at moments that chance chooses.
//!
//! # What it promises
//! Every request that the broker acknowledged to its sender ends with exactly one distinct final.
//! - Only the daemon is killed: so it is without the client doing anything.
//! - The broker is killed as well: mosquitto acknowledges before it has saved, so a SIGKILL may take
//!   what it had acknowledged. The client sends the same id again, as the contract foresees, and
//!   whatever the daemon knows of it already, the final is the same.
//!
//! Answers are drawn warm and without a seed, so that one computed twice shows as two.
//!
//! # Short and long
//! `cargo test` runs a short form; `make soak` the long one, through `OUTPOST_CRASH_FACTOR`, which
//! multiplies the numbers of kills. The seed is printed; `OUTPOST_CRASH_SEED` names another. The
//! client's interpreter is the one of `make test` (`OUTPOST_TEST_PYTHON` names another).
//! A SIGKILL ends the process and leaves the page cache: what an fsync is worth is for the
//! simulator (`tests/sim`) to find out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the figures of a run are its result")]
#![allow(clippy::print_stderr, reason = "a failed test shows the broker's log")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

#[path = "../support/broker.rs"]
mod broker;
mod client;
#[path = "../sim/dice.rs"]
#[allow(dead_code, reason = "not every test crate uses all of it")]
mod dice;
#[path = "../support/node.rs"]
mod node;
mod plan;
mod run;
mod tally;

use plan::Plan;

/// How many times the short form's kills there are.
fn factor() -> usize {
    std::env::var("OUTPOST_CRASH_FACTOR").map_or(1, |n| n.parse().expect("a number"))
}

fn seed() -> u64 {
    std::env::var("OUTPOST_CRASH_SEED").map_or(0x5eed, |n| n.parse().expect("a number"))
}

#[test]
fn a_daemon_that_is_killed_answers_everything_once_and_nobody_has_to_ask_again() {
    let kills = Plan { daemon: 6, early: 1, term: 1, broker: 0, both: 0 }.times(factor());
    let outcome = run::run(&kills, seed());
    outcome.must_be_exact();
    assert_eq!(outcome.tally.again, 0, "the client was not to send anything again");
}

#[test]
fn a_daemon_and_a_broker_that_are_killed_answer_everything_once() {
    let kills = Plan { daemon: 3, early: 1, term: 1, broker: 3, both: 2 }.times(factor());
    let outcome = run::run(&kills, seed() + 1);
    outcome.must_be_exact();
}
