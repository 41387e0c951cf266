//! The loop behind the store: takes operations, makes commits of them, answers.
//!
//! Group commit needs no timer: while one commit waits for the disk, others queue, and the next
//! commit takes all that is there.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    op::{Backend, Op, Reply},
    stats::{Counters, Health},
};
use crate::domain::{Clock, Error, Result, limits};

/// What the handles send.
pub(super) enum Command {
    /// Carry out an operation.
    Do(Op, oneshot::Sender<Result<Reply>>),
    /// End, after everything that was sent before.
    Close(oneshot::Sender<Result<()>>),
}

/// Says that the writer is gone, however it went.
struct LastWord(Option<watch::Sender<Health>>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(health) = &self.0 {
            health.send_replace(Health::Broken("the store's writer has died; the log says why".into()));
        }
    }
}

/// Serves until told to close, or until the last handle is gone.
pub(super) async fn serve(
    backend: Box<dyn Backend>,
    mut commands: mpsc::Receiver<Command>,
    health: watch::Sender<Health>,
    clock: Arc<dyn Clock>,
) {
    let mut word = LastWord(Some(health));
    let mut writer = Writer { counters: backend.counters(), backend, clock };
    let mut next = commands.recv().await;
    while let Some(command) = next.take() {
        let (ops, replies, close) = gather(command, &mut commands);
        if !ops.is_empty() {
            let results = writer.commit(ops);
            // Health first: who is answered may look at it.
            if let Some(health) = &word.0 {
                let now = writer.backend.health();
                health.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
            }
            for (reply, result) in replies.into_iter().zip(results) {
                // A caller that is gone does not want to know.
                let _ = reply.send(result);
            }
        }
        if let Some(closed) = close {
            let result = writer.backend.close();
            // The file and its lock are free before anybody hears of it.
            drop((writer, commands));
            word.0 = None;
            let _ = closed.send(result);
            return;
        }
        next = commands.recv().await;
    }
    word.0 = None;
}

type Replies = Vec<oneshot::Sender<Result<Reply>>>;

/// The first command and all that is already there, up to the bounds of a batch.
fn gather(
    first: Command,
    commands: &mut mpsc::Receiver<Command>,
) -> (Vec<Op>, Replies, Option<oneshot::Sender<Result<()>>>) {
    let (mut ops, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut command = Some(first);
    while let Some(taken) = command.take() {
        match taken {
            Command::Close(closed) => return (ops, replies, Some(closed)),
            Command::Do(op, reply) => {
                bytes += op.bytes();
                ops.push(op);
                replies.push(reply);
            }
        }
        if ops.len() < limits::STORE_BATCH_OPS_MAX && bytes < limits::STORE_BATCH_BYTES_MAX {
            command = commands.try_recv().ok();
        }
    }
    (ops, replies, None)
}

struct Writer {
    backend: Box<dyn Backend>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl Writer {
    fn commit(&mut self, ops: Vec<Op>) -> Vec<Result<Reply>> {
        let (count, began) = (ops.len() as u64, self.clock.boot());
        let mut results = self.backend.commit(ops);
        let missing = (count as usize).saturating_sub(results.len());
        results.extend((0..missing).map(|_| Err(Error::internal("the store's backend left an answer out"))));

        let micros = self.clock.boot().since(began).as_micros() as u64;
        let c = &self.counters;
        Counters::add(&c.ops, count);
        Counters::set(&c.last_batch_ops, count);
        Counters::raise(&c.largest_batch_ops, count);
        Counters::set(&c.last_commit_micros, micros);
        Counters::raise(&c.slowest_commit_micros, micros);
        results
    }
}
