//! What left the device and what it costs: a row from before the first byte goes until the bill is
//! certain. Each step is one commit with its row of the audit, and the last one with the ledger.

use rusqlite::{OptionalExtension, Result, ToSql, params};

use super::{
    chain::AuditEntry,
    column::{StampText, count},
    db::{Applied, Db},
    op::Reply,
    record::{Egress, NewEgress, Settlement, UtcDay},
    schema::{egress_seal, unsealed},
};
use crate::domain::{MicroUsd, Stamp, limits};

/// A call that is not settled.
const OPEN: i64 = 0;
/// A call whose cost is in the ledger.
const SETTLED: i64 = 1;

impl Db {
    /// Notes that a call is about to be made, with the most that it can cost.
    pub(super) fn send(&mut self, new: &NewEgress) -> Applied<Reply> {
        let entry = &new.entry;
        let reply = self.audit(entry)?;
        let seq = self.counts.audit_head.seq;
        let insert = concat!(
            "INSERT INTO egress VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ",
            unsealed!(),
            ")"
        );
        self.conn.prepare_cached(insert)?.execute(params![
            count(seq),
            new.session,
            entry.key.client.as_str(),
            entry.key.id.as_str(),
            entry.zone.name(),
            entry.provider,
            entry.model,
            StampText(&entry.at),
            count(entry.bytes_out),
            count(new.reserved.0),
            OPEN,
        ])?;
        self.seal_egress(seq)?;
        Ok(reply)
    }

    /// Puts what a call cost in the place of what it could cost at most. Once: a second settlement
    /// of the same call changes nothing.
    pub(super) fn settle(&mut self, settlement: &Settlement) -> Applied<Reply> {
        let seq = settlement.entry.settles.unwrap_or_default();
        let Some((sent, _)) = self.egress_of(seq, OPEN)? else { return Ok(Reply::Settled(false)) };
        let update = "UPDATE egress SET state = ?2, cost_micro_usd = ?3 WHERE seq = ?1";
        let cost = count(settlement.usage.cost_micro_usd);
        self.conn.prepare_cached(update)?.execute(params![count(seq), SETTLED, cost])?;
        self.seal_egress(seq)?;
        self.audit(&settlement.entry)?;
        // On the day on which it left, as the budget has it.
        self.book(&settlement.entry.key.client, sent, settlement.requests, &settlement.usage)?;
        Ok(Reply::Settled(true))
    }

    /// Calls that were made and never settled: the daemon ended before it knew how.
    pub(super) fn open_egress(&self) -> Applied<Reply> {
        self.egress("WHERE state = ?1 ORDER BY seq", params![OPEN])
    }

    /// The newest settled calls.
    pub(super) fn settled_egress(&self, limit: usize) -> Applied<Reply> {
        let limit = limit.min(limits::BILL_CALLS_MAX) as i64;
        self.egress("WHERE state = ?1 ORDER BY seq DESC LIMIT ?2", params![SETTLED, limit])
    }

    fn egress(&self, which: &str, params: &[&dyn ToSql]) -> Applied<Reply> {
        let select = "SELECT seq, session, client, id, zone, provider, model, sent, bytes_out, cost_micro_usd \
             FROM egress ";
        let mut statement = self.conn.prepare_cached(&format!("{select}{which}"))?;
        let rows = statement.query_map(params, |row| {
            Ok(Egress {
                seq: row.get(0)?,
                session: row.get(1)?,
                key: super::RequestKey { client: row.get(2)?, id: row.get(3)? },
                zone: row.get(4)?,
                provider: row.get(5)?,
                model: row.get(6)?,
                sent: row.get(7)?,
                bytes_out: row.get(8)?,
                cost: MicroUsd(row.get(9)?),
            })
        })?;
        Ok(Reply::Egress(rows.collect::<Result<_>>()?))
    }

    /// Puts what the bill says in the place of what is booked. Once: the same correction again changes
    /// nothing.
    pub(super) fn correct(&mut self, entry: &AuditEntry) -> Applied<Reply> {
        let (seq, billed) = (entry.settles.unwrap_or_default(), entry.cost.unwrap_or_default());
        let known = self.egress_of(seq, SETTLED)?.filter(|(_, booked)| *booked != billed);
        let Some((sent, booked)) = known else { return Ok(Reply::Settled(false)) };
        let update = "UPDATE egress SET cost_micro_usd = ?2 WHERE seq = ?1";
        self.conn.prepare_cached(update)?.execute(params![count(seq), count(billed.0)])?;
        self.seal_egress(seq)?;
        self.audit(entry)?;
        self.rebook(sent, entry, booked, billed)?;
        Ok(Reply::Settled(true))
    }

    /// The day on which a call left, and what is booked for it, when it is in this state.
    fn egress_of(&self, seq: u64, state: i64) -> Result<Option<(UtcDay, MicroUsd)>> {
        let select = "SELECT sent, cost_micro_usd FROM egress WHERE seq = ?1 AND state = ?2";
        let read = |row: &rusqlite::Row<'_>| {
            let sent: Stamp = row.get(0)?;
            Ok((UtcDay::of(sent.wall), MicroUsd(row.get(1)?)))
        };
        self.conn.prepare_cached(select)?.query_row(params![count(seq), state], read).optional()
    }

    /// Settled calls go when nobody can ask for them any more.
    pub(super) fn prune_egress(&mut self) -> Result<usize> {
        let keep = limits::STORE_EGRESS_ROWS_MAX as i64;
        let delete = "DELETE FROM egress WHERE state <> ?1 AND seq NOT IN \
             (SELECT seq FROM egress WHERE state <> ?1 ORDER BY seq DESC LIMIT ?2)";
        self.conn.prepare_cached(delete)?.execute(params![OPEN, keep])
    }

    fn seal_egress(&self, seq: u64) -> Result<()> {
        let seal = concat!("UPDATE egress SET seal = ", egress_seal!(), " WHERE seq = ?1");
        self.conn.prepare_cached(seal)?.execute([count(seq)])?;
        Ok(())
    }
}

impl UtcDay {
    /// The first day of its month; day 0 stays day 0.
    #[must_use]
    pub fn month(self) -> Self {
        let epoch = jiff::civil::Date::constant(1970, 1, 1);
        let first = jiff::Span::new()
            .try_days(self.0)
            .and_then(|days| epoch.checked_add(days))
            .map(jiff::civil::Date::first_of_month);
        match first {
            Ok(first) if self.0 != 0 => Self(epoch.until(first).map_or(0, |span| i64::from(span.get_days()))),
            _ => Self(0),
        }
    }
}
