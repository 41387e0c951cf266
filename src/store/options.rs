//! What the operator decides about the store.

use std::{path::PathBuf, time::Duration};

use crate::domain::limits;

/// Where the store is and what bounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The folder of the database. Made when it is missing.
    pub dir: PathBuf,
    /// What happens to a database that is not sound.
    pub on_corruption: OnCorruption,
    /// How much is kept.
    pub quotas: Quotas,
    /// What must stay free on the disk, bytes. Below it nothing new is accepted.
    pub free_bytes_min: u64,
}

impl StoreOptions {
    /// The defaults, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            on_corruption: OnCorruption::default(),
            quotas: Quotas::default(),
            free_bytes_min: limits::STORE_FREE_BYTES_MIN,
        }
    }
}

/// What happens to a database that is not sound. It is moved aside and kept in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCorruption {
    /// Start with an empty one, and say so.
    #[default]
    StartEmpty,
    /// Do not start until somebody has looked at it.
    Stop,
}

/// How much of each kind is kept. What happens beyond is said at the defaults, in
/// [`limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Requests, finished ones included.
    pub requests_rows: usize,
    /// What they and their finals take, bytes.
    pub requests_bytes: u64,
    /// How long a finished request is known.
    pub keep_finished: Duration,
    /// Messages that wait for the broker.
    pub outbox_rows: usize,
    /// What they take, bytes.
    pub outbox_bytes: u64,
    /// How long they wait.
    pub outbox_age: Duration,
    /// Rows of the ledger.
    pub ledger_rows: usize,
    /// How long usage and wear are kept.
    pub ledger_age: Duration,
    /// Rows of the audit.
    pub audit_rows: usize,
    /// What they take, bytes.
    pub audit_bytes: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            requests_rows: limits::STORE_REQUESTS_MAX,
            requests_bytes: limits::STORE_REQUESTS_BYTES_MAX,
            keep_finished: limits::STORE_KEEP_FINISHED,
            outbox_rows: limits::STORE_OUTBOX_MAX,
            outbox_bytes: limits::STORE_OUTBOX_BYTES_MAX,
            outbox_age: limits::STORE_OUTBOX_AGE_MAX,
            ledger_rows: limits::STORE_LEDGER_ROWS_MAX,
            ledger_age: limits::STORE_LEDGER_AGE_MAX,
            audit_rows: limits::STORE_AUDIT_ROWS_MAX,
            audit_bytes: limits::STORE_AUDIT_BYTES_MAX,
        }
    }
}

/// How the store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// As it was left.
    Sound,
    /// There was none.
    Created,
    /// It was corrupt; what it held is lost to this daemon.
    StartedEmpty {
        /// Where the corrupt file is kept.
        moved_to: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
}
