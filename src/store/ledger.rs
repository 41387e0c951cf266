//! The usage ledger: sums by day, client, zone, provider and model.

use rusqlite::{Result, ToSql, params};

use super::{
    chain::AuditEntry,
    column::count,
    db::{Applied, Db},
    op::Reply,
    record::{UsageEntry, UsageQuery, UsageRow, UsageSum, UtcDay},
    schema::{unsealed, usage_seal},
};
use crate::domain::{ClientId, MicroUsd, Stamp};

impl Db {
    /// Adds what requests took to their day. When the table is full, its oldest row goes.
    pub(super) fn book(
        &mut self,
        client: &ClientId,
        day: UtcDay,
        requests: u64,
        usage: &UsageEntry,
    ) -> Result<()> {
        let day = day.0;
        let key = params![day, client.as_str(), usage.zone, usage.provider, usage.model];
        let known = "SELECT 1 FROM ledger WHERE day = ?1 AND client = ?2 AND zone = ?3 AND provider = ?4 AND model = ?5";
        if !self.conn.prepare_cached(known)?.exists(key)? {
            if self.counts.ledger >= self.quotas.ledger_rows as u64 {
                let oldest = "DELETE FROM ledger WHERE (day, client, zone, provider, model) IN \
                     (SELECT day, client, zone, provider, model FROM ledger ORDER BY day = 0, day LIMIT 1)";
                self.counts.ledger -= self.conn.prepare_cached(oldest)?.execute([])? as u64;
            }
            let insert =
                concat!("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 0, 0, ", unsealed!(), ")");
            self.conn.prepare_cached(insert)?.execute(key)?;
            self.counts.ledger += 1;
        }
        let add = "UPDATE ledger SET requests = requests + ?10, prompt_tokens = prompt_tokens + ?6, \
             completion_tokens = completion_tokens + ?7, bytes_out = bytes_out + ?8, \
             cost_micro_usd = cost_micro_usd + ?9 \
             WHERE day = ?1 AND client = ?2 AND zone = ?3 AND provider = ?4 AND model = ?5";
        self.conn.prepare_cached(add)?.execute(params![
            day,
            client.as_str(),
            usage.zone,
            usage.provider,
            usage.model,
            count(usage.prompt_tokens),
            count(usage.completion_tokens),
            count(usage.bytes_out),
            count(usage.cost_micro_usd),
            count(requests),
        ])?;
        self.seal_usage(key)
    }

    /// `key`: day, client, zone, provider, model.
    fn seal_usage(&self, key: &[&dyn ToSql]) -> Result<()> {
        let seal = concat!(
            "UPDATE ledger SET seal = ",
            usage_seal!(),
            " WHERE day = ?1 AND client = ?2 AND zone = ?3 AND provider = ?4 AND model = ?5"
        );
        self.conn.prepare_cached(seal)?.execute(key)?;
        Ok(())
    }

    /// Puts one amount in the place of another in the sums of a day; where that day is no longer known, in
    /// nobody's.
    pub(super) fn rebook(&self, day: UtcDay, entry: &AuditEntry, was: MicroUsd, is: MicroUsd) -> Result<()> {
        let (client, zone) = (entry.key.client.as_str(), entry.zone.name());
        let change = "UPDATE ledger SET cost_micro_usd = max(0, cost_micro_usd - ?6) + ?7 \
             WHERE day = ?1 AND client = ?2 AND zone = ?3 AND provider = ?4 AND model = ?5";
        let (was, is) = (count(was.0), count(is.0));
        let with = params![day.0, client, zone, entry.provider, entry.model, was, is];
        self.conn.prepare_cached(change)?.execute(with)?;
        self.seal_usage(params![day.0, client, zone, entry.provider, entry.model])
    }

    /// Gives what was booked before anybody knew the day to `day`.
    pub(super) fn date(&mut self, day: UtcDay) -> Applied<Reply> {
        let undated = UsageQuery { from: Some(UtcDay(0)), to: Some(UtcDay(0)), client: None };
        let Reply::Usage(rows) = self.usage(&undated)? else { return Ok(Reply::Done) };
        let gone = self.conn.prepare_cached("DELETE FROM ledger WHERE day = 0")?.execute([])?;
        self.counts.ledger = self.counts.ledger.saturating_sub(gone as u64);
        for row in rows {
            self.book(&row.client, day, row.requests, &row.sums)?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn record(&mut self, ended: &Stamp, rows: &[UsageSum]) -> Applied<Reply> {
        for row in rows {
            self.book(&row.client, UtcDay::of(ended.wall), row.requests, &row.sums)?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn usage(&self, query: &UsageQuery) -> Applied<Reply> {
        let select = "SELECT day, client, requests, zone, provider, model, prompt_tokens, completion_tokens, \
             bytes_out, cost_micro_usd FROM ledger \
             WHERE day BETWEEN ?1 AND ?2 AND client = ifnull(?3, client) \
             ORDER BY day, client, zone, provider, model";
        let from = query.from.map_or(i64::MIN, |day| day.0);
        let to = query.to.map_or(i64::MAX, |day| day.0);
        let mut statement = self.conn.prepare_cached(select)?;
        let rows =
            statement.query_map(params![from, to, query.client.as_ref().map(ClientId::as_str)], |r| {
                let sums = UsageEntry {
                    zone: r.get(3)?,
                    provider: r.get(4)?,
                    model: r.get(5)?,
                    prompt_tokens: r.get(6)?,
                    completion_tokens: r.get(7)?,
                    bytes_out: r.get(8)?,
                    cost_micro_usd: r.get(9)?,
                };
                Ok(UsageRow { day: UtcDay(r.get(0)?), client: r.get(1)?, requests: r.get(2)?, sums })
            })?;
        Ok(Reply::Usage(rows.collect::<Result<_>>()?))
    }
}
