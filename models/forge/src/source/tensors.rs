//! Weights by name, whatever file they lie in.

use crate::{Error, Result, gguf};

pub use crate::gguf::{Format, Tensor};

/// Named matrices whose rows can be read one by one. What a format hides, such as the scales
/// beside 8-bit floats, is applied when rows are read: a tensor's `format` is that of the
/// bytes that are handed out.
pub trait Tensors: Sync {
    /// All tensors, in the order of the files.
    fn tensors(&self) -> &[Tensor];

    /// The tensor called `name`.
    fn tensor(&self, name: &str) -> Option<&Tensor>;

    /// The bytes of `count` rows of `tensor` from row `first` on, into `buffer`.
    ///
    /// # Panics
    /// When the tensor has fewer rows.
    fn read_rows(&self, tensor: &Tensor, first: usize, count: usize, buffer: &mut Vec<u8>) -> Result<()>;

    /// All numbers of a small tensor, such as a norm.
    fn read_vector(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let mut bytes = Vec::new();
        self.read_rows(tensor, 0, tensor.rows, &mut bytes)?;
        let mut numbers = vec![0.0; tensor.rows * tensor.columns];
        gguf::dequantise(tensor.format, &bytes, &mut numbers);
        Ok(numbers)
    }

    /// Bytes of all tensors.
    fn bytes(&self) -> u64 {
        self.tensors().iter().map(Tensor::bytes).sum()
    }
}

/// Number formats of `tensors`, the one with the most bytes first.
pub fn formats(tensors: &dyn Tensors) -> String {
    let mut bytes = std::collections::BTreeMap::new();
    for tensor in tensors.tensors() {
        *bytes.entry(tensor.format).or_insert(0u64) += tensor.bytes();
    }
    let mut formats: Vec<_> = bytes.into_iter().collect();
    formats.sort_by_key(|(format, bytes)| (std::cmp::Reverse(*bytes), *format));
    formats.iter().map(|(format, _)| format.name()).collect::<Vec<_>>().join(", ")
}

impl Tensors for gguf::Gguf {
    fn tensors(&self) -> &[Tensor] {
        self.tensors()
    }

    fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensor(name)
    }

    fn read_rows(&self, tensor: &Tensor, first: usize, count: usize, buffer: &mut Vec<u8>) -> Result<()> {
        self.read_rows(tensor, first, count, buffer).map_err(|e| Error::Unsupported(e.to_string()))
    }
}
