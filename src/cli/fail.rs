//! How a command ends when it does not end well.

use std::{fmt, io, process::ExitCode};

/// Exit codes of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was given is wrong.
    BadData = 65,
    /// The daemon or the model is not there now.
    Unavailable = 69,
    /// Our own fault.
    Bug = 70,
    /// The configuration is wrong.
    Configuration = 78,
}

/// An exit code and the words for it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    words: String,
    /// The reader of our output has gone, as `| head` does: nothing to complain about.
    quiet: bool,
}

impl Failure {
    /// Ends with `exit` and says `words`.
    pub fn new(exit: Exit, words: impl fmt::Display) -> Self {
        Self { exit, words: words.to_string(), quiet: false }
    }

    /// What the daemon's error means for the exit code.
    pub fn from_status(status: u16, words: impl fmt::Display) -> Self {
        let exit = match status {
            404 | 408 | 429 | 499 | 502.. => Exit::Unavailable,
            500 => Exit::Bug,
            _ => Exit::BadData,
        };
        Self::new(exit, words)
    }

    /// The code for the shell; `None` for a reader that has gone.
    pub fn code(&self) -> ExitCode {
        if self.quiet { ExitCode::SUCCESS } else { ExitCode::from(self.exit as u8) }
    }

    /// What to print, if anything.
    pub fn words(&self) -> Option<&str> {
        (!self.quiet).then_some(self.words.as_str())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::new(Exit::Unavailable, error) }
    }
}
