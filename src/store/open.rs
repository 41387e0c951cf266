//! From a folder to a database that can be trusted, or to words why not.

use std::{io, path::Path, sync::Arc};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{
    db::Db,
    error::{Meaning, OpenError, meaning},
    home::{Found, Home},
    options::{OnCorruption, Opened, Quotas, StoreOptions},
    pragma, schema,
};
use crate::domain::{Clock, Error, Result as Answer, limits};

/// What stands between a file and its use.
pub(super) enum Trouble {
    /// The file is not what was written.
    Corrupt(String),
    /// Anything else.
    Stop(OpenError),
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        Self::Stop(error)
    }
}

impl Db {
    /// Opens or makes the database in the options' folder. Checks all of it, up to
    /// [`limits::STORE_CHECK_BYTES_MAX`]: that takes about as long as reading the file.
    pub fn open(options: StoreOptions, clock: Arc<dyn Clock>) -> Result<(Self, Opened), OpenError> {
        let home = Home::take(&options.dir)?;
        let path = home.path.clone();
        let io = |e: io::Error| OpenError::io(&path, e);
        let (conn, opened) = if let Some(found) = home.found()? {
            match existing(&path, &found) {
                Ok(conn) => (conn, Opened::Sound),
                Err(Trouble::Stop(error)) => return Err(error),
                Err(Trouble::Corrupt(reason)) => {
                    let moved_to = home.set_aside().map_err(io)?;
                    if options.on_corruption == OnCorruption::Stop {
                        return Err(OpenError::Corrupt { path, moved_to, reason });
                    }
                    (create(&home)?, Opened::StartedEmpty { moved_to, reason })
                }
            }
        } else {
            // A restart is no decision to start empty.
            if options.on_corruption == OnCorruption::Stop
                && let Some(moved_to) = home.last_aside().map_err(io)?
            {
                let reason = "found at an earlier start".to_owned();
                return Err(OpenError::Corrupt { path, moved_to, reason });
            }
            (create(&home)?, Opened::Created)
        };
        home.cleared().map_err(io)?;
        let db = Self::over(conn, Some(home), options.quotas, options.free_bytes_min, clock);
        Ok((db.map_err(|e| opening(&path, &e))?, opened))
    }

    /// A database that ends with this value. For tests and simulators.
    pub fn open_in_memory(quotas: Quotas, clock: Arc<dyn Clock>) -> Answer<Self> {
        let make = || {
            let conn = Connection::open_in_memory()?;
            pragma::prepare(&conn)?;
            schema::add_functions(&conn)?;
            schema::migrate(&conn, schema::STEPS)?;
            Self::over(conn, None, quotas, 0, clock)
        };
        let db: rusqlite::Result<Self> = make();
        db.map_err(Error::internal)
    }

    /// A database in memory with everything that was in another at its [`Self::snapshot`]. A power
    /// cut is played with the snapshot of the last durable commit.
    pub fn from_snapshot(snapshot: &[u8], quotas: Quotas, clock: Arc<dyn Clock>) -> Answer<Self> {
        let make = || {
            let mut conn = Connection::open_in_memory()?;
            conn.deserialize_read_exact("main", snapshot, snapshot.len(), false)?;
            schema::add_functions(&conn)?;
            Self::over(conn, None, quotas, 0, clock)
        };
        let db: rusqlite::Result<Self> = make();
        db.map_err(Error::internal)
    }
}

/// Makes an empty database and opens it.
fn create(home: &Home) -> Result<Connection, OpenError> {
    let draft = home.draft();
    home.clear_draft().map_err(|e| OpenError::io(&draft, e))?;
    let make = || {
        let conn = connect(&draft)?;
        pragma::prepare(&conn)?;
        conn.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        schema::migrate(&conn, schema::STEPS)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        conn.close().map_err(|(_, e)| e)
    };
    make().map_err(|e| opening(&draft, &e))?;
    home.publish_draft().map_err(|e| OpenError::io(&home.path, e))?;
    let found = home.found()?.unwrap_or(Found { bytes: 0, suspect: false });
    existing(&home.path, &found).map_err(|trouble| match trouble {
        Trouble::Stop(error) => error,
        Trouble::Corrupt(reason) => {
            let source = io::Error::other(format!("the disk does not keep what is written to it: {reason}"));
            OpenError::Io { path: home.path.clone(), source }
        }
    })
}

