//! What can be wrong with the store, at its start and while it runs.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

/// Why the store does not open. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum OpenError {
    /// `on_corruption = "stop"`.
    #[error(
        "the store {path} is corrupt ({reason}) and was moved to {moved_to}; put a backup in its place, or start \
         empty: move that file elsewhere, or set `store.on_corruption` to \"start_empty\""
    )]
    Corrupt { path: PathBuf, moved_to: PathBuf, reason: String },
    /// SQLite does not do what durability needs.
    #[error(
        "SQLite keeps `{name}` at {found} where the store at {path} needs {wanted}; use a file system with locks \
         and fsync"
    )]
    Pragma { path: PathBuf, name: &'static str, wanted: String, found: String },
    /// Written by a newer Outpost.
    #[error(
        "the store {path} has schema {schema}, this Outpost knows up to {known}; start the newer Outpost, or move \
         the file away to start empty"
    )]
    TooNew { path: PathBuf, schema: i64, known: i64 },
    /// Rights, or a read-only file system.
    #[error(
        "the store {path} cannot be written: {source}; mount it for writing, give the daemon's user the folder, or set \
         `store.path`"
    )]
    ReadOnly { path: PathBuf, source: io::Error },
    /// No space left.
    #[error("the disk of the store {path} is full: {source}; free some space and start again")]
    NoSpace { path: PathBuf, source: io::Error },
    /// Another daemon has it.
    #[error(
        "the store {path} is in use by another program; stop that, or give this one its own `store.path`"
    )]
    InUse { path: PathBuf },
    /// Anything else that the system refuses.
    #[error("the store {path} cannot be opened: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl OpenError {
    /// Whether every further start meets the same until somebody decides what to do; else the
    /// machine may get better by itself.
    pub fn needs_a_decision(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Pragma { .. } | Self::TooNew { .. })
    }

    /// By what the system said about `path`.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, source }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// What an error of SQLite means for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The file is not what was written.
    Corrupt,
    /// The disk is full; nothing is wrong with the file.
    Full,
    /// The disk failed; nobody knows what is on it.
    Failed,
    /// Somebody else holds the file.
    Busy,
    /// A mistake of ours, or no memory.
    Other,
}

/// Reads an error of SQLite.
pub(super) fn meaning(error: &rusqlite::Error) -> Meaning {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(e, _) | E::SqlInputError { error: e, .. } => match e.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Meaning::Corrupt,
            ErrorCode::DiskFull => Meaning::Full,
            ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen => Meaning::Failed,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
                Meaning::Busy
            }
            _ => Meaning::Other,
        },
        // A column that holds what was never put there.
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..) => Meaning::Corrupt,
        _ => Meaning::Other,
    }
}
