//! What SQLite is told, and that it does it.

use std::path::Path;

use rusqlite::{Connection, Result, types::Value};

use super::{error::OpenError, open::Trouble, schema};
use crate::domain::limits;

/// Settings of a connection, each asked back after it is set.
///
/// - The log is brought into the file under our own control; beyond its bound it is cut back.
/// - `synchronous` starts at FULL and goes to NORMAL and back as commits need it.
/// - Nothing is mapped: a disk that fails is an error, not a signal.
/// - Deleted rows are not overwritten; that would double the wear.
fn settings() -> [(&'static str, Value); 12] {
    let text = |s: &str| Value::Text(s.into());
    [
        ("locking_mode", text("exclusive")),
        ("journal_mode", text("wal")),
        ("synchronous", Value::Integer(2)),
        ("foreign_keys", Value::Integer(1)),
        ("temp_store", Value::Integer(2)),
        ("secure_delete", Value::Integer(0)),
        ("busy_timeout", Value::Integer(limits::STORE_LOCK_PATIENCE.as_millis() as i64)),
        ("wal_autocheckpoint", Value::Integer(0)),
        ("journal_size_limit", Value::Integer(limits::STORE_WAL_BYTES_MAX as i64)),
        ("mmap_size", Value::Integer(0)),
        ("cell_size_check", Value::Integer(1)),
        ("cache_size", Value::Integer(-limits::STORE_CACHE_KIB)),
    ]
}

/// What can only be decided before a database has its first table.
pub(super) fn prepare(conn: &Connection) -> Result<()> {
    conn.pragma_update(None, "page_size", schema::PAGE_BYTES as i64)?;
    conn.pragma_update(None, "encoding", "UTF-8")?;
    // Incremental: the file shrinks when pruning says so.
    conn.pragma_update(None, "auto_vacuum", 2)
}

/// Sets everything, and asserts what is then in effect.
pub(super) fn enforce(
    conn: &Connection,
    path: &Path,
    trouble: impl Fn(rusqlite::Error) -> Trouble + Copy,
) -> Result<(), Trouble> {
    let ask = |name| conn.pragma_query_value(None, name, |row| row.get::<_, Value>(0)).map_err(trouble);
    // These are properties of the file. Another value is not a setting, but damage.
    for (name, wanted) in [
        ("page_size", Value::Integer(schema::PAGE_BYTES as i64)),
        ("encoding", Value::Text("UTF-8".into())),
        ("auto_vacuum", Value::Integer(2)),
    ] {
        let found = ask(name)?;
        if found != wanted {
            return Err(Trouble::Corrupt(format!("its {name} is {found:?} and not {wanted:?}")));
        }
    }
    for (name, wanted) in settings() {
        conn.pragma_update(None, name, &wanted).map_err(trouble)?;
        let found = ask(name)?;
        if found != wanted {
            let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
            return Err(OpenError::Pragma { path: path.to_owned(), name, wanted, found }.into());
        }
    }
    Ok(())
}

/// Whether commits wait for the disk.
pub(super) fn set_synchronous(conn: &Connection, full: bool) -> Result<()> {
    conn.pragma_update(None, "synchronous", if full { 2 } else { 1 })
}
