//! Calls to providers: on record before, settled once, never forgotten.

use super::*;
use crate::domain::{MicroUsd, Zone};

fn entry(event: AuditEvent, settles: Option<u64>) -> AuditEntry {
    AuditEntry {
        at: TestClock::new().stamp(),
        event,
        key: key("r"),
        zone: Zone::Cloud,
        provider: "groq".into(),
        model: "o/m".into(),
        rule: "a".into(),
        reason: String::new(),
        sent: None,
        bytes_out: 100,
        bytes_in: 0,
        cost: Some(MicroUsd(70)),
        settles,
    }
}

fn send(db: &mut Db) -> u64 {
    let new = NewEgress { entry: entry(AuditEvent::Sent, None), session: "s".into(), reserved: MicroUsd(70) };
    match run(db, Op::Send(Box::new(new))).unwrap() {
        Reply::Audited(head) => head.seq,
        other => panic!("{other:?}"),
    }
}

fn settle(db: &mut Db, seq: u64, cost: u64) -> Reply {
    let usage = UsageEntry {
        zone: "cloud".into(),
        provider: "groq".into(),
        model: "o/m".into(),
        prompt_tokens: 1,
        completion_tokens: 1,
        bytes_out: 100,
        cost_micro_usd: cost,
    };
    let settlement = Settlement { entry: entry(AuditEvent::Settled, Some(seq)), usage, requests: 1 };
    run(db, Op::Settle(Box::new(settlement))).unwrap()
}

fn open(db: &mut Db) -> Vec<(u64, MicroUsd)> {
    match run(db, Op::OpenEgress).unwrap() {
        Reply::Egress(open) => open.into_iter().map(|egress| (egress.seq, egress.cost)).collect(),
        other => panic!("{other:?}"),
    }
}

fn booked(db: &mut Db) -> u64 {
    match run(db, Op::Usage(UsageQuery::default())).unwrap() {
        Reply::Usage(rows) => rows.iter().map(|row| row.sums.cost_micro_usd).sum(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_settled_once_and_until_then_it_is_known_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    let (first, second) = (send(&mut db), send(&mut db));
    assert_eq!(settle(&mut db, first, 30), Reply::Settled(true));
    assert_eq!(settle(&mut db, first, 30), Reply::Settled(false), "a second time changes nothing");
    db.close().unwrap();
    drop(db);
    let (mut db, opened) = open_db(options(dir.path()));
    assert_eq!(opened, Opened::Sound);
    assert_eq!(open(&mut db), [(second, MicroUsd(70))]);
    assert_eq!(booked(&mut db), 30);
    assert_eq!(settle(&mut db, second, 70), Reply::Settled(true));
    assert_eq!((open(&mut db).len(), booked(&mut db)), (0, 100));
    assert_eq!(settle(&mut db, 99, 5), Reply::Settled(false), "no such call");
}

#[test]
fn the_month_of_a_day_begins_with_its_first() {
    // 2026-11-23 and 2026-11-01, days since 1970.
    assert_eq!(UtcDay(20_780).month(), UtcDay(20_758));
    assert_eq!(UtcDay(20_758).month(), UtcDay(20_758));
    assert_eq!(UtcDay(0).month(), UtcDay(0), "no clock, no month");
    assert_eq!(UtcDay(i64::MAX).month(), UtcDay(0));
}
