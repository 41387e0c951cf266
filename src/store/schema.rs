//! The tables, and how a file of an older Outpost becomes one of this one.
//!
//! Blobs stand last in their tables, so that a look at the other columns does not read them. A
//! `seal` is a digest over all other columns of its row; the function of that name makes it.

use rusqlite::{Connection, Result, functions::FunctionFlags, types::ValueRef};
use sha2::{Digest, Sha256};

/// `application_id`: "OPST".
pub(super) const APPLICATION_ID: i64 = 0x4f50_5354;
/// Bytes per page; the usual block of a file system.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Each step leads one `user_version` further, in one transaction. Never change one that was
/// released: add the next.
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE requests (
        seq INTEGER PRIMARY KEY,
        client TEXT NOT NULL,
        id TEXT NOT NULL,
        digest BLOB NOT NULL,
        lane TEXT NOT NULL,
        accepted TEXT NOT NULL,
        budget_ms INTEGER,
        attempts INTEGER NOT NULL,
        status INTEGER,
        ended TEXT,
        seal BLOB NOT NULL,
        spec BLOB NOT NULL,
        body BLOB,
        UNIQUE (client, id)
    ) STRICT;
    CREATE INDEX requests_by_digest ON requests (client, digest);
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY,
        request INTEGER REFERENCES requests (seq),
        topic TEXT NOT NULL,
        retain INTEGER NOT NULL,
        stored TEXT NOT NULL,
        expires TEXT,
        expires_ms INTEGER,
        seal BLOB NOT NULL,
        properties BLOB NOT NULL,
        payload BLOB
    ) STRICT;
    CREATE UNIQUE INDEX outbox_by_request ON outbox (request) WHERE request IS NOT NULL;
    CREATE TABLE ledger (
        day INTEGER NOT NULL,
        client TEXT NOT NULL,
        zone TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        requests INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        cost_micro_usd INTEGER NOT NULL,
        seal BLOB NOT NULL,
        PRIMARY KEY (day, client, zone, provider, model)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE wear (
        day INTEGER PRIMARY KEY,
        bytes INTEGER NOT NULL,
        fsyncs INTEGER NOT NULL,
        seal BLOB NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE audit (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, line TEXT NOT NULL) STRICT;
    CREATE TABLE audit_base (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
",
    "
    CREATE TABLE egress (
        seq INTEGER PRIMARY KEY,
        session TEXT NOT NULL,
        client TEXT NOT NULL,
        id TEXT NOT NULL,
        zone TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        sent TEXT NOT NULL,
        bytes_out INTEGER NOT NULL,
        cost_micro_usd INTEGER NOT NULL,
        state INTEGER NOT NULL,
        seal BLOB NOT NULL
    ) STRICT;
",
];

/// A seal that is not made yet; as long as a real one, so that making it moves nothing.
macro_rules! unsealed {
    () => {
        "zeroblob(8)"
    };
}

macro_rules! request_seal {
    () => {
        "seal('requests', seq, client, id, digest, lane, accepted, budget_ms, attempts, status, ended, spec, body)"
    };
}

macro_rules! message_seal {
    () => {
        "seal('outbox', seq, request, topic, retain, stored, expires, expires_ms, properties, payload)"
    };
}

macro_rules! usage_seal {
    () => {
        "seal('ledger', day, client, zone, provider, model, requests, prompt_tokens, completion_tokens, bytes_out, \
         cost_micro_usd)"
    };
}

macro_rules! wear_seal {
    () => {
        "seal('wear', day, bytes, fsyncs)"
    };
}

macro_rules! egress_seal {
    () => {
        "seal('egress', seq, session, client, id, zone, provider, model, sent, bytes_out, cost_micro_usd, state)"
    };
}

pub(super) use {egress_seal, message_seal, request_seal, unsealed, usage_seal, wear_seal};

/// Per table, a query that counts the rows whose seal does not fit.
pub(super) const UNSOUND: [(&str, &str); 5] = [
    ("requests", concat!("SELECT count(*) FROM requests WHERE seal IS NOT ", request_seal!())),
    ("outbox", concat!("SELECT count(*) FROM outbox WHERE seal IS NOT ", message_seal!())),
    ("ledger", concat!("SELECT count(*) FROM ledger WHERE seal IS NOT ", usage_seal!())),
    ("egress", concat!("SELECT count(*) FROM egress WHERE seal IS NOT ", egress_seal!())),
    ("wear", concat!("SELECT count(*) FROM wear WHERE seal IS NOT ", wear_seal!())),
];

/// Makes the SQL function `seal` known: the first 8 bytes of SHA-256 over its arguments, each with
/// its type and length before it.
pub(super) fn add_functions(conn: &Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    conn.create_scalar_function("seal", -1, flags, |args| {
        let mut hash = Sha256::new();
        for n in 0..args.len() {
            let (kind, bytes): (u8, &[u8]) = match args.get_raw(n) {
                ValueRef::Null => (0, &[]),
                ValueRef::Integer(i) => (1, &i.to_le_bytes()),
                ValueRef::Real(r) => (2, &r.to_le_bytes()),
                ValueRef::Text(text) => (3, text),
                ValueRef::Blob(blob) => (4, blob),
            };
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Ok(hash.finalize()[..8].to_vec())
    })
}

/// Leads a database through the steps that it has not gone yet.
pub(super) fn migrate(conn: &Connection, steps: &[&str]) -> Result<()> {
    let done: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (n, step) in (1_i64..).zip(steps).filter(|(n, _)| *n > done) {
        let transaction = conn.unchecked_transaction()?;
        conn.execute_batch(step)?;
        conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('schema', ?1)", [n])?;
        conn.pragma_update(None, "user_version", n)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The tables and indexes as the file describes them.
pub(super) fn described(conn: &Connection) -> Result<Vec<(String, String, Option<String>)>> {
    let mut statement = conn.prepare(
        "SELECT name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name",
    )?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// The tables and indexes as they have to be.
pub(super) fn intended() -> Result<Vec<(String, String, Option<String>)>> {
    let conn = Connection::open_in_memory()?;
    migrate(&conn, STEPS)?;
    described(&conn)
}
