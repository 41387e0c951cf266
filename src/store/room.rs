//! Whether there is room: quotas, and the floor of free disk. They refuse what is new; what was
//! accepted gets its final in any case.

use std::fmt;

use rusqlite::Result;

use super::{
    account::{ROW_BYTES, request_bytes},
    db::{Applied, Db},
    record::{NewMessage, NewRequest},
    stats::Counters,
};
use crate::domain::{Error, ErrorKind, limits};

/// The refusal, with the bound that was reached.
pub(super) fn store_full(reason: &str, detail: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::StoreFull,
        format!("Outpost cannot keep this request: {reason}; send it again later"),
    )
    .with_detail(detail)
    .with_retry_after(limits::STORE_RETRY_AFTER)
}

pub(super) fn bytes_of_request(new: &NewRequest) -> u64 {
    ROW_BYTES + new.spec.len() as u64
}

pub(super) fn bytes_of_message(new: &NewMessage) -> u64 {
    let payload = new.payload.as_ref().map_or(0, Vec::len);
    ROW_BYTES + (new.topic.len() + new.properties.len() + payload) as u64
}

impl Db {
    /// Words about the floor of free disk, when it is reached.
    pub(super) fn floor_reached(&self) -> Option<String> {
        let (free, floor) = (self.free_bytes, self.free_bytes_min);
        (free < floor).then(|| {
            format!("{} MiB of its disk are free and {} MiB have to stay free", free >> 20, floor >> 20)
        })
    }

    fn refuse(&self, reason: &str, detail: &str) -> Error {
        Counters::add(&self.counters.refused, 1);
        store_full(reason, detail)
    }

    fn refuse_by_quota(&mut self, reason: String, detail: &str) -> Error {
        let error = self.refuse(&reason, detail);
        self.quota_reached = Some(reason);
        error
    }

    /// Refuses below the floor of free disk.
    pub(super) fn need_disk(&self) -> Applied<()> {
        self.floor_reached().map_or(Ok(()), |reason| {
            Err(self.refuse(&reason, "free some of the disk that `store.path` is on").into())
        })
    }

    /// Makes room for one more request of this size: the oldest that are finished and delivered go.
    /// Refuses when that does not help; then nothing goes.
    pub(super) fn need_request(&mut self, bytes: u64) -> Applied<()> {
        if self.make_room(bytes)? {
            self.quota_reached = None;
            return Ok(());
        }
        let Self { counts, quotas, .. } = &*self;
        let reason = if counts.requests >= quotas.requests_rows as u64 {
            format!("it keeps {} requests and may keep {}", counts.requests, quotas.requests_rows)
        } else {
            format!(
                "its requests take {} bytes and may take {}",
                counts.requests_bytes, quotas.requests_bytes
            )
        };
        let waiting =
            format!("{} are unfinished, {} messages wait for the broker", counts.unfinished, counts.messages);
        Err(self.refuse_by_quota(reason, &waiting).into())
    }

    /// As [`Self::need_request`], but for one that is stored in any case. Returns whether the
    /// quotas hold.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<bool> {
        let rows_over = (self.counts.requests + 1).saturating_sub(self.quotas.requests_rows as u64);
        let bytes_over = (self.counts.requests_bytes + bytes).saturating_sub(self.quotas.requests_bytes);
        if rows_over == 0 && bytes_over == 0 {
            return Ok(true);
        }
        if rows_over > self.counts.requests || bytes_over > self.counts.requests_bytes {
            return Ok(false); // larger than all that could go
        }
        let oldest = concat!(
            "SELECT seq, ",
            request_bytes!(),
            " FROM requests WHERE status IS NOT NULL",
            " AND NOT EXISTS (SELECT 1 FROM outbox WHERE request = requests.seq) ORDER BY seq"
        );
        let (mut go, mut freed, mut enough) = (Vec::new(), 0, false);
        {
            let mut statement = self.conn.prepare_cached(oldest)?;
            let mut rows = statement.query([])?;
            while !enough && let Some(row) = rows.next()? {
                go.push(row.get::<_, u64>(0)?);
                freed += row.get::<_, u64>(1)?;
                enough = go.len() as u64 >= rows_over && freed >= bytes_over;
            }
        }
        if enough {
            for seq in &go {
                self.remove_request(*seq)?;
            }
            self.counts.pruned_early += go.len() as u64;
        }
        Ok(enough)
    }

    /// Refuses a message beyond the quotas of the outbox.
    pub(super) fn need_message(&mut self, bytes: u64) -> Applied<()> {
        let Self { counts, quotas, .. } = &*self;
        let reason = if counts.messages >= quotas.outbox_rows as u64 {
            format!("{} messages wait for the broker and {} may", counts.messages, quotas.outbox_rows)
        } else if counts.outbox_bytes + bytes > quotas.outbox_bytes {
            format!(
                "messages for the broker take {} bytes and may take {}",
                counts.outbox_bytes, quotas.outbox_bytes
            )
        } else {
            self.quota_reached = None;
            return Ok(());
        };
        Err(self.refuse_by_quota(reason, "is the broker there?").into())
    }
}
