//! Small steps on disk: each leaves what was there before, or what is to be there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::error::PullError;

/// Whether there is a file of this size.
pub(super) fn is_file(path: &Path, bytes: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == bytes)
}

/// Makes a folder that everybody can read.
pub(super) fn make_dir(dir: &Path) -> Result<(), PullError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(dir);
    made.map_err(|e| PullError::io(dir, e))
}

/// Makes the folders above a file.
pub(super) fn make_parents(path: &Path) -> Result<(), PullError> {
    path.parent().map_or(Ok(()), make_dir)
}

/// Writes a file in one step: a crash leaves the old one or the new one.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// A rename is on the disk only with its folder.
pub(super) fn sync_dir(dir: &Path) {
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
}
