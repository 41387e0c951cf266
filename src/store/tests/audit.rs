//! The audit on disk.

use super::*;
use crate::domain::{MicroUsd, Zone};

fn entry(n: u64, event: AuditEvent) -> AuditEntry {
    AuditEntry {
        at: TestClock::new().stamp(),
        event,
        key: key("r"),
        zone: Zone::Cloud,
        provider: "scaleway".into(),
        model: "org/name".into(),
        rule: "telemetry".into(),
        reason: "x".repeat(n as usize),
        sent: Some(Digest([n as u8; 32])),
        bytes_out: n,
        bytes_in: 0,
        cost: Some(MicroUsd(n)),
        settles: None,
    }
}

fn append(db: &mut Db, n: u64) -> AuditHead {
    match run(db, Op::Audit(Box::new(entry(n, AuditEvent::Sent)))).unwrap() {
        Reply::Audited(head) => head,
        other => panic!("{other:?}"),
    }
}

fn rows(db: &mut Db, after: u64) -> (AuditHead, Vec<AuditRow>) {
    match run(db, Op::Audited { after, limit: 1_000 }).unwrap() {
        Reply::Audit(start, rows) => (start, rows),
        other => panic!("{other:?}"),
    }
}

fn head(db: &mut Db) -> AuditHead {
    db.counters().snapshot(Health::Sound, Duration::ZERO).audit_head
}

#[test]
fn the_chain_goes_on_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    assert_eq!(head(&mut db), AuditHead::GENESIS);
    let first = append(&mut db, 1);
    db.close().unwrap();
    drop(db);
    let (mut db, _) = open_db(options(dir.path()));
    let second = append(&mut db, 2);
    assert_eq!((first.seq, second.seq, head(&mut db)), (1, 2, second));
    let (start, all) = rows(&mut db, 0);
    assert_eq!(verify(start, &all), Ok(second));
    assert_eq!(rows(&mut db, 1), (first, all[1..].to_vec()));
    assert_eq!(rows(&mut db, 99).1, Vec::new());
}

#[test]
fn what_is_too_old_goes_and_the_rest_still_holds() {
    let dir = tempfile::tempdir().unwrap();
    let quotas = Quotas { audit_rows: 3, ..Quotas::default() };
    let (mut db, _) = open_db(StoreOptions { quotas, ..options(dir.path()) });
    let heads: Vec<AuditHead> = (1..=5).map(|n| append(&mut db, n)).collect();
    let (start, kept) = rows(&mut db, 0);
    assert_eq!((start, kept.len()), (heads[1], 3));
    assert_eq!(verify(start, &kept), Ok(heads[4]));
    db.close().unwrap();
    drop(db);
    let quotas = Quotas { audit_bytes: 1, ..Quotas::default() };
    let (mut db, _) = open_db(StoreOptions { quotas, ..options(dir.path()) });
    let last = append(&mut db, 6);
    assert_eq!(rows(&mut db, 0), (last, Vec::new()), "even an empty chain knows its place");
    assert_eq!(head(&mut db), last);
}

#[test]
fn a_file_of_the_version_before_gets_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    accept(&mut db, "a").unwrap();
    // As the first version left it.
    db.conn
        .execute_batch("DROP TABLE egress; DROP TABLE audit; DROP TABLE audit_base; PRAGMA user_version = 1;")
        .unwrap();
    db.conn.execute("UPDATE meta SET value = 1 WHERE name = 'schema'", []).unwrap();
    db.close().unwrap();
    drop(db);
    let (mut db, opened) = open_db(options(dir.path()));
    assert_eq!(opened, Opened::Sound);
    assert!(found(&mut db, "a").is_some());
    assert_eq!(append(&mut db, 1).seq, 1);
}
