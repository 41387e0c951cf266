//! A file that is not whole.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
};

use crate::{
    domain::limits,
    hub::{disk::replace, error::PullError},
};

/// A file that is being written.
#[derive(Debug)]
pub(in crate::hub) struct Part {
    pub(in crate::hub) file: File,
    pub(in crate::hub) path: PathBuf,
    /// Bytes that are there.
    pub(in crate::hub) len: u64,
    unsynced: u64,
    mark: PathBuf,
    head: String,
}

impl Part {
    /// `len` bytes of it are there; `mark` is where it is noted, behind `head`, what is on the disk itself.
    pub(super) fn new(file: File, path: PathBuf, len: u64, mark: PathBuf, head: String) -> Self {
        Self { file, path, len, unsynced: 0, mark, head }
    }

    /// Reads what is there, from the beginning, piece by piece; afterwards it is written behind it.
    pub(in crate::hub) fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), PullError> {
        let io = |e| PullError::io(&self.path, e);
        let mut piece = vec![0; limits::HASH_CHUNK_BYTES];
        let mut left = self.len;
        while left > 0 {
            let room = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.file.read(&mut piece[..room]).map_err(io)?;
            if n == 0 {
                return Err(io(io::ErrorKind::UnexpectedEof.into()));
            }
            each(&piece[..n]);
            left -= n as u64;
        }
        Ok(())
    }

    /// Writes a piece, at once: what a kill can cost is what was not handed over yet.
    pub(in crate::hub) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.len += piece.len() as u64;
        self.unsynced += piece.len() as u64;
        Ok(())
    }

    /// Puts it on the disk itself, now and then.
    pub(in crate::hub) fn sync_sometimes(&mut self) -> Result<(), PullError> {
        if self.unsynced >= limits::PULL_SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    pub(super) fn sync(&mut self) -> Result<(), PullError> {
        self.file.sync_data().map_err(|e| PullError::io(&self.path, e))?;
        self.unsynced = 0;
        let text = format!("{}{}\n", self.head, self.len);
        replace(&self.mark, text.as_bytes()).map_err(|e| PullError::io(&self.mark, e))
    }

    /// Throws away what is there.
    pub(in crate::hub) fn empty(&mut self) -> Result<(), PullError> {
        let io = |e| PullError::io(&self.path, e);
        self.file.set_len(0).map_err(io)?;
        io::Seek::rewind(&mut self.file).map_err(io)?;
        self.len = 0;
        Ok(())
    }
}
