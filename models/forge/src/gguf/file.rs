//! An open GGUF file.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt, path::Path};

use super::{GgufError, Metadata, Tensor, error::shown, parse};

/// Where bytes come from; a file, or memory in tests.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset` on, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|at| self.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A GGUF file whose header was read and checked.
pub struct Gguf {
    source: Box<dyn ReadAt>,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    by_name: HashMap<String, usize>,
}

impl Gguf {
    /// Opens `path` and checks its header.
    pub fn open(path: &Path) -> crate::Result<Self> {
        let file = File::open(path).map_err(crate::Error::io("read", path))?;
        let about = file.metadata().map_err(crate::Error::io("read", path))?;
        if !about.is_file() {
            return Err(crate::Error::Usage(format!("`{}` is not a file", path.display())));
        }
        Self::parse(Box::new(file), about.len()).map_err(crate::Error::gguf(path))
    }

    /// Checks the header of `len` bytes of `source`.
    pub fn parse(source: Box<dyn ReadAt>, len: u64) -> Result<Self, GgufError> {
        let (metadata, tensors) = parse::header(&*source, len)?;
        let by_name = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Self { source, metadata, tensors, by_name })
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).map(|index| &self.tensors[*index])
    }

    /// The bytes of `count` rows of `tensor` from row `first` on, into `buffer`.
    ///
    /// # Panics
    /// When the tensor has fewer rows.
    pub fn read_rows(
        &self,
        tensor: &Tensor,
        first: usize,
        count: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), GgufError> {
        assert!(first + count <= tensor.rows, "rows asked for are rows of the tensor");
        buffer.resize(count * tensor.row_bytes, 0);
        let offset = tensor.offset + first as u64 * tensor.row_bytes as u64;
        self.source.read_exact_at(buffer, offset).map_err(|e| GgufError::Read {
            what: format!("tensor `{}`", shown(&tensor.name)),
            reason: e.to_string(),
        })
    }
}
