//! What all parts of the service share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::{Notify, mpsc, watch};

use super::{
    Clients, Defaults, Notice,
    keeper::Keep,
    live::{Live, Lives},
    tally::Tally,
};
use crate::{cloud::Remotes, policy::Policy};
use crate::{
    domain::{Clock, limits},
    engine::{EngineState, EngineStats},
    host::BoardState,
    observe::Metrics,
    scheduler::{Bounds, FairQueue, Speed},
    store::Store,
    task::{Gate, Tasks},
};

/// What the service is made of.
pub struct Parts {
    /// Where the engine is in its life.
    pub engine: watch::Receiver<EngineState>,
    /// Its counters.
    pub stats: Arc<EngineStats>,
    /// How the board stands.
    pub board: watch::Receiver<BoardState>,
    /// The durable memory.
    pub store: Store,
    /// Who may ask how much.
    pub clients: Clients,
    /// What sensors may ask.
    pub tasks: Tasks,
    /// Who may be asked off the device.
    pub remotes: Arc<Remotes>,
    /// What may go there.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// How much may wait.
    pub bounds: Bounds,
    /// What holds when a request does not say.
    pub defaults: Defaults,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

pub(super) struct Shared {
    pub(super) engine: watch::Receiver<EngineState>,
    pub(super) stats: Arc<EngineStats>,
    pub(super) board: watch::Receiver<BoardState>,
    pub(super) store: Store,
    pub(super) clients: Clients,
    pub(super) tasks: Tasks,
    pub(super) gate: Mutex<Gate>,
    pub(super) remotes: Arc<Remotes>,
    pub(super) policy: watch::Receiver<Arc<Policy>>,
    /// The model is to be loaded anew, if another one was activated.
    pub(super) reload: Notify,
    /// Something happened that may send a request elsewhere.
    pub(super) overflow_stirred: Notify,
    /// The bill is to be read now.
    pub(super) bill_wanted: Notify,
    /// What somebody has to look at about what leaves the device.
    pub(super) egress_alert: Mutex<Option<String>>,
    /// A reading was held back; its time may be the next.
    pub(super) held: Notify,
    /// Held for moments only, never across an await.
    queue: Mutex<FairQueue<Arc<Live>>>,
    /// Something was put into the queue.
    pub(super) queued: Notify,
    /// The same, for the one who watches deadlines.
    pub(super) waiting_changed: Notify,
    /// Every request that has no final yet.
    pub(super) lives: Lives,
    /// A request has got its final.
    pub(super) one_ended: Notify,
    /// A final waits in the outbox.
    pub(super) outbox: Notify,
    /// To the one who writes to the store.
    pub(super) keeper: mpsc::Sender<Keep>,
    /// To the transport that tells of progress.
    pub(super) notices: mpsc::Sender<Notice>,
    /// What is not in the ledger yet.
    pub(super) tally: Tally,
    /// Readings stay with the broker.
    pub(super) readings_closed: AtomicBool,
    /// Intake is closed.
    pub(super) draining: AtomicBool,
    /// Tokens of an answer, a moving average.
    answer_mean: AtomicU64,
    pub(super) defaults: Defaults,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Before the first answer: a short paragraph.
const FIRST_ANSWER_MEAN: u64 = 64;

impl Shared {
    pub(super) fn new(parts: Parts, keeper: mpsc::Sender<Keep>, notices: mpsc::Sender<Notice>) -> Self {
        Self {
            engine: parts.engine,
            stats: parts.stats,
            board: parts.board,
            store: parts.store,
            clients: parts.clients,
            tasks: parts.tasks,
            gate: Mutex::default(),
            remotes: parts.remotes,
            policy: parts.policy,
            reload: Notify::new(),
            overflow_stirred: Notify::new(),
            bill_wanted: Notify::new(),
            egress_alert: Mutex::default(),
            held: Notify::new(),
            queue: Mutex::new(FairQueue::new(parts.bounds)),
            queued: Notify::new(),
            waiting_changed: Notify::new(),
            lives: Lives::default(),
            one_ended: Notify::new(),
            outbox: Notify::new(),
            keeper,
            notices,
            tally: Tally::default(),
            readings_closed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            answer_mean: AtomicU64::new(FIRST_ANSWER_MEAN),
            defaults: parts.defaults,
            metrics: parts.metrics,
            clock: parts.clock,
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, FairQueue<Arc<Live>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Tokens that an answer is likely to have.
    pub(super) fn answer_mean(&self) -> u64 {
        self.answer_mean.load(Ordering::Relaxed)
    }

    /// Takes one more answer into the average.
    pub(super) fn answered(&self, tokens: usize) {
        // Two at once may lose one sample of an average; nothing depends on it.
        let mean = self.answer_mean().saturating_mul(7).saturating_add(tokens as u64).div_ceil(8);
        self.answer_mean.store(mean.max(1), Ordering::Relaxed);
    }

    /// What the engine was measured to do.
    pub(super) fn speed(&self) -> Speed {
        Speed { prefill: self.stats.prefill_rate(), decode: self.stats.decode_rate() }
    }
}

/// Lock of a part that is held for moments only.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Room in the channel to the keeper: each request sends it two messages at most.
pub(super) const KEEPER_ROOM: usize = 2 * limits::LIVE_REQUESTS_MAX;
