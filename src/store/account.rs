//! What is in the tables without counting them, and what the flash goes through.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{
    audit::audit_head,
    chain::AuditHead,
    column,
    db::Db,
    op::Reply,
    record::{UtcDay, WearDay},
    schema::{self, unsealed, wear_seal},
    stats::Counters,
};
use crate::domain::limits;

/// What a row takes beside its blobs, bytes, roughly: ids, stamps, its places in indexes.
pub(super) const ROW_BYTES: u64 = 512;

/// `ROW_BYTES` and the blobs.
macro_rules! request_bytes {
    () => {
        "512 + length(spec) + ifnull(length(body), 0)"
    };
}

macro_rules! message_bytes {
    () => {
        "512 + length(CAST(topic AS BLOB)) + length(properties) + ifnull(length(payload), 0)"
    };
}

macro_rules! audit_bytes {
    () => {
        "64 + length(CAST(line AS BLOB))"
    };
}

pub(super) use {audit_bytes, message_bytes, request_bytes};

/// Rows and bytes of the tables, and the next free numbers. Taken back with a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) unfinished: u64,
    pub(super) requests_bytes: u64,
    pub(super) messages: u64,
    pub(super) outbox_bytes: u64,
    pub(super) ledger: u64,
    pub(super) audit: u64,
    pub(super) audit_bytes: u64,
    pub(super) audit_head: AuditHead,
    /// Numbers are not used twice while the daemon runs, so that a late word about an old message
    /// does not meet a new one.
    pub(super) next_request: u64,
    pub(super) next_message: u64,
    pub(super) pruned_early: u64,
    pub(super) messages_dropped: u64,
}

