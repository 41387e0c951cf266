//! Standard output without panics: a closed pipe is an error like any other.

use std::{
    fmt,
    io::{self, Write},
};

/// Prints a line.
pub(super) fn line(text: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Prints a piece at once, without waiting for the end of the line.
pub(super) fn piece(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints a JSON document.
pub(super) fn json(value: &serde_json::Value) -> io::Result<()> {
    line(format_args!("{value:#}"))
}

/// Tells the person at the terminal something that is not the answer.
pub(super) fn note(text: impl fmt::Display) {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}
