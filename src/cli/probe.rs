//! `outpost probe`: what the daemon starts to see whether an execution provider holds.

use std::io::Read;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::{Exit, Failure, out};
use crate::{domain::limits, engine::answer_probe};

/// Reads one question from standard input and answers it with one line.
pub(super) fn run() -> Result<(), Failure> {
    // Nobody waits for the answer once the daemon has gone.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let mut question = String::new();
    std::io::stdin()
        .take(limits::PROBE_ANSWER_BYTES_MAX)
        .read_to_string(&mut question)
        .map_err(|e| Failure::new(Exit::BadData, e))?;
    Ok(out::line(answer_probe(&question))?)
}
