//! Why a package cannot be used.

use std::{io, path::PathBuf};

/// Why a package cannot be used. Each says which file, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The manifest does not say what it must.
    #[error("`outpost-model.toml`: {reason}")]
    Manifest {
        /// What is wrong with it.
        reason: String,
    },
    /// The record of a pull does not say what it must.
    #[error("{path}: {reason}. Pull the model again")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration of a published package does not say what it must.
    #[error("{path}: {reason}. Fetch the model again, or take another repository of it")]
    Published {
        /// The file, or the directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights without a graph.
    #[error(
        "{dir} holds a GGUF file, which is not run as it is: make a package of it with `outpost-forge import`"
    )]
    Gguf {
        /// The directory.
        dir: PathBuf,
    },
    /// No layout that is known.
    #[error(
        "{dir} is not a model package: it holds neither `outpost-model.toml`, nor `genai_config.json`, nor ONNX graphs \
         of a language model. Check the configured path, or import the model"
    )]
    NotAPackage {
        /// The directory.
        dir: PathBuf,
    },
    /// A file that the manifest names, or that every package has, is not there.
    #[error("{path} is missing. The package is incomplete: fetch or import it again")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A path of the package is a directory, a device or a pipe.
    #[error("{path} is not a regular file. Fetch or import the package again")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The system would not let a file be read.
    #[error("{path} cannot be read: {source}. Check its permissions and the disk")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is bigger than anything sensible.
    #[error(
        "{path} has {bytes} bytes, more than the {bytes_max} that are read. It is not what its name says"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// A file does not have the size that the manifest gives.
    #[error(
        "{path} has {found} bytes where the manifest says {expected}. The copy is incomplete or of another version: fetch or import the package again"
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes, by the manifest.
        expected: u64,
        /// Bytes on disk.
        found: u64,
    },
    /// A file does not have the content that the manifest gives.
    #[error(
        "{path} is damaged or was changed: its SHA-256 is {found}, the manifest says {expected}. Fetch or import the package again; if it happens twice, suspect the disk"
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// SHA-256, by the manifest.
        expected: String,
        /// SHA-256 of the file.
        found: String,
    },
    /// A file was written to while it was hashed.
    #[error("{path} changed while it was read. Wait until whatever writes it has ended, then start again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The tokenizer cannot be used, or not exactly.
    #[error("{path}: {reason}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The chat template cannot be used.
    #[error("{path}: {reason}")]
    Template {
        /// The file it stands in.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
