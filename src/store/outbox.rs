//! The outbox: messages until the broker has them.

use rusqlite::{OptionalExtension, Result, Row, params};

use super::{
    account::message_bytes,
    column::{StampText, count, millis},
    db::{Applied, Db, unsound},
    op::Reply,
    record::{Message, NewMessage},
    room,
    schema::{message_seal, unsealed},
};
use crate::domain::{Error, limits};

/// A message and where its payload is when it has none of its own.
fn read(row: &Row<'_>) -> Result<(Message, Option<u64>)> {
    let sound: bool = row.get(9)?;
    if !sound {
        return Err(unsound("a row of the outbox is not what was written"));
    }
    let expires = match (row.get(5)?, row.get(6)?) {
        (Some(from), Some(ms)) => Some((from, std::time::Duration::from_millis(ms))),
        _ => None,
    };
    let payload: Option<Vec<u8>> = row.get(8)?;
    let request: Option<u64> = row.get(1)?;
    if payload.is_none() && request.is_none() {
        return Err(unsound("a message has no payload"));
    }
    let message = Message {
        seq: row.get(0)?,
        topic: row.get(2)?,
        retain: row.get(3)?,
        stored: row.get(4)?,
        expires,
        properties: row.get(7)?,
        key: None,
        payload: payload.clone().unwrap_or_default(),
    };
    Ok((message, request))
}

impl Db {
    pub(super) fn publish(&mut self, message: &NewMessage) -> Applied<Reply> {
        if message.payload.is_none() {
            return Err(Error::internal("a message without a request came without a payload").into());
        }
        self.need_disk()?;
        self.need_message(room::bytes_of_message(message))?;
        Ok(Reply::Published(self.put_message(None, message)?))
    }

    pub(super) fn put_message(&mut self, request: Option<u64>, message: &NewMessage) -> Result<u64> {
        let seq = self.counts.next_message;
        let insert = concat!(
            "INSERT INTO outbox ",
            "(seq, request, topic, retain, stored, expires, expires_ms, seal, properties, payload) ",
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ",
            unsealed!(),
            ", ?8, ?9)"
        );
        self.conn.prepare_cached(insert)?.execute(params![
            seq,
            request,
            message.topic,
            message.retain,
            StampText(&self.clock.stamp()),
            message.expires.as_ref().map(|(from, _)| StampText(from)),
            message.expires.as_ref().map(|(_, after)| millis(*after)),
            message.properties,
            message.payload,
        ])?;
        let seal = concat!("UPDATE outbox SET seal = ", message_seal!(), " WHERE seq = ?1");
        self.conn.prepare_cached(seal)?.execute([seq])?;
        self.counts.next_message += 1;
        self.counts.messages += 1;
        self.counts.outbox_bytes += room::bytes_of_message(message);
        Ok(seq)
    }

    pub(super) fn delivered(&mut self, seq: u64) -> Applied<Reply> {
        self.remove_message(seq)?;
        Ok(Reply::Done)
    }

    /// Removes a message, if it is there.
    pub(super) fn remove_message(&mut self, seq: u64) -> Result<()> {
        let remove = concat!("DELETE FROM outbox WHERE seq = ?1 RETURNING ", message_bytes!());
        let bytes: Option<u64> =
            self.conn.prepare_cached(remove)?.query_row([count(seq)], |r| r.get(0)).optional()?;
        if let Some(bytes) = bytes {
            self.counts.messages -= 1;
            self.counts.outbox_bytes -= bytes;
            self.quota_reached = None;
        }
        Ok(())
    }

    pub(super) fn undelivered(&self, after: u64, limit: usize) -> Applied<Reply> {
        let select = concat!(
            "SELECT seq, request, topic, retain, stored, expires, expires_ms, properties, payload, seal = ",
            message_seal!(),
            ", payload IS NULL FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        );
        let limit = limit.min(limits::STORE_READ_ROWS_MAX);
        let mut messages = Vec::new();
        let mut statement = self.conn.prepare_cached(select)?;
        let mut rows = statement.query(params![count(after), limit])?;
        while let Some(row) = rows.next()? {
            let (mut message, request) = read(row)?;
            if let Some(request) = request {
                let request =
                    self.row_at(request)?.ok_or_else(|| unsound("a final's request is not there"))?;
                if row.get(10)? {
                    let last = request.stored.finished.ok_or_else(|| unsound("a message has no final"))?;
                    message.payload = last.body;
                }
                message.key = Some(request.stored.key);
            }
            messages.push(message);
        }
        Ok(Reply::Messages(messages))
    }
}
