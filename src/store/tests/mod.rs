//! The store's promises, on real files.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{account::Counts, *};
use crate::domain::{BootTime, ClientId, Clock, ErrorKind, Lane, RequestId, Stamp, UnixSeconds};

mod audit;
mod commit;
mod damage;
mod egress;
mod model;
mod open;
mod requests;
mod room;

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600;

/// A clock that stands still until it is told to move.
struct TestClock(Mutex<Stamp>);

impl TestClock {
    fn new() -> Arc<Self> {
        let boot = BootTime::new(Duration::from_secs(100));
        let wall = UnixSeconds(NEW_YEAR);
        Arc::new(Self(Mutex::new(Stamp { boot_id: "boot-1".into(), boot, wall, synced: true })))
    }

    fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        now.boot = BootTime::new(Duration::from_millis(now.boot.as_millis()) + by);
        now.wall.0 += by.as_secs() as i64;
    }
}

impl Clock for TestClock {
    fn boot(&self) -> BootTime {
        self.0.lock().unwrap().boot
    }

    fn wall(&self) -> UnixSeconds {
        self.0.lock().unwrap().wall
    }

    fn stamp(&self) -> Stamp {
        self.0.lock().unwrap().clone()
    }
}

/// No floor: what is free on the machine that tests is not what is tested.
fn options(dir: &Path) -> StoreOptions {
    StoreOptions { free_bytes_min: 0, ..StoreOptions::new(dir) }
}

fn open_db(options: StoreOptions) -> (Db, Opened) {
    Db::open(options, TestClock::new()).unwrap()
}

fn key(name: &str) -> RequestKey {
    RequestKey { client: ClientId::new("press-3").unwrap(), id: RequestId::new(name).unwrap() }
}

fn request(name: &str) -> NewRequest {
    NewRequest {
        key: key(name),
        digest: Digest([name.len() as u8; 32]),
        lane: Lane::Batch,
        accepted: TestClock::new().stamp(),
        budget: Some(Duration::from_secs(90)),
        spec: format!("the spec of {name}").into_bytes(),
    }
}

fn message(topic: &str) -> NewMessage {
    NewMessage {
        topic: topic.into(),
        payload: None,
        properties: br#"{"correlation":"7"}"#.to_vec(),
        retain: false,
        expires: None,
    }
}

fn finish(name: &str) -> Finish {
    Finish {
        key: key(name),
        status: 200,
        body: format!("the final of {name}").into_bytes(),
        ended: TestClock::new().stamp(),
        usage: None,
        message: None,
        insert: None,
    }
}

fn finish_with_message(name: &str) -> Finish {
    Finish { message: Some(message(&format!("outpost/v1/n/response/press-3/{name}"))), ..finish(name) }
}

/// One operation in a commit of its own.
fn run(db: &mut Db, op: Op) -> crate::domain::Result<Reply> {
    db.commit(vec![op]).pop().unwrap()
}

fn accept(db: &mut Db, name: &str) -> crate::domain::Result<Reply> {
    run(db, Op::Accept(Box::new(request(name))))
}

fn end(db: &mut Db, finish: Finish) -> crate::domain::Result<Reply> {
    run(db, Op::Finish(Box::new(finish)))
}

fn found(db: &mut Db, name: &str) -> Option<Stored> {
    match run(db, Op::Find(key(name))).unwrap() {
        Reply::Found(found) => found.map(|found| *found),
        other => panic!("{other:?}"),
    }
}

fn waiting(db: &mut Db) -> Vec<Message> {
    match run(db, Op::Undelivered { after: 0, limit: 100 }).unwrap() {
        Reply::Messages(messages) => messages,
        other => panic!("{other:?}"),
    }
}

fn unfinished(db: &mut Db) -> Vec<Stored> {
    match run(db, Op::Unfinished).unwrap() {
        Reply::Unfinished(stored) => stored,
        other => panic!("{other:?}"),
    }
}

fn pruned(db: &mut Db) -> Pruned {
    match run(db, Op::Prune).unwrap() {
        Reply::Pruned(pruned) => pruned,
        other => panic!("{other:?}"),
    }
}

fn stats(db: &Db) -> StoreStats {
    db.counters().snapshot(db.health(), Duration::from_hours(24))
}

fn is_full(result: crate::domain::Result<Reply>, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::StoreFull, "{error}");
    assert!(error.public.contains(words) && error.retry_after.is_some(), "{error}");
}
