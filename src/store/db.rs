//! The database: batches of operations in, one transaction each, and what that cost.

use std::sync::Arc;

use rusqlite::{Connection, config::DbConfig};

use super::{
    account::{Counts, Wear},
    error::{Meaning, meaning},
    home::Home,
    op::{Backend, Op, Reply},
    options::Quotas,
    pragma,
    stats::{Counters, Health},
};
use crate::domain::{Clock, Error, ErrorKind, Result, limits};

/// Why an operation did not work.
pub(super) enum Fault {
    /// For a reason of its own; others in its batch go on.
    Refused(Error),
    /// The database failed; nothing of the batch stays.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

pub(super) type Applied<T> = Result<T, Fault>;

/// A database that holds what was not written there.
pub(super) fn unsound(what: &str) -> rusqlite::Error {
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(error, Some(what.to_owned()))
}

/// The store's database with everything that is known about it without asking. Synchronous, and
/// for one thread at a time.
pub struct Db {
    pub(super) conn: Connection,
    /// Where its file is; after `conn`, so that the lock is let go of last. `None`: in memory.
    pub(super) home: Option<Home>,
    pub(super) quotas: Quotas,
    pub(super) free_bytes_min: u64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) counts: Counts,
    pub(super) wear: Wear,
    /// Free on the disk at the last look, bytes.
    pub(super) free_bytes: u64,
    /// Which quota refused somebody and was not relieved since.
    pub(super) quota_reached: Option<String>,
    /// The disk was full when so many bytes of it were free.
    disk_full: Option<u64>,
    broken: Option<String>,
    synchronous_full: bool,
}

impl Db {
    pub(super) fn over(
        conn: Connection,
        home: Option<Home>,
        quotas: Quotas,
        free_bytes_min: u64,
        clock: Arc<dyn Clock>,
    ) -> rusqlite::Result<Self> {
        conn.set_prepared_statement_cache_capacity(64);
        pragma::set_synchronous(&conn, true)?;
        let mut db = Self {
            counts: Counts::load(&conn)?,
            wear: Wear::default(),
            conn,
            home,
            quotas,
            free_bytes_min,
            clock,
            counters: Arc::default(),
            free_bytes: u64::MAX,
            quota_reached: None,
            disk_full: None,
            broken: None,
            synchronous_full: true,
        };
        db.wear = Wear::load(&db.conn, db.today())?;
        db.look_at_disk();
        db.show();
        Ok(db)
    }

    /// Everything in it, as the bytes of a database file.
    pub fn snapshot(&mut self) -> Result<Vec<u8>> {
        self.conn.serialize("main").map(|data| data.to_vec()).map_err(Error::internal)
    }

    /// One transaction over `ops`. An error of the database takes all of it back.
    fn transact(&mut self, ops: &[Op]) -> rusqlite::Result<Vec<Result<Reply>>> {
        let full = ops.iter().any(Op::durable);
        if full != self.synchronous_full {
            pragma::set_synchronous(&self.conn, full)?;
            self.synchronous_full = full;
        }
        let before = self.counts.clone();
        let changes = self.conn.total_changes();
        let done = self.try_transact(ops);
        if done.is_err() {
            self.counts = before;
            self.wear.taken_back();
            if !self.conn.is_autocommit() {
                self.conn.execute_batch("ROLLBACK")?;
            }
            return done;
        }
        if self.conn.total_changes() > changes {
            self.disk_full = None;
            if let Err(error) = self.account(full) {
                // What was asked is done; what comes next will not be.
                self.give_up(error.to_string());
            }
        }
        done
    }

