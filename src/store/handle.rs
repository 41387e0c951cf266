//! The handle of the store: one method per operation.

use std::{future::Future, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    chain::{AuditEntry, AuditHead, AuditRow},
    db::Db,
    error::OpenError,
    op::{Backend, Op, Reply},
    options::{Opened, StoreOptions},
    record::{
        Accepted, Digest, Egress, Finish, Finished, Message, NewEgress, NewMessage, NewRequest, Pruned,
        RequestKey, Settlement, Stored, UsageQuery, UsageRow, UsageSum, UtcDay, WearDay,
    },
    stats::{Counters, Health, StoreStats},
    writer::{self, Command},
};
use crate::domain::{BootTime, ClientId, Clock, Error, RequestId, Result, Stamp, limits};

/// Handle of the store. Clones share one writer, which ends with [`Store::close`] or with the last
/// of them.
///
/// Dropping one of the futures does not take its operation back once it has been sent.
#[derive(Clone)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    health: watch::Receiver<Health>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    started: BootTime,
    opened: Arc<Opened>,
}

/// Unpacks the one reply that an operation can have.
macro_rules! ask {
    ($store:expr, $op:expr, $reply:pat => $value:expr) => {
        match $store.ask($op).await? {
            $reply => Ok($value),
            other => Err(Error::internal(format!("the store answered a question with {other:?}"))),
        }
    };
}

