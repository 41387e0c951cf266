//! A model as somebody published it: a GGUF file, or a directory of Hugging Face's layout.

mod origin;
mod tensors;

pub use origin::Origin;
pub use tensors::{Format, Tensor, Tensors, formats};
