//! Quotas, age and full disks.

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn with_clock(dir: &Path, quotas: Quotas) -> (Db, Arc<TestClock>) {
    let clock = TestClock::new();
    let (db, _) =
        Db::open(StoreOptions { quotas, ..options(dir) }, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    (db, clock)
}

#[test]
fn at_the_quota_of_rows_the_oldest_delivered_final_goes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = with_clock(dir.path(), Quotas { requests_rows: 3, ..Quotas::default() });
    for name in ["undelivered", "delivered", "unfinished"] {
        accept(&mut db, name).unwrap();
    }
    end(&mut db, finish_with_message("undelivered")).unwrap();
    end(&mut db, finish("delivered")).unwrap();
    accept(&mut db, "d").unwrap();
    assert!(found(&mut db, "delivered").is_none());
    assert_eq!((stats(&db).pruned_early, stats(&db).requests_rows), (1, 3));

    is_full(accept(&mut db, "e"), "it keeps 3 requests and may keep 3");
    assert!(matches!(db.health(), Health::Full(_)));
    assert!(found(&mut db, "undelivered").is_some() && found(&mut db, "unfinished").is_some());

    // The final of what is accepted is always kept, and so is one that comes with its request.
    end(&mut db, finish_with_message("unfinished")).unwrap();
    end(&mut db, Finish { insert: Some(Box::new(request("sync"))), ..finish("sync") }).unwrap();
    let seq = waiting(&mut db)[0].seq;
    run(&mut db, Op::Delivered(seq)).unwrap();
    assert_eq!(db.health(), Health::Sound);
    accept(&mut db, "e").unwrap();
    assert!(found(&mut db, "undelivered").is_none(), "delivered now, and the oldest");
}

#[test]
fn at_the_quota_of_bytes_as_many_go_as_are_needed_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = with_clock(dir.path(), Quotas { requests_bytes: 8_000, ..Quotas::default() });
    let sized =
        |name: &str, bytes| Op::Accept(Box::new(NewRequest { spec: vec![1; bytes], ..request(name) }));
    for name in ["a", "b", "c"] {
        run(&mut db, sized(name, 1_000)).unwrap();
        end(&mut db, Finish { body: vec![2; 1_500], ..finish(name) }).unwrap();
    }
    is_full(run(&mut db, sized("huge", 9_000)), "bytes and may take 8000");
    assert_eq!(stats(&db).requests_rows, 3, "no sacrifice in vain");
    run(&mut db, sized("unfinished", 1)).unwrap();
    is_full(run(&mut db, sized("too-large", 7_400)), "bytes and may take 8000");
    assert_eq!(stats(&db).requests_rows, 4);
    assert!(run(&mut db, Op::Forget(key("unfinished"))).is_ok());
    run(&mut db, sized("large", 5_000)).unwrap();
    assert_eq!((stats(&db).requests_rows, stats(&db).pruned_early), (2, 2));
    assert!(found(&mut db, "c").is_some());
    assert_eq!(db.counts, Counts::load(&db.conn).map(|c| Counts { pruned_early: 2, ..c }).unwrap());
}

#[test]
fn a_final_is_forgotten_after_its_time_and_never_before_it_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, clock) = with_clock(dir.path(), Quotas::default());
    for name in ["delivered", "undelivered", "unfinished"] {
        accept(&mut db, name).unwrap();
    }
    end(&mut db, finish("delivered")).unwrap();
    end(&mut db, finish_with_message("undelivered")).unwrap();
    clock.advance(23 * HOUR);
    assert_eq!(pruned(&mut db), Pruned::default());
    clock.advance(HOUR);
    assert_eq!(pruned(&mut db), Pruned { requests: 1, ..Pruned::default() });
    clock.advance(5 * 24 * HOUR);
    assert_eq!(pruned(&mut db), Pruned::default());
    assert_eq!(waiting(&mut db).len(), 1);

    run(&mut db, Op::Delivered(1)).unwrap();
    assert_eq!(pruned(&mut db), Pruned { requests: 1, ..Pruned::default() });
    clock.advance(1_000 * 24 * HOUR);
    assert_eq!(pruned(&mut db), Pruned { ledger: 3, ..Pruned::default() }, "three days of wear");
    assert!(found(&mut db, "unfinished").is_some());
}

#[test]
fn a_message_waits_a_week_or_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, clock) = with_clock(dir.path(), Quotas { outbox_rows: 2, ..Quotas::default() });
    let own = NewMessage { payload: Some(vec![1; 10]), ..message("t") };
    let soon = NewMessage { expires: Some((clock.stamp(), HOUR)), ..own.clone() };
    run(&mut db, Op::Publish(Box::new(own.clone()))).unwrap();
    run(&mut db, Op::Publish(Box::new(soon))).unwrap();
    is_full(run(&mut db, Op::Publish(Box::new(own.clone()))), "2 messages wait for the broker and 2 may");
    clock.advance(HOUR);
    assert_eq!(pruned(&mut db).messages, 1);
    clock.advance((7 * 24 - 2) * HOUR);
    assert_eq!(pruned(&mut db).messages, 0);
    clock.advance(HOUR);
    assert_eq!((pruned(&mut db).messages, stats(&db).messages_dropped), (1, 2));

    db.quotas.outbox_bytes = 1_000;
    let large = NewMessage { payload: Some(vec![1; 1_000]), ..own };
    is_full(run(&mut db, Op::Publish(Box::new(large))), "bytes and may take 1000");
}

