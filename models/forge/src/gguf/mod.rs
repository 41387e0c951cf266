//! Reading GGUF files that nobody vouches for.
//!
//! Only the header (metadata and tensor table) is kept in memory, at most
//! [`HEADER_BYTES_MAX`](crate::limits::HEADER_BYTES_MAX) of it; weights are read by rows,
//! on demand, with `pread`. Every count, length, dimension, alignment and offset is
//! checked before anything is allocated or computed from it: the header's claims never
//! decide how much memory is taken, the bytes really present in the file do.
//!
//! Versions 2 and 3, little-endian. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod cursor;
mod dequant;
mod error;
mod file;
mod format;
mod metadata;
mod parse;

pub use dequant::dequantise;
pub(crate) use dequant::{fives, half, nibbles};
pub use error::GgufError;
pub use file::{Gguf, ReadAt};
pub use format::Format;
pub use metadata::{Metadata, Value};
pub use parse::Tensor;
