//! The audit on disk: appended to, read, and shortened at its old end only.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{
    account::audit_bytes,
    chain::{AuditEntry, AuditHead, AuditRow, link},
    column::count,
    db::{Applied, Db, unsound},
    op::Reply,
};
use crate::domain::limits;

/// What a row takes beside its line, bytes, roughly; as `audit_bytes` has it.
const ROW_BYTES: u64 = 64;

impl Db {
    /// Appends a row. When the table is full, its oldest rows go, and the place before the first
    /// that is left is remembered.
    pub(super) fn audit(&mut self, entry: &AuditEntry) -> Applied<Reply> {
        let row = link(self.counts.audit_head, entry);
        let insert = "INSERT INTO audit (seq, hash, line) VALUES (?1, ?2, ?3)";
        self.conn.prepare_cached(insert)?.execute(params![count(row.seq), row.hash, row.line])?;
        self.counts.audit += 1;
        self.counts.audit_bytes += ROW_BYTES + row.line.len() as u64;
        self.counts.audit_head = AuditHead { seq: row.seq, hash: row.hash };
        self.shorten_audit()?;
        Ok(Reply::Audited(self.counts.audit_head))
    }

    fn shorten_audit(&mut self) -> Result<()> {
        while self.counts.audit > self.quotas.audit_rows as u64
            || self.counts.audit_bytes > self.quotas.audit_bytes
        {
            let oldest = concat!(
                "DELETE FROM audit WHERE seq = (SELECT min(seq) FROM audit) RETURNING seq, hash, ",
                audit_bytes!()
            );
            let gone = self
                .conn
                .prepare_cached(oldest)?
                .query_row([], |row| Ok((place(row)?, row.get::<_, u64>(2)?)))
                .optional()?;
            let Some((base, bytes)) = gone else { return Ok(()) };
            self.conn.execute("DELETE FROM audit_base", [])?;
            let keep = "INSERT INTO audit_base (seq, hash) VALUES (?1, ?2)";
            self.conn.prepare_cached(keep)?.execute(params![count(base.seq), base.hash])?;
            self.counts.audit -= 1;
            self.counts.audit_bytes = self.counts.audit_bytes.saturating_sub(bytes);
        }
        Ok(())
    }

    /// Rows behind `after`, in their order, and the place before the first of them.
    pub(super) fn audited(&self, after: u64, limit: usize) -> Applied<Reply> {
        let base = audit_base(&self.conn)?;
        let start = if after <= base.seq {
            base
        } else {
            let at = "SELECT seq, hash FROM audit WHERE seq = ?1";
            let found = self.conn.prepare_cached(at)?.query_row([count(after)], place).optional()?;
            let Some(start) = found else { return Ok(Reply::Audit(self.counts.audit_head, Vec::new())) };
            start
        };
        let limit = limit.min(limits::AUDIT_PORTION) as i64;
        let select = "SELECT seq, line, hash FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.conn.prepare_cached(select)?;
        let rows = statement.query_map(params![count(start.seq), limit], |row| {
            Ok(AuditRow { seq: row.get(0)?, line: row.get(1)?, hash: row.get(2)? })
        })?;
        Ok(Reply::Audit(start, rows.collect::<Result<_>>()?))
    }
}

/// The place of the last row, as the file has it.
pub(super) fn audit_head(conn: &Connection) -> Result<AuditHead> {
    let last = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let found = conn.query_row(last, [], place).optional()?;
    found.map_or_else(|| audit_base(conn), Ok)
}

/// The place before the first row.
fn audit_base(conn: &Connection) -> Result<AuditHead> {
    let found = conn.query_row("SELECT seq, hash FROM audit_base", [], place).optional()?;
    Ok(found.unwrap_or_default())
}

fn place(row: &rusqlite::Row<'_>) -> Result<AuditHead> {
    let seq: u64 = row.get(0)?;
    let hash: Vec<u8> = row.get(1)?;
    let hash = hash.try_into().map_err(|_| unsound("a hash of the audit is not as long as one"))?;
    Ok(AuditHead { seq, hash })
}
