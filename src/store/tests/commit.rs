//! Commits: what they share, what they cost, what survives them.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::*;

/// Says when its first commit begins, and holds it back until it is told to go on.
struct Slow {
    db: Db,
    gate: Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>,
}

impl Backend for Slow {
    fn commit(&mut self, ops: Vec<Op>) -> Vec<crate::domain::Result<Reply>> {
        if let Some((begun, go)) = self.gate.take() {
            begun.send(()).unwrap();
            go.recv().unwrap();
        }
        self.db.commit(ops)
    }

    fn health(&self) -> Health {
        self.db.health()
    }

    fn counters(&self) -> Arc<Counters> {
        self.db.counters()
    }

    fn close(&mut self) -> crate::domain::Result<()> {
        self.db.close()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_queues_while_the_disk_works_shares_one_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let ((begun, has_begun), (go, gate)) = (oneshot::channel(), mpsc::channel());
    let backend = Slow { db: open_db(options(dir.path())).0, gate: Some((begun, gate)) };
    let (store, writer) = Store::with_backend(Box::new(backend), TestClock::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let thread = std::thread::spawn(move || runtime.block_on(writer));

    // The first is taken by the writer, which then waits; the others queue behind it.
    let before = store.stats();
    let mut asked = tokio::task::JoinSet::new();
    let (first, other) = (store.clone(), store.clone());
    asked.spawn(async move { first.accept(request("first")).await });
    has_begun.await.unwrap();
    for n in 0..40 {
        let store = other.clone();
        asked.spawn(async move { store.accept(request(&format!("r{n}"))).await });
    }
    let all = async {
        while other.queued() < 40 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
    go.send(()).unwrap();
    while let Some(accepted) = asked.join_next().await {
        assert_eq!(accepted.unwrap().unwrap(), Accepted::New);
    }

    let stats = store.stats();
    assert_eq!((stats.commits - before.commits, stats.durable_commits - before.durable_commits), (2, 2));
    // One for each commit, and one for the start of the log.
    assert_eq!((stats.fsyncs - before.fsyncs, stats.largest_batch_ops), (3, 40));
    drop(other);
    store.close().await.unwrap();
    thread.join().unwrap();
}

#[test]
fn only_what_must_be_durable_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    let mut fsyncs_of = |op: Op| {
        let before = stats(&db);
        run(&mut db, op).unwrap();
        let after = stats(&db);
        (after.fsyncs - before.fsyncs, after.bytes_written > before.bytes_written)
    };
    assert_eq!(fsyncs_of(Op::Accept(Box::new(request("a")))), (2, true), "with the start of the log");
    assert_eq!(fsyncs_of(Op::Begin(key("a"))), (0, true));
    assert_eq!(fsyncs_of(Op::Finish(Box::new(finish_with_message("a")))), (1, true));
    assert_eq!(fsyncs_of(Op::Delivered(1)), (0, true));
    assert_eq!(fsyncs_of(Op::Prune), (0, true));
    assert_eq!(fsyncs_of(Op::Find(key("a"))), (0, false));
    assert_eq!(fsyncs_of(Op::Accept(Box::new(request("a")))), (0, false), "known: nothing to write");
}

#[test]
fn one_that_is_refused_leaves_the_rest_of_its_batch_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    let accept = |name| Op::Accept(Box::new(request(name)));
    let huge = NewRequest { spec: vec![0; 1 << 20], ..request("huge") };
    db.quotas.requests_bytes = 10_000;
    let results =
        db.commit(vec![accept("a"), Op::Accept(Box::new(huge)), Op::Begin(key("nobody")), accept("b")]);
    assert_eq!(results[0], Ok(Reply::Accepted(Accepted::New)));
    assert_eq!(results[1].as_ref().unwrap_err().kind, ErrorKind::StoreFull);
    assert_eq!(results[2].as_ref().unwrap_err().kind, ErrorKind::RequestNotFound);
    assert_eq!(results[3], Ok(Reply::Accepted(Accepted::New)));
    assert_eq!(stats(&db).durable_commits, 1);
    assert_eq!(unfinished(&mut db).len(), 2);
}

#[test]
fn everything_acknowledged_is_there_after_a_crash() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut db, _) = open_db(options(dir.path()));
    for n in 0..300 {
        accept(&mut db, &format!("r{n}")).unwrap();
        if n % 3 == 0 {
            end(&mut db, finish_with_message(&format!("r{n}"))).unwrap();
        }
    }
    // What a killed process leaves: the files as they are, nothing brought in order.
    for file in ["outpost.db", "outpost.db-wal"] {
        std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    }
    let (mut again, opened) = open_db(options(copy.path()));
    assert_eq!(opened, Opened::Sound);
    assert_eq!((unfinished(&mut again).len(), waiting(&mut again).len()), (200, 100));
    assert_eq!(again.counts.requests, 300);

    drop(db);
    let (mut same, opened) = open_db(options(dir.path()));
    assert_eq!((opened, unfinished(&mut same).len()), (Opened::Sound, 200));
}

