//! Which files were hashed before, so that a start of the daemon does not read gigabytes.
//!
//! A file counts as the one that was hashed when its path, size, modification time and
//! inode are the same. The memory is a convenience: when it is missing, broken, of another
//! format or cannot be written, files are hashed again, nothing else.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::package::read_bytes;
use crate::domain::limits;

const FORMAT: u32 = 1;

/// What was true of a file when it was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sighting {
    path: PathBuf,
    bytes: u64,
    mtime_ns: i128,
    inode: u64,
    sha256: String,
}

impl Sighting {
    /// A file at `path` that is now as `metadata` says, with this digest.
    pub(super) fn new(path: &Path, metadata: &Metadata, sha256: &str) -> Self {
        let mtime_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self {
            path: path.to_owned(),
            bytes: metadata.len(),
            mtime_ns,
            inode: metadata.ino(),
            sha256: sha256.to_owned(),
        }
    }
}

/// Sightings, oldest first.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    format: u32,
    files: Vec<Sighting>,
}

impl Memory {
    /// What `path` holds; nothing, when it cannot be read or understood.
    pub(super) fn load(path: &Path) -> Self {
        read_bytes(path, limits::VERIFIED_MEMORY_BYTES_MAX)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|memory| memory.format == FORMAT)
            .unwrap_or(Self { format: FORMAT, files: Vec::new() })
    }

    /// Whether exactly this was seen before.
    pub(super) fn knows(&self, sighting: &Sighting) -> bool {
        self.files.contains(sighting)
    }

    /// Remembers `sighting` instead of what was known of its path. The oldest go first when
    /// there are too many.
    pub(super) fn remember(&mut self, sighting: Sighting) {
        self.forget(&sighting.path);
        self.files.push(sighting);
        let surplus = self.files.len().saturating_sub(limits::VERIFIED_FILES_MAX);
        self.files.drain(..surplus);
    }

    /// Forgets what was known of `path`.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.retain(|known| known.path != path);
    }

    /// Writes the memory in one step: a crash leaves the old file or the new one.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let fresh = dir.join(name);

        let write = || {
            fs::create_dir_all(dir)?;
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            File::open(dir)?.sync_all()
        };
        write().inspect_err(|_| drop(fs::remove_file(&fresh)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(path: &str, inode: u64) -> Sighting {
        Sighting { path: path.into(), bytes: 1, mtime_ns: 2, inode, sha256: "ab".to_owned() }
    }

    #[test]
    fn what_was_stored_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/verified.json");
        let mut memory = Memory::load(&path);
        memory.remember(sighting("/a", 1));
        memory.remember(sighting("/a", 2));
        memory.store(&path).unwrap();

        let memory = Memory::load(&path);
        assert!(memory.knows(&sighting("/a", 2)));
        assert!(!memory.knows(&sighting("/a", 1)) && !memory.knows(&sighting("/b", 2)));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_broken_memory_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verified.json");
        for broken in ["", "{", "[]", r#"{"format":2,"files":[]}"#, r#"{"format":1,"files":[{}]}"#] {
            fs::write(&path, broken).unwrap();
            assert_eq!(Memory::load(&path), Memory { format: FORMAT, files: Vec::new() }, "{broken}");
        }
    }

    #[test]
    fn the_memory_stays_within_its_bound_and_keeps_the_newest() {
        let mut memory = Memory::default();
        for n in 0..limits::VERIFIED_FILES_MAX + 3 {
            memory.remember(sighting(&format!("/{n}"), 1));
        }
        assert_eq!(memory.files.len(), limits::VERIFIED_FILES_MAX);
        assert!(!memory.knows(&sighting("/2", 1)) && memory.knows(&sighting("/3", 1)));
    }
}
