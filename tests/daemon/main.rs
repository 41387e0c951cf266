//! End-to-end tests: the real binary, the real model, real sockets.
//!
//! They need what `make runtime model site` leaves in `.cache` (`OUTPOST_TEST_CACHE` names another
//! place), mosquitto and its clients and, for `openai` and `paho`, the interpreter of `make test`
//! (`OUTPOST_TEST_PYTHON`).
//!
//! Nothing here holds for one model only: answers are compared with each other, never with
//! words written down. Nothing waits for time to pass: every wait is for a condition and has
//! a deadline. Run with `-- --nocapture` to see what the daemon answers to each bad input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the table of bad inputs is printed for those who ask")]
#![allow(clippy::print_stderr, reason = "a failed test shows the broker's log")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

mod accepted;
#[path = "../support/authority.rs"]
mod authority;
mod bad_input;
mod board;
#[path = "../support/broker.rs"]
mod broker;
mod cancel;
mod chat;
mod clients;
mod cloud;
mod commands;
mod connections;
mod doctor;
mod fairness;
mod first_try;
mod fixed;
mod harness;
#[path = "../support/hf/mod.rs"]
mod hf;
mod http;
mod keyed;
mod mqtt;
mod openai_client;
mod openvino;
mod packed;
mod policy;
mod providers;
mod readme;
mod rows;
mod shutdown;
#[path = "../support/site.rs"]
mod site;
mod streaming;
mod task;
mod tcp;
mod tools;
mod xnnpack;
