//! Opening: what is in effect, what is refused, what is made.

use std::{fs, os::unix::fs::PermissionsExt};

use rusqlite::Connection;

use super::{super::schema, *};

#[test]
fn a_new_store_is_made_for_its_owner_alone_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("var/outpost");
    let (mut db, opened) = open_db(options(&inner));
    assert_eq!(opened, Opened::Created);
    accept(&mut db, "a").unwrap();
    drop(db);
    for file in ["outpost.db", "outpost.db-wal", "outpost.lock"] {
        let mode = fs::metadata(inner.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    fs::set_permissions(inner.join("outpost.db"), PermissionsExt::from_mode(0o644)).unwrap();
    let (mut db, opened) = open_db(options(&inner));
    assert_eq!(opened, Opened::Sound);
    assert!(found(&mut db, "a").is_some());
    assert_eq!(fs::metadata(inner.join("outpost.db")).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(&inner).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "no draft and no index of the log is left: {names:?}");
}

#[test]
fn what_durability_needs_is_in_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    let text = |db: &Db, name: &str| {
        let value = |r: &rusqlite::Row<'_>| r.get::<_, rusqlite::types::Value>(0);
        match db.conn.pragma_query_value(None, name, value).unwrap() {
            rusqlite::types::Value::Integer(i) => i.to_string(),
            rusqlite::types::Value::Text(s) => s,
            other => panic!("{other:?}"),
        }
    };
    for (name, wanted) in [
        ("journal_mode", "wal"),
        ("locking_mode", "exclusive"),
        ("foreign_keys", "1"),
        ("temp_store", "2"),
        ("secure_delete", "0"),
        ("mmap_size", "0"),
        ("cell_size_check", "1"),
        ("auto_vacuum", "2"),
        ("wal_autocheckpoint", "0"),
        ("busy_timeout", "2000"),
        ("page_size", "4096"),
        ("synchronous", "2"),
    ] {
        assert_eq!(text(&db, name), wanted, "{name}");
    }
    accept(&mut db, "a").unwrap();
    run(&mut db, Op::Begin(key("a"))).unwrap();
    assert_eq!(text(&db, "synchronous"), "1", "after an attempt");
    end(&mut db, finish("a")).unwrap();
    assert_eq!(text(&db, "synchronous"), "2", "after a final");
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (db, _) = open_db(options(dir.path()));
    let error = Db::open(options(dir.path()), TestClock::new()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
    // Also when the file itself looks free to take.
    let (path, away) = (dir.path().join("outpost.db"), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    let error = Db::open(options(dir.path()), TestClock::new()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    fs::rename(&away, &path).unwrap();
    drop(db);
    assert_eq!(open_db(options(dir.path())).1, Opened::Sound);
}

#[test]
fn a_file_that_another_program_holds_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_db(options(dir.path())));
    let other = Connection::open(dir.path().join("outpost.db")).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM wear;").unwrap();
    let error = Db::open(options(dir.path()), TestClock::new()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(other);
    assert_eq!(open_db(options(dir.path())).1, Opened::Sound);
}

#[test]
fn a_newer_schema_is_refused_and_not_one_byte_of_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    db.close().unwrap();
    drop(db);
    let path = dir.path().join("outpost.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA user_version = 99; UPDATE meta SET value = 99; CREATE TABLE future (x)")
        .unwrap();
    conn.close().unwrap();
    let before = fs::read(&path).unwrap();
    let error = Db::open(options(dir.path()), TestClock::new()).err().unwrap();
    assert!(matches!(error, OpenError::TooNew { schema: 99, .. }), "{error}");
    assert!(error.to_string().contains("start the newer Outpost"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn steps_are_gone_once_each_and_a_failing_one_leaves_no_trace() {
    let conn = Connection::open_in_memory().unwrap();
    let first = &schema::STEPS[..1];
    schema::migrate(&conn, first).unwrap();
    schema::migrate(&conn, first).unwrap();
    let second = [schema::STEPS[0], "CREATE TABLE more (x); INSERT INTO more VALUES (1);"];
    let broken = [second[0], "CREATE TABLE more (x); INSERT INTO nowhere VALUES (1);"];
    assert!(schema::migrate(&conn, &broken).is_err());
    let version = |conn: &Connection| conn.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0));
    assert_eq!((version(&conn), conn.table_exists(None, "more")), (Ok(1), Ok(false)));
    schema::migrate(&conn, &second).unwrap();
    schema::migrate(&conn, &second).unwrap();
    let count = conn.query_row("SELECT count(*) FROM more", [], |r| r.get::<_, i64>(0));
    assert_eq!((version(&conn), count), (Ok(2), Ok(1)));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    // Root may write anywhere but here; others may not write to a folder of mode 0500 either.
    let error = Db::open(options(Path::new("/sys")), TestClock::new()).err().unwrap();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("/sys") && error.to_string().contains("store.path"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    if !rustix::process::geteuid().is_root() {
        drop(open_db(options(dir.path())));
        fs::set_permissions(dir.path().join("outpost.db"), PermissionsExt::from_mode(0o400)).unwrap();
        let error = Db::open(options(dir.path()), TestClock::new()).err().unwrap();
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    }
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Db::open(options(&file), TestClock::new()).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}