impl Store {
    /// Opens or makes `outpost.db` in the folder, checks it and starts the thread that writes it.
    pub fn open(options: StoreOptions, clock: Arc<dyn Clock>) -> Result<(Self, Opened), OpenError> {
        let dir = options.dir.clone();
        let (db, opened) = Db::open(options, Arc::clone(&clock))?;
        let io = |source| OpenError::Io { path: dir.clone(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(io)?;
        let (mut store, writer) = Self::with_backend(Box::new(db), clock);
        store.opened = Arc::new(opened.clone());
        let thread = std::thread::Builder::new().name("store".into());
        thread.spawn(move || runtime.block_on(writer)).map_err(io)?;
        Ok((store, opened))
    }

    /// The same over any backend. The future is the writer; it blocks whoever polls it for as long
    /// as the backend's commits take.
    pub fn with_backend(
        backend: Box<dyn Backend>,
        clock: Arc<dyn Clock>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (commands, receiver) = mpsc::channel(limits::STORE_QUEUE_MAX);
        let (health_sender, health) = watch::channel(backend.health());
        let store = Self {
            commands,
            health,
            counters: backend.counters(),
            started: clock.boot(),
            clock: Arc::clone(&clock),
            opened: Arc::new(Opened::Sound),
        };
        (store, writer::serve(backend, receiver, health_sender, clock))
    }

    async fn order<T>(&self, command: Command, reply: oneshot::Receiver<Result<T>>) -> Result<T> {
        let gone = || Error::internal("the store is closed");
        self.commands.send(command).await.map_err(|_| gone())?;
        reply.await.map_err(|_| gone())?
    }

    async fn ask(&self, op: Op) -> Result<Reply> {
        let (sender, reply) = oneshot::channel();
        self.order(Command::Do(op, sender), reply).await
    }

    /// Keeps a request until it has its final. Durable when answered.
    ///
    /// `store_full`: a quota, the floor of free disk or the disk itself.
    pub async fn accept(&self, new: NewRequest) -> Result<Accepted> {
        ask!(self, Op::Accept(Box::new(new)), Reply::Accepted(accepted) => accepted)
    }

    /// Counts an attempt to run a request and answers how many there were, this one included.
    ///
    /// `request_not_found`: no such request without a final.
    pub async fn begin(&self, key: RequestKey) -> Result<u32> {
        ask!(self, Op::Begin(key), Reply::Attempts(attempts) => attempts)
    }

    /// The same without waiting for it: it is not counted when the writer has no room, and nobody
    /// hears of its failure. For a count that only has to be about right.
    pub fn note_begin(&self, key: RequestKey) {
        self.note(Op::Begin(key));
    }

    /// Takes one attempt back, of a request that did not bring the daemon down. Like
    /// [`note_begin`](Self::note_begin), not waited for.
    pub fn note_spared(&self, key: RequestKey) {
        self.note(Op::Spare(key));
    }

    fn note(&self, op: Op) {
        let (sender, _) = oneshot::channel();
        if self.commands.try_send(Command::Do(op, sender)).is_err() {
            tracing::debug!("an attempt was not counted: the store is busy");
        }
    }

    /// Takes back an accepted request that has no final, and answers whether there was one. Durable.
    pub async fn forget(&self, key: RequestKey) -> Result<bool> {
        ask!(self, Op::Forget(key), Reply::Forgotten(was) => was)
    }

    /// Keeps a final, its message and its usage together. Durable when answered. Quotas and the
    /// floor of free disk do not refuse it; a disk that is really full does (`store_full`): the
    /// caller comes back.
    ///
    /// `request_not_found`: no such request, and none to insert. `id_conflict`: the request to insert
    /// has another digest than the one that is known by its key.
    pub async fn finish(&self, finish: Finish) -> Result<Finished> {
        ask!(self, Op::Finish(Box::new(finish)), Reply::Finished(finished) => finished)
    }

    /// Puts a message without a request into the outbox and answers its place. Durable when answered.
    ///
    /// `store_full` as with [`Self::accept`].
    pub async fn publish(&self, message: NewMessage) -> Result<u64> {
        ask!(self, Op::Publish(Box::new(message)), Reply::Published(seq) => seq)
    }

    /// Takes a message out of the outbox that the broker has. One that is not there is no error.
    pub async fn delivered(&self, seq: u64) -> Result<()> {
        ask!(self, Op::Delivered(seq), Reply::Done => ())
    }

    /// Messages behind place `after` in their order; at most `limit`, and at most
    /// [`limits::STORE_READ_ROWS_MAX`].
    pub async fn undelivered(&self, after: u64, limit: usize) -> Result<Vec<Message>> {
        ask!(self, Op::Undelivered { after, limit }, Reply::Messages(messages) => messages)
    }

    /// What is known of a request.
    pub async fn find(&self, client: ClientId, id: RequestId) -> Result<Option<Stored>> {
        ask!(self, Op::Find(RequestKey { client, id }), Reply::Found(found) => found.map(|found| *found))
    }

    /// The newest request of a client that asks this.
    pub async fn find_by_digest(&self, client: ClientId, digest: Digest) -> Result<Option<Stored>> {
        ask!(self, Op::FindByDigest(client, digest), Reply::Found(found) => found.map(|found| *found))
    }

    /// All requests without a final in the order of their acceptance, to run them after a restart.
    pub async fn unfinished(&self) -> Result<Vec<Stored>> {
        ask!(self, Op::Unfinished, Reply::Unfinished(stored) => stored)
    }

    /// Takes out what is older than its quota, in bounded portions, and gives unused pages back to
    /// the disk. To be called now and then, and again at once while there is more.
    pub async fn prune(&self) -> Result<Pruned> {
        ask!(self, Op::Prune, Reply::Pruned(pruned) => pruned)
    }

    /// Adds to the ledger what requests took that were not kept themselves.
    pub async fn record(&self, ended: Stamp, rows: Vec<UsageSum>) -> Result<()> {
        ask!(self, Op::Record(Box::new(ended), rows), Reply::Done => ())
    }

    /// Gives what was booked before anybody knew the day to `day`.
    pub async fn date(&self, day: UtcDay) -> Result<()> {
        ask!(self, Op::Date(day), Reply::Done => ())
    }

    /// Rows of the ledger, by day, client, zone, provider and model.
    pub async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>> {
        ask!(self, Op::Usage(query), Reply::Usage(rows) => rows)
    }

    /// Flash wear by day, oldest first, as of the last time that it was written down.
    pub async fn wear(&self) -> Result<Vec<WearDay>> {
        ask!(self, Op::Wear, Reply::Wear(days) => days)
    }

    /// Appends to the audit and answers the place of the row. Durable when answered, but for denials.
    pub async fn audit(&self, entry: AuditEntry) -> Result<AuditHead> {
        ask!(self, Op::Audit(Box::new(entry)), Reply::Audited(head) => head)
    }

    /// Notes a call to a provider and what it can cost, and answers its row of the audit. Durable when
    /// answered: nothing may leave before.
    pub async fn send(&self, new: NewEgress) -> Result<AuditHead> {
        ask!(self, Op::Send(Box::new(new)), Reply::Audited(head) => head)
    }

    /// Notes how such a call ended and books what it cost; false when that was done before. Durable
    /// when answered.
    pub async fn settle(&self, settlement: Settlement) -> Result<bool> {
        ask!(self, Op::Settle(Box::new(settlement)), Reply::Settled(first) => first)
    }

    /// Calls to providers that were never settled, in the order in which they were made.
    pub async fn open_egress(&self) -> Result<Vec<Egress>> {
        ask!(self, Op::OpenEgress, Reply::Egress(open) => open)
    }

    /// The newest calls that are settled, newest first.
    pub async fn settled_egress(&self, limit: usize) -> Result<Vec<Egress>> {
        ask!(self, Op::SettledEgress { limit }, Reply::Egress(settled) => settled)
    }

    /// Books what the bill says of a call, and puts that on record; false when it is booked already.
    /// `entry`: its `settles` names the call, its `cost` is the bill's. Durable when answered.
    pub async fn correct(&self, entry: AuditEntry) -> Result<bool> {
        ask!(self, Op::Correct(Box::new(entry)), Reply::Settled(changed) => changed)
    }

    /// Rows of the audit behind number `after`, at most [`limits::AUDIT_PORTION`], and the place before
    /// the first of them.
    pub async fn audited(&self, after: u64, limit: usize) -> Result<(AuditHead, Vec<AuditRow>)> {
        ask!(self, Op::Audited { after, limit }, Reply::Audit(start, rows) => (start, rows))
    }

    /// The place of the last row of the audit.
    pub fn audit_head(&self) -> AuditHead {
        self.stats().audit_head
    }

    /// The counters.
    pub fn stats(&self) -> StoreStats {
        let uptime = self.clock.boot().since(self.started);
        self.counters.snapshot(self.health.borrow().clone(), uptime)
    }

    /// How it was found at the start of this run.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Operations that wait for the writer.
    pub fn queued(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    /// How the store stands, and a way to wait until that changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Ends the writer after everything that was sent before, brings the log into the file and lets
    /// go of it. Later operations on clones fail.
    pub async fn close(self) -> Result<()> {
        let (sender, closed) = oneshot::channel();
        self.order(Command::Close(sender), closed).await
    }
}
