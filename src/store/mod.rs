//! What Outpost remembers over a crash and a power cut: requests, finals, the outbox, the ledger,
//! and what has left the device.
//!
//! One SQLite file, `outpost.db`, in write-ahead mode, and one thread that writes it. Operations
//! that arrive while a commit waits for the disk share the next one (group commit).
//!
//! # Promises
//! - What [`Store::accept`], [`Store::finish`], [`Store::publish`] and [`Store::forget`] have
//!   answered survives a power cut. Attempts, deliveries and pruning survive a crash of the
//!   daemon; after a power cut they may have to be done again, which harms nothing.
//! - The first final of a request stays. A final leaves the outbox only by [`Store::delivered`]
//!   or by its age, and its request is never pruned before.
//! - A full disk, the floor of free disk and the quotas refuse what is new, never what is
//!   accepted. When space returns, so does the store.
//! - Every egress is in a chain of hashes before its first byte leaves; the chain is shortened at its
//!   old end only, and each row names the one before it.
//! - A file that is not sound is found at start or when it is read, moved aside and kept.
//! - Each table is bounded in rows, bytes and age, each queue and batch by [`limits`].
//!
//! # Limits
//! Every row carries a seal over its columns; at start every page and every seal is checked, which
//! reads the whole file once. A file beyond [`STORE_CHECK_BYTES_MAX`] is checked only after it was
//! found wrong at work. The log has SQLite's own checksums: a log that was damaged after its fsync
//! reads as a shorter one, which nobody can tell from a crash before the fsync.
//!
//! [`STORE_CHECK_BYTES_MAX`]: crate::domain::limits::STORE_CHECK_BYTES_MAX
//! [`limits`]: crate::domain::limits

mod account;
mod audit;
mod chain;
mod column;
mod db;
mod egress;
mod error;
mod handle;
mod home;
mod ledger;
mod op;
mod open;
mod options;
mod outbox;
mod pragma;
mod prune;
mod record;
mod requests;
mod room;
mod schema;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

pub use chain::{AuditEntry, AuditEvent, AuditHead, AuditRow, BrokenChain, verify};
pub use db::Db;
pub use error::OpenError;
pub use handle::Store;
pub use op::{Backend, Op, Reply};
pub use options::{OnCorruption, Opened, Quotas, StoreOptions};
pub use record::{
    Accepted, Digest, Egress, Finish, Finished, Message, NewEgress, NewMessage, NewRequest, Pruned,
    RequestKey, Settlement, Stored, StoredFinal, UsageEntry, UsageQuery, UsageRow, UsageSum, UtcDay, WearDay,
};
pub use stats::{Counters, Health, StoreStats};
