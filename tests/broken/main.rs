//! Broken environments: a full disk, a damaged database, a broker that refuses, hangs or forgets.
//! For each, what the real daemon must do.
//!
//! With `-- --nocapture` each test prints its line of the table "what / what the daemon did", and
//! the last one the whole table. What the machine does not permit (a mount in a namespace of one's
//! own) says so in its line instead.
//!
//! The wall clock has no namespace, so a clock that jumps is not played here: see
//! `domain::stamp`, and the simulator (`tests/sim`), whose boards are switched off and on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the table is printed for those who ask")]
#![allow(clippy::print_stderr, reason = "a failed test shows the broker's log")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]

mod access;
mod audit;
#[path = "../support/broker.rs"]
mod broker;
mod damage;
mod disk;
mod limits;
#[path = "../support/node.rs"]
mod node;
mod peers;
mod readonly;
mod wire;

use std::sync::Mutex;

/// Lines of the table when all tests have run.
const LINES: usize = 18;

/// Writes one line of the table.
fn did(what: &str, daemon: &str) {
    static TABLE: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let line = format!("| {what} | {daemon} |");
    println!("{line}");
    let mut table = TABLE.lock().unwrap();
    table.push(line);
    if table.len() == LINES {
        println!("\n| what | what the daemon did |\n|---|---|\n{}", table.join("\n"));
    }
}