impl Counts {
    pub(super) fn load(conn: &Connection) -> Result<Self> {
        let requests = concat!(
            "SELECT count(*), count(*) - count(status), ifnull(sum(",
            request_bytes!(),
            "), 0), ifnull(max(seq), 0) + 1 FROM requests"
        );
        let outbox = concat!(
            "SELECT count(*), ifnull(sum(",
            message_bytes!(),
            "), 0), ifnull(max(seq), 0) + 1 FROM outbox"
        );
        let (requests, unfinished, requests_bytes, next_request) =
            conn.query_row(requests, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
        let (messages, outbox_bytes, next_message) =
            conn.query_row(outbox, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        let ledger = conn.query_row("SELECT count(*) FROM ledger", [], |r| r.get(0))?;
        let audit = concat!("SELECT count(*), ifnull(sum(", audit_bytes!(), "), 0) FROM audit");
        let (audit, audit_bytes) = conn.query_row(audit, [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(Self {
            audit,
            audit_bytes,
            audit_head: audit_head(conn)?,
            requests,
            unfinished,
            requests_bytes,
            messages,
            outbox_bytes,
            ledger,
            next_request,
            next_message,
            ..Self::default()
        })
    }

    pub(super) fn show(&self, c: &Counters) {
        Counters::set(&c.requests_rows, self.requests);
        Counters::set(&c.requests_unfinished, self.unfinished);
        Counters::set(&c.requests_bytes, self.requests_bytes);
        Counters::set(&c.outbox_rows, self.messages);
        Counters::set(&c.outbox_bytes, self.outbox_bytes);
        Counters::set(&c.ledger_rows, self.ledger);
        Counters::set(&c.audit_rows, self.audit);
        c.show_audit(self.audit_head);
        Counters::set(&c.pruned_early, self.pruned_early);
        Counters::set(&c.messages_dropped, self.messages_dropped);
    }
}

/// Bytes written and fsyncs. Each byte and fsync counts for the day on which it is written down.
#[derive(Debug, Default)]
pub(super) struct Wear {
    /// As the database has it for a day.
    known: WearDay,
    /// Not written down yet.
    bytes: u64,
    fsyncs: u64,
    /// Written down in the transaction that runs.
    writing: (u64, u64),
    /// Commits since it was written down.
    pub(super) commits: u64,
    /// Frames in the log, and whether the next commit starts it anew.
    frames: u64,
    starts_anew: bool,
}

impl Wear {
    pub(super) fn load(conn: &Connection, today: UtcDay) -> Result<Self> {
        let known = conn
            .query_row("SELECT bytes, fsyncs FROM wear WHERE day = ?1", [today.0], |r| {
                Ok(WearDay { day: today, bytes: r.get(0)?, fsyncs: r.get(1)? })
            })
            .optional()?;
        let frames = log_frames(conn)?.0;
        let known = known.unwrap_or(WearDay { day: today, ..WearDay::default() });
        Ok(Self { known, frames, starts_anew: frames == 0, ..Self::default() })
    }

    /// The transaction is committed.
    pub(super) fn written(&mut self, today: UtcDay) {
        let (bytes, fsyncs) = std::mem::take(&mut self.writing);
        if self.known.day != today {
            self.known = WearDay { day: today, ..WearDay::default() };
        }
        self.known.bytes += bytes;
        self.known.fsyncs += fsyncs;
    }

    /// The transaction is rolled back.
    pub(super) fn taken_back(&mut self) {
        let (bytes, fsyncs) = std::mem::take(&mut self.writing);
        self.bytes += bytes;
        self.fsyncs += fsyncs;
    }

    pub(super) fn show(&self, c: &Counters, today: UtcDay) {
        let known = if self.known.day == today { self.known } else { WearDay::default() };
        Counters::set(&c.wear_day, today.0 as u64);
        Counters::set(&c.wear_day_bytes, known.bytes + self.bytes);
        Counters::set(&c.wear_day_fsyncs, known.fsyncs + self.fsyncs);
        Counters::set(&c.wal_bytes, self.frames * FRAME_BYTES);
    }
}

/// A page and its header in the log.
const FRAME_BYTES: u64 = schema::PAGE_BYTES + 24;
const LOG_HEADER_BYTES: u64 = 32;

/// Frames in the log, and how many of them are in the file already. Zeroes without a log.
fn log_frames(conn: &Connection) -> Result<(u64, u64)> {
    let seen = |n: i64| u64::try_from(n).unwrap_or(0); // -1 without a log
    let mut statement = conn.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    statement.query_row([], |r| Ok((seen(r.get(1)?), seen(r.get(2)?))))
}

impl Db {
    /// The day by the wall clock, as well as it is known.
    pub(super) fn today(&self) -> UtcDay {
        UtcDay::of(self.clock.wall())
    }

    /// Counts what a commit that changed something has cost, and brings the log into the file when
    /// it is long enough.
    ///
    /// In FULL mode SQLite syncs the log once per commit, and in both modes once when the log
    /// starts anew; bringing it into the file syncs both files.
    pub(super) fn account(&mut self, full: bool) -> Result<()> {
        let (frames, in_file) = log_frames(&self.conn)?;
        let anew = self.wear.starts_anew && frames > 0 && in_file < frames;
        let written = if anew { frames } else { frames.saturating_sub(self.wear.frames) };
        let mut bytes = written * FRAME_BYTES + if anew { LOG_HEADER_BYTES } else { 0 };
        let mut fsyncs = u64::from(full) + u64::from(anew);
        self.wear.frames = frames;
        self.wear.starts_anew &= !anew;

        if frames * FRAME_BYTES >= limits::STORE_WAL_CHECKPOINT_BYTES {
            let brought = self.checkpoint()?;
            bytes += brought * schema::PAGE_BYTES;
            fsyncs += if brought > 0 { 2 } else { 0 };
        }
        self.wear.bytes += bytes;
        self.wear.fsyncs += fsyncs;
        self.wear.commits += 1;
        let c = &self.counters;
        Counters::add(&c.commits, 1);
        Counters::add(&c.durable_commits, u64::from(full));
        Counters::add(&c.bytes_written, bytes);
        Counters::add(&c.fsyncs, fsyncs);
        Ok(())
    }

    /// Brings the log into the file, so that the next commit starts it anew; the log's file keeps
    /// its blocks, which spares the file system the work of finding new ones. Returns frames.
    fn checkpoint(&mut self) -> Result<u64> {
        let done = self.conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |r| {
            Ok((r.get::<_, bool>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?))
        });
        match done {
            Ok((busy, frames, brought)) => {
                self.wear.starts_anew = !busy && frames == brought;
                Ok(u64::try_from(brought).unwrap_or(0))
            }
            // The commit itself is safe in the log. The next one tries again.
            Err(e) if super::error::meaning(&e) == super::error::Meaning::Full => {
                tracing::warn!("the disk is too full to bring the store's log into its file");
                Ok(0)
            }
            Err(e) => Err(e),
        }
    }

    /// Adds what is pending to the day's row.
    pub(super) fn write_wear(&mut self) -> Result<()> {
        let day = self.today().0;
        let (bytes, fsyncs) = (self.wear.bytes, self.wear.fsyncs);
        (self.wear.bytes, self.wear.fsyncs, self.wear.commits) = (0, 0, 0);
        self.wear.writing.0 += bytes;
        self.wear.writing.1 += fsyncs;
        let add = concat!(
            "INSERT INTO wear (day, bytes, fsyncs, seal) VALUES (?1, ?2, ?3, ",
            unsealed!(),
            ") ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes, fsyncs = fsyncs + excluded.fsyncs"
        );
        self.conn.prepare_cached(add)?.execute(params![day, column::count(bytes), column::count(fsyncs)])?;
        let seal = concat!("UPDATE wear SET seal = ", wear_seal!(), " WHERE day = ?1");
        self.conn.prepare_cached(seal)?.execute([day])?;
        Ok(())
    }

    pub(super) fn wear_days(&self) -> super::db::Applied<Reply> {
        let mut statement = self.conn.prepare_cached("SELECT day, bytes, fsyncs FROM wear ORDER BY day")?;
        let days = statement
            .query_map([], |r| Ok(WearDay { day: UtcDay(r.get(0)?), bytes: r.get(1)?, fsyncs: r.get(2)? }))?;
        Ok(Reply::Wear(days.collect::<Result<_>>()?))
    }
}
