//! End-to-end tests: the real binary, the real model, real sockets.
//!
//! They need what `make runtime model` leaves in `.cache` (`OUTPOST_TEST_CACHE` names another
//! place) and, for the `openai` client, the interpreter of `make test` (`OUTPOST_TEST_PYTHON`).
//!
//! Nothing here holds for one model only: answers are compared with each other, never with
//! words written down. Nothing waits for time to pass: every wait is for a condition and has
//! a deadline. Run with `-- --nocapture` to see what the daemon answers to each bad input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the table of bad inputs is printed for those who ask")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

mod bad_input;
mod cancel;
mod chat;
mod commands;
mod connections;
mod fairness;
mod harness;
mod http;
mod openai_client;
mod readme;
mod rows;
mod shutdown;
mod streaming;
mod task;
mod tcp;
