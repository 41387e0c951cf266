//! Why a pull did not come to its end.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    fault::{Blame, Fault},
    layout::NoChoice,
};
use crate::model::{PackageError, RelPath};

/// Why a pull did not come to its end. What had come is kept, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says in its words what it is")]
pub enum PullError {
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("{path}: {fault}{kept}")]
    File { path: RelPath, fault: Fault, kept: Kept },
    #[error("{0}")]
    Choice(#[from] NoChoice),
    #[error("{0}")]
    Package(#[from] PackageError),
    #[error("{0}")]
    Signature(String),
    #[error(
        "another `outpost pull` fetches the same now (it holds {}). Wait until it has ended", lock.display()
    )]
    Busy { lock: PathBuf },
    #[error(
        "{} are to come and {} have to stay free, but only {} are free below {}. Make room, or set `model.dir` to another disk",
        Megabytes(*needed), Megabytes(*reserve), Megabytes(*free), dir.display()
    )]
    NoRoom { needed: u64, reserve: u64, free: u64, dir: PathBuf },
    #[error("the disk is full: {}{kept}", path.display())]
    DiskFull { path: PathBuf, kept: Kept },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{path} is not what it should be: expected is {expected}, found was {found}, and a second time again. It was \
         thrown away. The source is damaged, or somebody has changed it: do not use it"
    )]
    Digest { path: RelPath, expected: String, found: String },
    #[error(
        "`{path}` has {bytes} bytes and nothing vouches for it: the server gives no digest. Ask another server"
    )]
    NothingVouches { path: RelPath, bytes: u64 },
    #[error("{} is there already and holds something else. Give this one another name with `--name`, or remove that one \
         with `outpost models remove`", dir.display())]
    Exists { dir: PathBuf },
    #[error("{0}")]
    Given(String),
}

/// What is there of a file that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Bytes on disk.
    pub there: u64,
    /// Bytes in all.
    pub bytes: u64,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.there == 0 {
            return Ok(());
        }
        write!(
            f,
            ". {} of {} bytes of it are kept: the same command goes on from there",
            self.there, self.bytes
        )
    }
}

struct Megabytes(u64);

impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MB", self.0.div_ceil(1_000_000))
    }
}

impl PullError {
    /// The error for what the system did at `path`.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Who has to do something.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Fault(fault) | Self::File { fault, .. } => fault.blame(),
            Self::Busy { .. } | Self::NoRoom { .. } | Self::DiskFull { .. } | Self::Io { .. } => {
                Blame::Elsewhere
            }
            _ => Blame::Given,
        }
    }
}

/// Whether the disk, or the share of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
