//! `outpost`: parse, run, exit.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use outpost::cli::{self, Cli};

/// What clap calls an error in use; 64 in sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let parsed = match Cli::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // `--help` and `--version` come this way too; they are not errors.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    match cli::run(parsed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(words) = failure.words() {
                let _ = writeln!(std::io::stderr(), "outpost: {words}");
            }
            failure.code()
        }
    }
}
