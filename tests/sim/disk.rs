//! The real database on a disk that fails: full, failing after the write, losing its power.

use std::sync::{Arc, Mutex};

use outpost::{
    domain::{Clock, Error, ErrorKind, Result},
    store::{Backend, Counters, Db, Finished, Health, Op, Quotas, Reply},
};

use crate::{dice::Dice, world::Plan};

/// The disk, which outlives the daemon.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<Platter>>);

struct Platter {
    db: Option<Db>,
    /// What is left when the power goes: the state at the last fsync.
    safe: Option<Vec<u8>>,
    dice: Dice,
    faulty: bool,
    plan: Plan,
}

impl Disk {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let dice = Dice::new(seed, "disk");
        Self(Arc::new(Mutex::new(Platter { db: None, safe: None, dice, faulty: true, plan })))
    }

    /// A daemon opens the database; whoever had it before is dead.
    pub(crate) fn open(&self, clock: Arc<dyn Clock>) -> Box<dyn Backend> {
        let mut platter = self.0.lock().unwrap();
        let snapshot = match platter.db.take() {
            Some(mut db) => Some(db.snapshot().expect("a snapshot")),
            None => platter.safe.clone(),
        };
        let quotas = Quotas::default();
        let db = match snapshot {
            Some(snapshot) => Db::from_snapshot(&snapshot, quotas, clock).expect("our own snapshot"),
            None => Db::open_in_memory(quotas, clock).expect("a new database"),
        };
        platter.db = Some(db);
        drop(platter);
        Box::new(Head(self.clone()))
    }

    /// The power goes: what was not synced is gone.
    pub(crate) fn power_cut(&self) {
        self.0.lock().unwrap().db = None;
    }

    /// From now on nothing fails any more.
    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().faulty = false;
    }
}

/// What a daemon holds of the disk.
struct Head(Disk);

impl Backend for Head {
    fn commit(&mut self, ops: Vec<Op>) -> Vec<Result<Reply>> {
        let mut platter = self.0.0.lock().unwrap();
        let count = ops.len();
        let durable = ops.iter().any(Op::durable);
        let writes = ops.iter().any(Op::writes);
        if platter.faulty && writes && platter.dice.once_in(12) {
            let full = Error::new(ErrorKind::StoreFull, "the disk is full");
            return vec![Err(full); count];
        }
        let plan = platter.plan;
        let dice = &mut platter.dice;
        let loses = |op: &Op, dice: &mut Dice| match op {
            Op::Finish(_) => plan.loses_finals && dice.once_in(5),
            Op::Settle(_) => plan.loses_settlements && dice.once_in(2),
            _ => false,
        };
        // The word that the daemon gets all the same.
        let word = |op: &Op| match op {
            Op::Settle(_) => Reply::Settled(true),
            _ => Reply::Finished(Finished::Stored { outbox: None }),
        };
        let said: Vec<Option<Reply>> =
            ops.iter().map(|op| if loses(op, dice) { Some(word(op)) } else { None }).collect();
        // The planted bug: something else is done in the place of what is lost.
        let ops = ops.into_iter().zip(&said).map(|(op, said)| if said.is_some() { Op::Prune } else { op });
        let ops = ops.collect();
        let db = platter.db.as_mut().expect("the disk of a daemon that lives");
        let replies: Vec<_> =
            db.commit(ops).into_iter().zip(said).map(|(reply, said)| said.map_or(reply, Ok)).collect();
        // A disk that lies says that it has synced and has not.
        if durable && !(plan.fsync_lies && platter.dice.once_in(3)) {
            let snapshot = platter.db.as_mut().expect("still there").snapshot().expect("a snapshot");
            platter.safe = Some(snapshot);
        }
        if platter.faulty && durable && platter.dice.once_in(25) {
            // The write arrived, the word about it did not.
            return vec![Err(Error::internal("EIO")); count];
        }
        replies
    }

    fn health(&self) -> Health {
        Health::Sound
    }

    fn counters(&self) -> Arc<Counters> {
        self.0.0.lock().unwrap().db.as_ref().expect("open").counters()
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