#[test]
fn the_log_stays_within_its_bound_and_a_close_removes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    let log = dir.path().join("outpost.db-wal");
    for n in 0..60 {
        let big = NewRequest { spec: vec![n; 100_000], ..request(&format!("r{n}")) };
        run(&mut db, Op::Accept(Box::new(big))).unwrap();
        let bytes = std::fs::metadata(&log).unwrap().len();
        assert!(bytes <= crate::domain::limits::STORE_WAL_BYTES_MAX, "{bytes}");
    }
    let now = stats(&db);
    assert!(now.wal_bytes < crate::domain::limits::STORE_WAL_CHECKPOINT_BYTES, "{now:?}");
    assert!(now.bytes_written >= 2 * 60 * 100_000, "log and file: {now:?}");
    db.close().unwrap();
    drop(db);
    assert!(!log.exists());
    let (mut again, _) = open_db(options(dir.path()));
    assert_eq!(unfinished(&mut again).len(), 60);
}

#[test]
fn wear_is_summed_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (mut db, _) = open_db(options(dir.path()));
    accept(&mut db, "a").unwrap();
    let first = stats(&db);
    assert_eq!(first.wear_today.day, UtcDay(NEW_YEAR / 86_400));
    assert_eq!((first.wear_today.bytes, first.wear_today.fsyncs), (first.bytes_written, first.fsyncs));
    assert_eq!(first.bytes_per_day, first.bytes_written as f64);
    db.close().unwrap();
    drop(db);
    let (mut db, _) = open_db(options(dir.path()));
    assert_eq!(stats(&db).wear_today, first.wear_today);
    accept(&mut db, "b").unwrap();
    run(&mut db, Op::Prune).unwrap();
    run(&mut db, Op::Prune).unwrap();
    let (now, wear) = (stats(&db), run(&mut db, Op::Wear).unwrap());
    assert_eq!(now.wear_today.fsyncs, first.fsyncs + now.fsyncs);
    let Reply::Wear(days) = wear else { panic!("{wear:?}") };
    assert_eq!((days.len(), days[0].fsyncs), (1, now.wear_today.fsyncs));
}

#[test]
fn a_snapshot_is_the_state_that_it_was_taken_in() {
    let mut db = Db::open_in_memory(Quotas::default(), TestClock::new()).unwrap();
    accept(&mut db, "a").unwrap();
    let snapshot = db.snapshot().unwrap();
    end(&mut db, finish_with_message("a")).unwrap();
    accept(&mut db, "b").unwrap();

    let mut back = Db::from_snapshot(&snapshot, Quotas::default(), TestClock::new()).unwrap();
    assert_eq!((unfinished(&mut back).len(), waiting(&mut back).len()), (1, 0));
    end(&mut back, finish_with_message("a")).unwrap();
    accept(&mut back, "c").unwrap();
    assert_eq!((back.counts.requests, waiting(&mut back).len()), (2, 1));
    assert_eq!(db.counts.requests, 2);
}

#[tokio::test]
async fn the_writer_runs_as_a_task_and_says_when_it_is_gone() {
    let db = Db::open_in_memory(Quotas::default(), TestClock::new()).unwrap();
    let (store, writer) = Store::with_backend(Box::new(db), TestClock::new());
    let writer = tokio::spawn(writer);
    store.accept(request("a")).await.unwrap();
    let mut health = store.health();
    assert_eq!(*health.borrow_and_update(), Health::Sound);
    writer.abort();
    let gone = async {
        while !matches!(*health.borrow(), Health::Broken(_)) {
            health.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    assert_eq!(store.accept(request("b")).await.unwrap_err().kind, ErrorKind::Internal);
}
