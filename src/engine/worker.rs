//! The engine thread: it owns the session and everything that changes while a model runs.
//!
//! A model is loaded and serves ([`Running`]) until it is replaced, breaks or cannot be relied
//! upon; then it is built anew, on another execution provider where there is one. What cannot
//! be loaded waits until somebody asks, or until there is memory for it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::{mpsc, watch};

use super::{
    PassedOver, Room,
    job::Command,
    load::EngineOptions,
    running::{Ended, Running, refuse},
    state::{EngineState, EngineStats, LoadStage},
    trial::{Failure, NotLoaded, load_chosen},
};
use crate::domain::{Clock, limits};

/// Everything that outlives one build of the engine.
pub(super) struct Worker {
    pub(super) options: EngineOptions,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) state: watch::Sender<EngineState>,
    pub(super) stats: Arc<EngineStats>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Worker {
    /// Runs until every sender of commands is gone.
    pub(super) fn run(mut self) {
        let (mut deaths, mut steps_before) = (0, 0);
        let mut unsound = Vec::new();
        loop {
            let ended = catch_unwind(AssertUnwindSafe(|| self.load_and_serve(&unsound)));
            let why = match ended {
                Ok(Ended::Closed) => return,
                Ok(Ended::NotLoaded(Failure { why, needs })) => {
                    tracing::error!("{why}");
                    self.state.send_replace(EngineState::Failed(why));
                    if self.wait_for_reload(needs) {
                        unsound.clear();
                        continue;
                    }
                    return;
                }
                Ok(Ended::Absent) => {
                    tracing::warn!(
                        "no model is configured: every prompt will be refused; activate one, or set `model.package`"
                    );
                    self.state.send_replace(EngineState::Absent);
                    if self.wait_for_reload(None) {
                        continue;
                    }
                    return;
                }
                Ok(Ended::Replaced) => {
                    tracing::info!("another package was activated and is loaded instead");
                    // Whoever comes now waits for it.
                    self.state.send_replace(EngineState::Loading(LoadStage::Runtime));
                    unsound.clear();
                    continue;
                }
                Ok(Ended::Unsound(provider)) => {
                    tracing::error!("execution provider {provider}; the next one takes over");
                    // What ran goes without a word, as in a panic: it runs once more on the next one.
                    EngineStats::add(&self.stats.restarts, 1);
                    self.stats.running.store(0, Ordering::Relaxed);
                    self.state.send_replace(EngineState::Loading(LoadStage::Runtime));
                    unsound.push(provider);
                    continue;
                }
                Ok(Ended::Broken(why)) => why,
                Err(panic) => format!("panic: {}", panic_text(panic.as_ref())),
            };
            let steps = self.stats.steps.load(Ordering::Relaxed);
            deaths = if steps - steps_before > limits::ENGINE_SOUND_STEPS { 1 } else { deaths + 1 };
            steps_before = steps;
            EngineStats::add(&self.stats.restarts, 1);
            self.stats.running.store(0, Ordering::Relaxed);
            tracing::error!(deaths, "the engine died and is built anew: {why}");
            if deaths >= limits::ENGINE_DEATHS_MAX {
                self.state
                    .send_replace(EngineState::Failed(format!("the engine died {deaths} times: {why}")));
                if !self.wait_for_reload(None) {
                    return;
                }
                deaths = 0;
            }
        }
    }

    fn load_and_serve(&mut self, unsound: &[PassedOver]) -> Ended {
        let state = &self.state;
        let loaded = load_chosen(&mut self.options, unsound, &*self.clock, &mut |stage| {
            state.send_replace(EngineState::Loading(stage));
        });
        let (graph, model) = match loaded {
            Ok(loaded) => loaded,
            Err(NotLoaded::Absent) => return Ended::Absent,
            Err(NotLoaded::Failed(failure)) => return Ended::NotLoaded(failure),
        };
        tracing::info!(
            model = model.manifest.name,
            load_ms = model.load_time.as_millis() as u64,
            context = model.context,
            slots = model.slots,
            threads = model.threads,
            provider = model.provider,
            "the model is ready"
        );
        let others = self.options.providers.iter().skip_while(|p| p.name != model.provider).skip(1);
        let has_next = others.count() > 0;
        self.state.send_replace(EngineState::Ready(Arc::clone(&model)));
        let (stats, clock) = (Arc::clone(&self.stats), Arc::clone(&self.clock));
        Running::new((graph, model), stats, clock, self.options.shelf.clone(), has_next)
            .serve(&mut self.commands)
    }

    /// Refuses what comes until somebody asks to try again, or there is as much memory as it `needs`; `false`: nobody
    /// ever will.
    fn wait_for_reload(&mut self, needs: Option<u64>) -> bool {
        loop {
            let command = match needs {
                None => self.commands.blocking_recv(),
                Some(needs) => match self.commands.try_recv() {
                    Ok(command) => Some(command),
                    Err(mpsc::error::TryRecvError::Disconnected) => None,
                    Err(mpsc::error::TryRecvError::Empty) => {
                        if self.options.room.as_ref().and_then(Room::bytes).is_none_or(|room| room >= needs) {
                            return true;
                        }
                        std::thread::park_timeout(limits::ROOM_LOOK);
                        continue;
                    }
                },
            };
            match command {
                Some(Command::Reload) => return true,
                Some(Command::Run(job)) => refuse(*job),
                None => return false,
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}
