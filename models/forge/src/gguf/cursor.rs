//! Little-endian reading through a small window of the file.

use super::{GgufError, ReadAt, error::shown};
use crate::limits;

/// A position in a file, and the window of bytes around it that is in memory.
pub(super) struct Cursor<'a> {
    source: &'a dyn ReadAt,
    len: u64,
    position: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a dyn ReadAt, len: u64) -> Self {
        Self { source, len, position: 0, window: Vec::new(), window_start: 0 }
    }

    /// Bytes from the file's start.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes between here and the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.len - self.position
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// A length and that many bytes of UTF-8, at most `bytes_max`.
    pub(super) fn string(&mut self, what: &str, bytes_max: u64) -> Result<String, GgufError> {
        let found = self.u64(what)?;
        if found > bytes_max {
            return Err(GgufError::TooMuch {
                what: format!("length of {}", shown(what)),
                found,
                limit: bytes_max,
            });
        }
        self.check_left(found, what)?;
        let mut bytes = vec![0; found as usize];
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|_| GgufError::NotUtf8 { what: shown(what) })
    }

    /// That `count` more bytes are there, before anything is allocated for them.
    pub(super) fn check_left(&self, count: u64, what: &str) -> Result<(), GgufError> {
        let end = self.position.saturating_add(count);
        if end > self.len {
            return Err(GgufError::Truncated { what: shown(what), end, len: self.len });
        }
        if end > limits::HEADER_BYTES_MAX {
            return Err(GgufError::HeaderTooLong);
        }
        Ok(())
    }

    fn fill(&mut self, mut out: &mut [u8], what: &str) -> Result<(), GgufError> {
        self.check_left(out.len() as u64, what)?;
        while !out.is_empty() {
            let offset = (self.position - self.window_start) as usize;
            if offset >= self.window.len() {
                self.load_window(what)?;
                continue;
            }
            let count = out.len().min(self.window.len() - offset);
            out[..count].copy_from_slice(&self.window[offset..offset + count]);
            out = &mut out[count..];
            self.position += count as u64;
        }
        Ok(())
    }

    fn load_window(&mut self, what: &str) -> Result<(), GgufError> {
        let size = self.left().min(limits::WINDOW_BYTES as u64) as usize;
        self.window.resize(size, 0);
        self.window_start = self.position;
        self.source
            .read_exact_at(&mut self.window, self.position)
            .map_err(|e| GgufError::Read { what: shown(what), reason: e.to_string() })
    }
}