    fn try_transact(&mut self, ops: &[Op]) -> rusqlite::Result<Vec<Result<Reply>>> {
        let writes = ops.iter().any(Op::writes);
        self.conn.execute_batch(if writes { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            match self.apply(op) {
                Ok(reply) => results.push(Ok(reply)),
                Err(Fault::Refused(error)) => results.push(Err(error)),
                Err(Fault::Sql(error)) => return Err(error),
            }
        }
        if writes && self.wear.commits >= limits::STORE_WEAR_COMMITS {
            self.write_wear()?;
        }
        self.conn.execute_batch("COMMIT")?;
        self.wear.written(self.today());
        Ok(results)
    }

    fn apply(&mut self, op: &Op) -> Applied<Reply> {
        match op {
            Op::Accept(new) => self.accept(new),
            Op::Begin(key) => self.attempt(key, 1),
            Op::Spare(key) => self.attempt(key, -1),
            Op::Forget(key) => self.forget(key),
            Op::Finish(finish) => self.finish(finish),
            Op::Publish(message) => self.publish(message),
            Op::Delivered(seq) => self.delivered(*seq),
            Op::Undelivered { after, limit } => self.undelivered(*after, *limit),
            Op::Find(key) => Ok(Reply::Found(self.row(key)?.map(|row| Box::new(row.stored)))),
            Op::FindByDigest(client, digest) => self.find_by_digest(client, digest),
            Op::Unfinished => self.unfinished(),
            Op::Usage(query) => self.usage(query),
            Op::Wear => self.wear_days(),
            Op::Audit(entry) => self.audit(entry),
            Op::Audited { after, limit } => self.audited(*after, *limit),
            Op::Send(new) => self.send(new),
            Op::Settle(settlement) => self.settle(settlement),
            Op::OpenEgress => self.open_egress(),
            Op::SettledEgress { limit } => self.settled_egress(*limit),
            Op::Correct(entry) => self.correct(entry),
            Op::Record(ended, rows) => self.record(ended, rows),
            Op::Date(day) => self.date(*day),
            Op::Prune => self.prune(),
        }
    }

    /// What an error of the database means for one caller, and for the store.
    fn failed(&mut self, error: &rusqlite::Error) -> Error {
        match meaning(error) {
            Meaning::Full => {
                self.disk_full = Some(self.free_bytes);
                Counters::add(&self.counters.refused, 1);
                super::room::store_full("the disk is full", error)
            }
            Meaning::Corrupt | Meaning::Failed => self.give_up(error.to_string()),
            Meaning::Busy | Meaning::Other => Error::internal(format!("the store: {error}")),
        }
    }

    /// From now on nothing is believed and nothing promised.
    fn give_up(&mut self, reason: String) -> Error {
        tracing::error!(reason, "the store is broken; the next start looks at its file");
        if let Some(Err(error)) = self.home.as_ref().map(Home::suspect) {
            tracing::error!(%error, "that could not be noted for the next start");
        }
        self.broken.get_or_insert(reason);
        self.is_broken()
    }

    fn is_broken(&self) -> Error {
        let reason = self.broken.as_deref().unwrap_or_default();
        Error::new(
            ErrorKind::Internal,
            "Outpost's store has failed and the daemon starts anew; send it again",
        )
        .with_detail(format!("the store: {reason}"))
        .with_retry_after(limits::STORE_RETRY_AFTER)
    }

    fn look_at_disk(&mut self) {
        if let Some(Ok(free)) = self.home.as_ref().map(Home::free_bytes) {
            self.free_bytes = free;
            // Nobody may have written since: what is refused unseen would be refused for ever.
            let enough = |then: u64| free >= then.saturating_add(limits::STORE_RELIEF_BYTES);
            self.disk_full = self.disk_full.filter(|then| !enough(*then));
        }
    }

    /// Brings the public counters up to date.
    fn show(&self) {
        let c = &self.counters;
        let file_bytes = self.home.as_ref().map_or(0, Home::file_bytes);
        self.counts.show(c);
        self.wear.show(c, self.today());
        Counters::set(&c.file_bytes, file_bytes);
        Counters::set(&c.free_bytes, self.free_bytes);
    }
}

impl Backend for Db {
    fn commit(&mut self, ops: Vec<Op>) -> Vec<Result<Reply>> {
        if self.broken.is_some() {
            return ops.iter().map(|_| Err(self.is_broken())).collect();
        }
        self.look_at_disk();
        let results = match self.transact(&ops) {
            Ok(results) => results,
            // One that is too large for the disk must not take the small ones with it.
            Err(error) if meaning(&error) == Meaning::Full && ops.len() > 1 => {
                ops.iter().flat_map(|op| self.commit(vec![op.clone()])).collect()
            }
            Err(error) => {
                let error = self.failed(&error);
                ops.iter().map(|_| Err(error.clone())).collect()
            }
        };
        self.show();
        results
    }

    fn health(&self) -> Health {
        if let Some(reason) = &self.broken {
            Health::Broken(reason.clone())
        } else if self.disk_full.is_some() {
            Health::Full("the disk is full".into())
        } else if let Some(reason) = self.floor_reached().or_else(|| self.quota_reached.clone()) {
            Health::Full(reason)
        } else {
            Health::Sound
        }
    }

    fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    fn close(&mut self) -> Result<()> {
        if self.broken.is_some() || self.home.is_none() {
            return Ok(());
        }
        let mut close = || -> rusqlite::Result<()> {
            self.write_wear()?;
            // The log is brought into the file and removed when the connection ends.
            self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
            self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        close().map_err(|e| Error::internal(format!("the store: {e}")))
    }
}
