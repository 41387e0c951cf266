//! What the door, the dispatcher and every answer share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
};

use tokio::sync::{Notify, watch};

use super::Defaults;
use crate::{
    domain::Clock,
    engine::{CancelFlag, EngineState, Job},
    observe::Metrics,
    scheduler::FairQueue,
};

pub(super) struct Shared {
    pub(super) engine: watch::Receiver<EngineState>,
    /// Held for moments only, never across an await.
    pub(super) queue: Mutex<FairQueue<Job>>,
    /// Something was put into the queue.
    pub(super) queued: Notify,
    /// Every admitted request that has not ended; the flag reaches it wherever it is.
    pub(super) running: Mutex<HashMap<u64, CancelFlag>>,
    /// Something was taken out of `running`.
    pub(super) one_ended: Notify,
    /// Key of the next entry of `running`.
    pub(super) next_number: AtomicU64,
    /// Intake is closed.
    pub(super) draining: AtomicBool,
    /// What holds when a request does not say.
    pub(super) defaults: Defaults,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Shared {
    pub(super) fn new(
        engine: watch::Receiver<EngineState>,
        defaults: Defaults,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            engine,
            queue: Mutex::default(),
            queued: Notify::new(),
            running: Mutex::default(),
            one_ended: Notify::new(),
            next_number: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            defaults,
            metrics,
            clock,
        }
    }
}
