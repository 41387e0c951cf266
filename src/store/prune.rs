//! What goes by age, and the disk that it gives back.

use std::time::Duration;

use rusqlite::{Result, params};

use super::{
    db::{Applied, Db},
    op::Reply,
    record::{Pruned, UtcDay},
};
use crate::domain::{Stamp, limits};

impl Db {
    pub(super) fn prune(&mut self) -> Applied<Reply> {
        let now = self.clock.stamp();
        let mut pruned = Pruned::default();
        self.prune_outbox(&now, &mut pruned)?;
        self.prune_requests(&now, &mut pruned)?;
        self.prune_days(&now, &mut pruned)?;
        self.prune_egress()?;
        self.write_wear()?;
        self.shrink()?;
        Ok(Reply::Pruned(pruned))
    }

    fn prune_outbox(&mut self, now: &Stamp, pruned: &mut Pruned) -> Result<()> {
        let mut go = Vec::new();
        {
            let select = "SELECT seq, stored, expires, expires_ms FROM outbox ORDER BY seq";
            let mut statement = self.conn.prepare_cached(select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let stored: Stamp = row.get(1)?;
                let expired = match (row.get::<_, Option<Stamp>>(2)?, row.get::<_, Option<u64>>(3)?) {
                    (Some(from), Some(ms)) => from.elapsed(now) >= Duration::from_millis(ms),
                    _ => false,
                };
                if expired || stored.elapsed(now) >= self.quotas.outbox_age {
                    go.push(row.get::<_, u64>(0)?);
                }
            }
        }
        pruned.more |= go.len() > limits::STORE_PRUNE_ROWS_MAX;
        go.truncate(limits::STORE_PRUNE_ROWS_MAX);
        for seq in &go {
            self.remove_message(*seq)?;
        }
        if !go.is_empty() {
            tracing::warn!(
                messages = go.len(),
                "dropped from the outbox: expired, or the broker was away too long"
            );
        }
        self.counts.messages_dropped += go.len() as u64;
        pruned.messages = go.len();
        Ok(())
    }

    /// Finished requests whose message is gone and whose window of de-duplication is over.
    fn prune_requests(&mut self, now: &Stamp, pruned: &mut Pruned) -> Result<()> {
        let mut go = Vec::new();
        {
            let select = "SELECT seq, ended FROM requests WHERE status IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM outbox WHERE request = requests.seq) ORDER BY seq";
            let mut statement = self.conn.prepare_cached(select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let ended: Stamp = row.get(1)?;
                if ended.elapsed(now) >= self.quotas.keep_finished {
                    go.push(row.get::<_, u64>(0)?);
                }
            }
        }
        pruned.more |= go.len() > limits::STORE_PRUNE_ROWS_MAX;
        go.truncate(limits::STORE_PRUNE_ROWS_MAX);
        for seq in &go {
            self.remove_request(*seq)?;
        }
        pruned.requests = go.len();
        Ok(())
    }

    /// The oldest day of usage that is too old, and all such days of wear. Only by a clock that can
    /// be trusted; the day of a clock that was not set has no age.
    fn prune_days(&mut self, now: &Stamp, pruned: &mut Pruned) -> Result<()> {
        if !now.synced {
            return Ok(());
        }
        let days = (self.quotas.ledger_age.as_secs() / 86_400) as i64;
        let first_kept = UtcDay::of(now.wall).0.saturating_sub(days);
        let oldest =
            "DELETE FROM ledger WHERE day = (SELECT min(day) FROM ledger WHERE day > 0 AND day < ?1)";
        let gone = self.conn.prepare_cached(oldest)?.execute(params![first_kept])?;
        self.counts.ledger -= gone as u64;
        let wear = "DELETE FROM wear WHERE day > 0 AND day < ?1";
        pruned.ledger = gone + self.conn.prepare_cached(wear)?.execute(params![first_kept])?;
        let more = "SELECT 1 FROM ledger WHERE day > 0 AND day < ?1";
        pruned.more |= self.conn.prepare_cached(more)?.exists(params![first_kept])?;
        Ok(())
    }

    /// Gives pages back that are not used and not soon needed.
    fn shrink(&self) -> Result<()> {
        let unused: i64 = self.conn.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
        let pages = (unused - limits::STORE_SPARE_PAGES).min(limits::STORE_SHRINK_PAGES);
        if pages > 0 {
            // Gives one page back per row that is read.
            let mut statement = self.conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}
