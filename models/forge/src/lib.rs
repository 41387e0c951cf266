//! Makes Outpost model packages from GGUF files.
pub mod arch;
pub mod cli;
mod error;
pub mod gguf;
pub mod graph;
pub mod import;
pub mod limits;
pub mod onnx;
pub mod package;
pub mod progress;
pub mod quant;
pub mod recipe;
pub mod runtime;
pub mod selftest;
pub mod tokenizer;
pub mod weights;
pub use error::{Error, Result};
