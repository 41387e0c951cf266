//! The table of requests.

use rusqlite::{OptionalExtension, Result, Row, params};

use super::{
    account::request_bytes,
    column::{StampText, millis},
    db::{Applied, Db, unsound},
    op::Reply,
    record::{Accepted, Digest, Finish, Finished, NewRequest, RequestKey, Stored, StoredFinal, UtcDay},
    room,
    schema::{request_seal, unsealed},
};
use crate::domain::{ClientId, Error, ErrorKind};

/// A request and its place.
pub(super) struct RequestRow {
    pub(super) seq: u64,
    pub(super) stored: Stored,
}

macro_rules! select {
    ($end:literal) => {
        concat!(
            "SELECT seq, client, id, digest, lane, accepted, budget_ms, attempts, status, ended, spec, body, seal = ",
            request_seal!(),
            " FROM requests ",
            $end
        )
    };
}

fn read(row: &Row<'_>) -> Result<RequestRow> {
    let sound: bool = row.get(12)?;
    if !sound {
        return Err(unsound("a row of requests is not what was written"));
    }
    let finished = match row.get(8)? {
        None => None,
        Some(status) => {
            let body: Option<Vec<u8>> = row.get(11)?;
            Some(StoredFinal { status, body: body.unwrap_or_default(), ended: row.get(9)? })
        }
    };
    let stored = Stored {
        key: RequestKey { client: row.get(1)?, id: row.get(2)? },
        digest: row.get(3)?,
        lane: row.get(4)?,
        accepted: row.get(5)?,
        budget: row.get::<_, Option<u64>>(6)?.map(std::time::Duration::from_millis),
        attempts: row.get(7)?,
        spec: row.get(10)?,
        finished,
    };
    Ok(RequestRow { seq: row.get(0)?, stored })
}

fn not_found(key: &RequestKey) -> Error {
    let RequestKey { client, id } = key;
    Error::new(ErrorKind::RequestNotFound, format!("no unfinished request `{id}` is known"))
        .with_detail(format!("of {client}, in the store"))
}

impl Db {
    pub(super) fn row(&self, key: &RequestKey) -> Result<Option<RequestRow>> {
        let mut statement = self.conn.prepare_cached(select!("WHERE client = ?1 AND id = ?2"))?;
        statement.query_row([key.client.as_str(), key.id.as_str()], read).optional()
    }

    pub(super) fn row_at(&self, seq: u64) -> Result<Option<RequestRow>> {
        self.conn.prepare_cached(select!("WHERE seq = ?1"))?.query_row([seq], read).optional()
    }

    pub(super) fn find_by_digest(&self, client: &ClientId, digest: &Digest) -> Applied<Reply> {
        let newest = select!("WHERE client = ?1 AND digest = ?2 ORDER BY seq DESC LIMIT 1");
        let mut statement = self.conn.prepare_cached(newest)?;
        let row = statement.query_row(params![client.as_str(), digest.0], read).optional()?;
        Ok(Reply::Found(row.map(|row| Box::new(row.stored))))
    }

    pub(super) fn unfinished(&self) -> Applied<Reply> {
        let mut statement = self.conn.prepare_cached(select!("WHERE status IS NULL ORDER BY seq"))?;
        let rows = statement.query_map([], |row| read(row).map(|row| row.stored))?;
        Ok(Reply::Unfinished(rows.collect::<Result<_>>()?))
    }

    pub(super) fn accept(&mut self, new: &NewRequest) -> Applied<Reply> {
        if let Some(row) = self.row(&new.key)? {
            return Ok(Reply::Accepted(Accepted::Known(Box::new(row.stored))));
        }
        self.need_disk()?;
        self.need_request(room::bytes_of_request(new))?;
        self.insert(new)?;
        Ok(Reply::Accepted(Accepted::New))
    }

    fn insert(&mut self, new: &NewRequest) -> Result<u64> {
        let seq = self.counts.next_request;
        let insert = concat!(
            "INSERT INTO requests (seq, client, id, digest, lane, accepted, budget_ms, attempts, seal, spec) ",
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ",
            unsealed!(),
            ", ?8)"
        );
        self.conn.prepare_cached(insert)?.execute(params![
            seq,
            new.key.client.as_str(),
            new.key.id.as_str(),
            new.digest.0,
            new.lane.name(),
            StampText(&new.accepted),
            new.budget.map(millis),
            new.spec,
        ])?;
        self.seal_request(seq)?;
        self.counts.next_request += 1;
        self.counts.requests += 1;
        self.counts.unfinished += 1;
        self.counts.requests_bytes += room::bytes_of_request(new);
        Ok(seq)
    }

