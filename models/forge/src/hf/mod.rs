//! Directories of Hugging Face's layout: `config.json`, weights in `*.safetensors`, a
//! tokenizer. As with GGUF, nothing that a file claims decides how much memory is taken, and
//! weights are read by rows, on demand.

mod e4m3;
mod header;
mod repository;
mod shards;

pub use repository::Repository;
pub use shards::Shards;
