//! The forge's one error. It is written for the person at the terminal: what was wrong,
//! where, and what to do about it.

use std::path::{Path, PathBuf};

use crate::gguf::GgufError;

/// `Result` with the forge's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The GGUF file is damaged, truncated or hostile.
    #[error("`{}`: {source}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufError,
    },
    /// The file is sound, and the forge cannot make a package of it.
    #[error("{0}")]
    Unsupported(String),
    /// A package cannot be read.
    #[error("{0}")]
    Package(#[from] outpost::model::PackageError),
    /// The file system said no.
    #[error("cannot {verb} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// ONNX Runtime is missing or refuses.
    #[error("{0}")]
    Runtime(String),
    /// A promise of the forge itself is broken.
    #[error("a bug in outpost-forge: {0}; please report it")]
    Bug(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { verb, path: path.to_owned(), source }
    }

    /// For `map_err` on what the reader of `path` says.
    pub(crate) fn gguf(path: &Path) -> impl FnOnce(GgufError) -> Self {
        move |source| Self::Gguf { path: path.to_owned(), source }
    }

    /// Exit status after sysexits(3): 64 usage, 65 bad data, 69 unavailable, 70 bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Gguf { .. } | Self::Unsupported(_) | Self::Package(_) => 65,
            Self::Io { .. } | Self::Runtime(_) => 69,
            Self::Bug(_) => 70,
        }
    }
}