/// Opens a database that is there, and checks it. Changes nothing in one that is not sound.
fn existing(path: &Path, found: &Found) -> Result<Connection, Trouble> {
    if found.bytes == 0 {
        return Err(Trouble::Corrupt("the file is empty or gone".into()));
    }
    let trouble = |e: rusqlite::Error| match opening_meaning(&e) {
        Meaning::Corrupt => Trouble::Corrupt(e.to_string()),
        _ => Trouble::Stop(opening(path, &e)),
    };
    let conn = connect(path).map_err(trouble)?;
    identity(&conn, path, trouble)?;
    pragma::enforce(&conn, path, trouble)?;
    schema::add_functions(&conn).map_err(trouble)?;
    let check = found.suspect || found.bytes <= limits::STORE_CHECK_BYTES_MAX;
    if check {
        pages(&conn).map_err(trouble)?.map_or(Ok(()), |reason| Err(Trouble::Corrupt(reason)))?;
    } else {
        tracing::warn!(bytes = found.bytes, "the store is too large to be checked at every start");
    }
    schema::migrate(&conn, schema::STEPS).map_err(trouble)?;
    rows(&conn, check).map_err(trouble)?.map_or(Ok(()), |reason| Err(Trouble::Corrupt(reason)))?;
    Ok(conn)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // A file that turns out not to be sound, or not ours, is left byte for byte as it is.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(limits::STORE_LOCK_PATIENCE)?;
    // Before the first look at the log: its index is then in memory and not in a file.
    conn.pragma_update(None, "locking_mode", "exclusive")?;
    Ok(conn)
}

/// Whether it is ours, and of a schema that this build knows.
fn identity(
    conn: &Connection,
    path: &Path,
    trouble: impl Fn(rusqlite::Error) -> Trouble + Copy,
) -> Result<(), Trouble> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(trouble);
    if pragma("application_id")? != schema::APPLICATION_ID {
        return Err(Trouble::Corrupt("it is a database, but not one of Outpost's".into()));
    }
    let schema = pragma("user_version")?;
    // Said twice, so that one flipped bit does not look like a newer Outpost.
    let again = "SELECT value FROM meta WHERE name = 'schema'";
    if conn.query_row(again, [], |row| row.get::<_, i64>(0)).map_err(trouble)? != schema || schema < 1 {
        return Err(Trouble::Corrupt("its version is not clear".into()));
    }
    // The file itself was opened for writing before.
    if conn.is_readonly("main").map_err(trouble)? {
        return Err(Trouble::Corrupt("its header forbids to write it".into()));
    }
    let known = schema::STEPS.len() as i64;
    if schema > known {
        return Err(OpenError::TooNew { path: path.to_owned(), schema, known }.into());
    }
    Ok(())
}

/// What is wrong with the pages, indexes and references. Also compares each index with its table:
/// with thousands of rows the reading is what takes time.
fn pages(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Ok(Some(found));
    }
    let dangling = conn.prepare("PRAGMA foreign_key_check")?.exists([])?;
    Ok(dangling.then(|| "the outbox names requests that are not there".into()))
}

/// What is wrong with the tables and, when `seals` are looked at, with their rows.
fn rows(conn: &Connection, seals: bool) -> rusqlite::Result<Option<String>> {
    if schema::described(conn)? != schema::intended()? {
        return Ok(Some("its tables are not those of its version".into()));
    }
    for (table, query) in schema::UNSOUND.iter().filter(|_| seals) {
        let unsound: i64 = conn.query_row(query, [], |row| row.get(0))?;
        if unsound > 0 {
            return Ok(Some(format!("{unsound} rows of {table} are not what was written")));
        }
    }
    Ok(None)
}

/// What an error means while a file is opened that this user may write: SQLite is only refused
/// such a file, or does not understand its own words, when the file is wrong.
fn opening_meaning(error: &rusqlite::Error) -> Meaning {
    match (meaning(error), error.sqlite_error_code()) {
        (Meaning::Failed, Some(code)) if code == ErrorCode::ReadOnly || is_short_read(error) => {
            Meaning::Corrupt
        }
        (Meaning::Other, code) if code != Some(ErrorCode::OutOfMemory) => Meaning::Corrupt,
        (meaning, _) => meaning,
    }
}

fn is_short_read(error: &rusqlite::Error) -> bool {
    const IOERR_SHORT_READ: i32 = 522;
    error.sqlite_error().is_some_and(|e| e.extended_code == IOERR_SHORT_READ)
}

fn opening(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match meaning(error) {
        Meaning::Full => OpenError::NoSpace { path, source: io::Error::other(error.to_string()) },
        Meaning::Busy => OpenError::InUse { path },
        _ => OpenError::Io { path, source: io::Error::other(error.to_string()) },
    }
}