    fn seal_request(&self, seq: u64) -> Result<()> {
        let seal = concat!("UPDATE requests SET seal = ", request_seal!(), " WHERE seq = ?1");
        self.conn.prepare_cached(seal)?.execute([seq]).map(drop)
    }

    /// Counts a start, or takes one back.
    pub(super) fn attempt(&mut self, key: &RequestKey, by: i32) -> Applied<Reply> {
        let row = self.row(key)?.filter(|row| row.stored.finished.is_none()).ok_or_else(|| not_found(key))?;
        let attempts = row.stored.attempts.saturating_add_signed(by);
        self.conn
            .prepare_cached("UPDATE requests SET attempts = ?2 WHERE seq = ?1")?
            .execute(params![row.seq, attempts])?;
        self.seal_request(row.seq)?;
        Ok(Reply::Attempts(attempts))
    }

    pub(super) fn forget(&mut self, key: &RequestKey) -> Applied<Reply> {
        let row = self.row(key)?.filter(|row| row.stored.finished.is_none());
        if let Some(row) = &row {
            self.remove_request(row.seq)?;
            self.counts.unfinished -= 1;
        }
        Ok(Reply::Forgotten(row.is_some()))
    }

    /// Removes a row; whether it may go is decided by who calls. One whose final is in the outbox
    /// cannot go: the outbox refers to it.
    pub(super) fn remove_request(&mut self, seq: u64) -> Result<()> {
        let remove = concat!("DELETE FROM requests WHERE seq = ?1 RETURNING ", request_bytes!());
        let bytes: Option<u64> =
            self.conn.prepare_cached(remove)?.query_row([seq], |r| r.get(0)).optional()?;
        if let Some(bytes) = bytes {
            self.counts.requests -= 1;
            self.counts.requests_bytes -= bytes;
            self.quota_reached = None;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, finish: &Finish) -> Applied<Reply> {
        let seq = match (self.row(&finish.key)?, &finish.insert) {
            (Some(RequestRow { seq, stored }), insert) => {
                if insert.as_ref().is_some_and(|new| new.digest != stored.digest) {
                    let words = format!("the id `{}` stands for another request", finish.key.id);
                    return Err(Error::new(ErrorKind::IdConflict, words).into());
                }
                if let Some(first) = stored.finished {
                    return Ok(Reply::Finished(Finished::Already(first)));
                }
                seq
            }
            (None, Some(new)) if new.key == finish.key => {
                // It is answered in any case, and cannot be told to come again.
                self.make_room(room::bytes_of_request(new))?;
                self.insert(new)?
            }
            (None, Some(new)) => {
                let words = format!("a final of {:?} came with the request {:?}", finish.key, new.key);
                return Err(Error::internal(words).into());
            }
            (None, None) => return Err(not_found(&finish.key).into()),
        };
        self.put_final(seq, finish)?;
        let outbox =
            finish.message.as_ref().map(|message| self.put_message(Some(seq), message)).transpose()?;
        if let Some(usage) = &finish.usage {
            self.book(&finish.key.client, UtcDay::of(finish.ended.wall), 1, usage)?;
        }
        Ok(Reply::Finished(Finished::Stored { outbox }))
    }

    /// The spec has done its work when the final is there.
    fn put_final(&mut self, seq: u64, finish: &Finish) -> Result<()> {
        let spec: u64 = self
            .conn
            .prepare_cached("SELECT length(spec) FROM requests WHERE seq = ?1")?
            .query_row([seq], |r| r.get(0))?;
        let put = "UPDATE requests SET status = ?2, ended = ?3, body = ?4, spec = x'' WHERE seq = ?1";
        self.conn.prepare_cached(put)?.execute(params![
            seq,
            finish.status,
            StampText(&finish.ended),
            finish.body
        ])?;
        self.seal_request(seq)?;
        self.counts.unfinished -= 1;
        self.counts.requests_bytes = self.counts.requests_bytes - spec + finish.body.len() as u64;
        Ok(())
    }
}