#[test]
fn pruning_goes_in_portions_and_the_file_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, clock) = with_clock(dir.path(), Quotas::default());
    let portion = crate::domain::limits::STORE_PRUNE_ROWS_MAX;
    let ops = |from: usize, to: usize| {
        (from..to).map(|n| {
            let name = format!("r{n}");
            let insert = Some(Box::new(request(&name)));
            Op::Finish(Box::new(Finish { insert, body: vec![3; 20_000], ..finish(&name) }))
        })
    };
    for n in 0..6 {
        db.commit(ops(n * 50, n * 50 + 50).collect());
    }
    let before = stats(&db).file_bytes;
    clock.advance(25 * HOUR);
    assert_eq!(pruned(&mut db), Pruned { requests: portion, more: true, ..Pruned::default() });
    assert_eq!(pruned(&mut db), Pruned { requests: 300 - portion, ..Pruned::default() });
    for _ in 0..6 {
        pruned(&mut db);
    }
    db.close().unwrap();
    drop(db);
    let (db, _) = open_db(options(dir.path()));
    let after = stats(&db).file_bytes;
    assert!(before > 5_000_000 && after < 2_000_000, "{before} {after}");
}

#[test]
fn the_ledger_keeps_its_newest_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, clock) = with_clock(dir.path(), Quotas { ledger_rows: 3, ..Quotas::default() });
    for n in 0..5 {
        let usage = UsageEntry {
            zone: "device".into(),
            provider: String::new(),
            model: "m".into(),
            prompt_tokens: n,
            completion_tokens: 0,
            bytes_out: 0,
            cost_micro_usd: 0,
        };
        let name = format!("r{n}");
        let insert = Some(Box::new(request(&name)));
        end(&mut db, Finish { usage: Some(usage), insert, ended: clock.stamp(), ..finish(&name) }).unwrap();
        clock.advance(24 * HOUR);
    }
    let Reply::Usage(rows) = run(&mut db, Op::Usage(UsageQuery::default())).unwrap() else { panic!() };
    assert_eq!(rows.iter().map(|r| r.sums.prompt_tokens).collect::<Vec<_>>(), [2, 3, 4]);
    clock.advance(399 * 24 * HOUR);
    assert!(pruned(&mut db).more, "one day at a time");
    assert!(!pruned(&mut db).more);
    assert_eq!(stats(&db).ledger_rows, 1, "the last is 400 days old");
    clock.advance(24 * HOUR);
    pruned(&mut db);
    assert_eq!(stats(&db).ledger_rows, 0);
}

#[test]
fn below_the_floor_of_free_disk_only_what_is_new_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    accept(&mut db, "a").unwrap();
    drop(db);
    let (mut db, _) = open_db(StoreOptions { free_bytes_min: u64::MAX, ..options(dir.path()) });
    assert!(matches!(db.health(), Health::Full(_)));
    is_full(accept(&mut db, "b"), "have to stay free");
    is_full(
        run(&mut db, Op::Publish(Box::new(NewMessage { payload: Some(vec![]), ..message("t") }))),
        "free",
    );
    assert!(matches!(accept(&mut db, "a"), Ok(Reply::Accepted(Accepted::Known(_)))));
    run(&mut db, Op::Begin(key("a"))).unwrap();
    end(&mut db, finish_with_message("a")).unwrap();
    run(&mut db, Op::Delivered(1)).unwrap();
    assert_eq!(stats(&db).refused, 2);
    db.free_bytes_min = 0;
    accept(&mut db, "b").unwrap();
    assert_eq!(db.health(), Health::Sound);
}

#[test]
fn a_full_disk_refuses_keeps_what_is_there_and_takes_again_when_space_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    accept(&mut db, "a").unwrap();
    let counts = db.counts.clone();
    let pages: i64 = db.conn.pragma_query_value(None, "page_count", |r| r.get(0)).unwrap();
    db.conn.pragma_update(None, "max_page_count", pages + 3).unwrap();

    let large = Op::Accept(Box::new(NewRequest { spec: vec![5; 100_000], ..request("large") }));
    is_full(run(&mut db, large.clone()), "the disk is full");
    assert_eq!(db.counts, counts);
    assert!(matches!(db.health(), Health::Full(_)));
    is_full(end(&mut db, Finish { body: vec![6; 100_000], ..finish("a") }), "the disk is full");
    assert_eq!(unfinished(&mut db).len(), 1, "still to be finished");

    // One that is too large does not take a small one of the same batch with it.
    let results = db.commit(vec![Op::Finish(Box::new(finish_with_message("a"))), large.clone()]);
    assert!(matches!(results[0], Ok(Reply::Finished(Finished::Stored { .. }))));
    assert_eq!(results[1].as_ref().unwrap_err().kind, ErrorKind::StoreFull);
    assert_eq!(db.counts, Counts::load(&db.conn).unwrap(), "nothing is counted that was taken back");

    db.conn.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    run(&mut db, large).unwrap();
    assert_eq!(db.health(), Health::Sound);
    assert_eq!(db.counts.requests, 2);
}
