//! Reading small files of the kernel: never more than a page, and never an error.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::domain::limits;

/// The text of a file; `None` when it cannot be read.
pub(super) fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::with_capacity(1024);
    File::open(path).ok()?.take(limits::BOARD_FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The number that a file holds.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// Entries of a folder whose names begin with `prefix`, by their numbers: `zone2` before `zone10`.
pub(super) fn entries(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(dir).into_iter().flatten().take(limits::BOARD_ENTRIES_MAX);
    let mut names: Vec<String> = found
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// What a sensor is called, fit for a line of a log.
pub(super) fn name(path: &Path) -> Option<String> {
    let printable = |c: &char| !c.is_control();
    let name: String = text(path)?.chars().filter(printable).take(limits::BOARD_NAME_CHARS_MAX).collect();
    (!name.is_empty()).then_some(name)
}
