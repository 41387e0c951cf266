//! What a command is given in a file or on standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{Exit, Failure};
use crate::domain::limits;

/// All of a file, or of standard input for `-`; of what is larger than a request may be, one byte
/// more than that.
pub(super) fn bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    let max = limits::REQUEST_BODY_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().take(max + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(e) => Err(Failure::new(Exit::BadData, format!("{}: {e}", path.display()))),
    }
}
