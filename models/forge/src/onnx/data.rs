//! `model.onnx.data`: the tensors that are too large for the graph file.
//!
//! Space is reserved first and filled in any order, so that a matrix can be written chunk
//! by chunk while its scales, which lie behind it, grow beside.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Large tensors start at a page, so that the kernel can map them one by one, bytes.
const PAGE: u64 = 4096;
/// Small ones at a cache line, bytes.
const LINE: u64 = 64;

/// A stretch of the data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub offset: u64,
    /// Size, bytes.
    pub bytes: u64,
}

/// The data file under construction.
pub struct DataFile {
    file: File,
    path: PathBuf,
    name: String,
    end: u64,
}

impl DataFile {
    /// Creates the file `name` in `dir`.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(Error::io("create", &path))?;
        Ok(Self { file, path, name: name.to_owned(), end: 0 })
    }

    /// File name, as the graph refers to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the next aligned stretch of `bytes`.
    pub fn reserve(&mut self, bytes: u64) -> Region {
        let offset = self.end.next_multiple_of(if bytes >= PAGE { PAGE } else { LINE });
        self.end = offset + bytes;
        Region { offset, bytes }
    }

    /// Writes `bytes` at `at` bytes into `region`.
    ///
    /// # Panics
    /// When they do not fit: regions must never run into each other.
    pub fn write(&self, region: Region, at: u64, bytes: &[u8]) -> Result<()> {
        assert!(at + bytes.len() as u64 <= region.bytes, "a write stays within its region");
        self.file.write_all_at(bytes, region.offset + at).map_err(Error::io("write", &self.path))
    }

    /// Writes the last bytes out to the disk; the file's size, bytes.
    pub fn finish(self) -> Result<u64> {
        self.file.set_len(self.end).map_err(Error::io("write", &self.path))?;
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        Ok(self.end)
    }
}
