//! What the store counts about itself.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    chain::AuditHead,
    record::{UtcDay, WearDay},
};

/// How the store stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It takes everything.
    #[default]
    Sound,
    /// It takes nothing new, for this reason; what is accepted goes on.
    Full(String),
    /// It can no longer be trusted, for this reason. The daemon ends, so that the next start looks
    /// at the file and moves it aside when it has to.
    Broken(String),
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters that the writer moves and anybody reads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// The place of the last row of the audit.
            audit_head: Mutex<AuditHead>,
        }

        /// The store at one moment.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct StoreStats {
            $($(#[$doc])* pub $name: u64,)*
            /// How it stands.
            pub health: Health,
            /// The place of the last row of the audit.
            pub audit_head: AuditHead,
            /// Flash wear of the current UTC day, over all runs of the daemon.
            pub wear_today: WearDay,
            /// Bytes a day, if the daemon goes on as it did since its start.
            pub bytes_per_day: f64,
            /// Fsyncs a day, likewise.
            pub fsyncs_per_day: f64,
        }

        impl Counters {
            /// Shows the place of the last row of the audit.
            pub(super) fn show_audit(&self, head: AuditHead) {
                *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner) = head;
            }

            /// Reads all of them; `uptime` since they began to count.
            pub(super) fn snapshot(&self, health: Health, uptime: Duration) -> StoreStats {
                let mut stats = StoreStats { $($name: self.$name.load(Relaxed),)* health, ..StoreStats::default() };
                stats.audit_head = *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner);
                stats.wear_today = WearDay {
                    day: UtcDay(stats.wear_day as i64),
                    bytes: stats.wear_day_bytes,
                    fsyncs: stats.wear_day_fsyncs,
                };
                // A rate over less than a minute would say more about the start than about the day.
                let days = uptime.max(Duration::from_mins(1)).as_secs_f64() / 86_400.0;
                stats.bytes_per_day = stats.bytes_written as f64 / days;
                stats.fsyncs_per_day = stats.fsyncs as f64 / days;
                stats
            }
        }
    };
}

counters! {
    /// Requests kept, finished ones included.
    requests_rows,
    /// Those without a final.
    requests_unfinished,
    /// What requests and finals take, bytes.
    requests_bytes,
    /// Messages that wait for the broker.
    outbox_rows,
    /// What they take, bytes; a final that is also its request's is counted there.
    outbox_bytes,
    /// Rows of the audit.
    audit_rows,
    /// Rows of the ledger.
    ledger_rows,
    /// Database file, bytes.
    file_bytes,
    /// Frames of the write-ahead log in use, as bytes.
    wal_bytes,
    /// Free on the disk for this user, bytes.
    free_bytes,
    /// Transactions that wrote something.
    commits,
    /// Those that waited for the disk.
    durable_commits,
    /// Times that the disk was told to make things durable: by commits, by the start of a log and
    /// by bringing the log into the file. Opening and closing the store are not counted.
    fsyncs,
    /// Bytes written: the log's frames, and as an upper bound one page for each frame brought into
    /// the file, where SQLite writes a page once however many frames it has.
    bytes_written,
    /// Operations carried out, reading ones included.
    ops,
    /// Operations of the last commit.
    last_batch_ops,
    /// Operations of the largest commit.
    largest_batch_ops,
    /// What the last commit took, microseconds.
    last_commit_micros,
    /// What the slowest commit took, microseconds.
    slowest_commit_micros,
    /// Finished requests that were forgotten before their time to make room.
    pruned_early,
    /// Messages that were dropped undelivered, by age or by their own expiry.
    messages_dropped,
    /// Operations refused with `store_full`.
    refused,
    /// The UTC day that the next two belong to.
    wear_day,
    /// Bytes written on that day, over all runs of the daemon.
    wear_day_bytes,
    /// Fsyncs of that day, over all runs of the daemon.
    wear_day_fsyncs,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    pub(super) fn set(counter: &AtomicU64, n: u64) {
        counter.store(n, Relaxed);
    }

    pub(super) fn raise(counter: &AtomicU64, n: u64) {
        counter.fetch_max(n, Relaxed);
    }
}
