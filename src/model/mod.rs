//! A model package: its manifest and digests, its tokenizer, its chat template.

mod manifest;

pub use manifest::{
    CacheShape, FORMAT, FileEntry, KvType, MANIFEST_FILE, Manifest, Requires, SelfTest, Source, Variant,
};

/// Why a package cannot be used. Each says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The manifest does not say what it must.
    #[error("`outpost-model.toml`: {reason}")]
    Manifest {
        /// What is wrong with it.
        reason: String,
    },
}
