//! The engine thread: it owns the session and everything that changes while a model runs.
//!
//! ```text
//! loop: take commands → plan one step → decode run → prefill chunk → hand out text
//! ```
//! Sequences that decode fill the slots `0..n` without a gap; the one prompt that is being
//! read has slot `n`. When a sequence ends, the last one moves into its place.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::{mpsc, watch};

use super::{
    Graph, GraphError, PassedOver,
    guard::senseless,
    job::{Command, Job},
    load::EngineOptions,
    plan::{Chunk, plan},
    sequence::{Flow, Sequence, Vocabulary},
    state::{EngineState, EngineStats, LoadStage, Model},
    trial::{NotLoaded, load_chosen},
};
use crate::{
    domain::{Clock, Error, ErrorKind, FinishReason, limits},
    model::Shelf,
};

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
                Ok(Ended::NotLoaded(why)) => {
                    tracing::error!("{why}");
                    self.state.send_replace(EngineState::Failed(why));
                    if self.wait_for_reload() {
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
                    if self.wait_for_reload() {
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
                if !self.wait_for_reload() {
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
            Err(NotLoaded::Failed(why)) => return Ended::NotLoaded(why),
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
        let mut engine = Running {
            graph,
            model,
            decoding: Vec::new(),
            prefilling: None,
            stats: Arc::clone(&self.stats),
            clock: Arc::clone(&self.clock),
            started: 0,
            shelf: self.options.shelf.clone(),
            leaving: false,
            has_next,
        };
        engine.serve(&mut self.commands)
    }

    /// Refuses what comes until somebody asks to try again; `false`: nobody ever will.
    fn wait_for_reload(&mut self) -> bool {
        while let Some(command) = self.commands.blocking_recv() {
            match command {
                Command::Reload => return true,
                Command::Run(job) => refuse(*job),
            }
        }
        false
    }
}

/// Why the engine stopped serving.
enum Ended {
    Closed,
    /// There is nothing to load.
    Absent,
    /// Another package was activated.
    Replaced,
    NotLoaded(String),
    Broken(String),
    /// Its execution provider cannot be relied upon, and there is another.
    Unsound(PassedOver),
}

/// Gives a job back: an accepted request waits for the next model.
fn refuse(job: Job) {
    let _ = job.done.send(Err(Error::new(ErrorKind::ModelLoading, "the model is not loaded")));
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

/// One build of the engine, with the sequences in its slots.
struct Running {
    graph: Graph,
    model: Arc<Model>,
    /// Sequence `i` is in slot `i`.
    decoding: Vec<Sequence>,
    /// In slot `decoding.len()`.
    prefilling: Option<Sequence>,
    stats: Arc<EngineStats>,
    clock: Arc<dyn Clock>,
    started: u64,
    shelf: Option<Shelf>,
    /// Another package was activated: what runs is brought to its end, and nothing new is begun.
    leaving: bool,
    /// Whether there is another execution provider, if this one goes wrong.
    has_next: bool,
}

impl Running {
    fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> Ended {
        loop {
            if let Some(ended) = self.take(commands) {
                return ended;
            }
            self.drop_cancelled();
            if let Err(error) = self.step() {
                // The sequences go without a word, as in a panic: their requests may run once more.
                if !self.has_next {
                    return Ended::Broken(error.to_string());
                }
                let (provider, reason) = (self.model.provider.clone(), format!("{error} while it served"));
                return Ended::Unsound(PassedOver { provider, reason });
            }
            EngineStats::add(&self.stats.steps, 1);
            self.stats.running.store(self.running() as u64, Ordering::Relaxed);
        }
    }

    fn running(&self) -> usize {
        self.decoding.len() + usize::from(self.prefilling.is_some())
    }

    /// Takes new work while there is room for it; waits when there is nothing else to do.
    fn take(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Ended> {
        loop {
            if self.leaving {
                return (self.running() == 0).then_some(Ended::Replaced);
            }
            let room = self.prefilling.is_none() && self.decoding.len() < self.graph.slots();
            let command = if self.running() == 0 {
                match commands.blocking_recv() {
                    Some(command) => command,
                    None => return Some(Ended::Closed),
                }
            } else if room {
                match commands.try_recv() {
                    Ok(command) => command,
                    Err(_) => return None,
                }
            } else {
                return None;
            };
            match command {
                // Its tokens are those of a model that is no longer here.
                Command::Run(job) if job.package != self.model.dir => refuse(*job),
                Command::Run(job) => self.start(*job),
                Command::Reload => self.leaving = self.is_replaced(),
            }
        }
    }

    /// Whether another package than this one is activated.
    fn is_replaced(&self) -> bool {
        let chosen = self.shelf.as_ref().and_then(Shelf::chosen);
        chosen.is_some_and(|chosen| chosen.dir != self.model.dir)
    }

    fn start(&mut self, job: Job) {
        let now = self.clock.boot();
        self.started += 1;
        let entropy =
            std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), self.started);
        let sequence = Sequence::new(job, &self.model.tokenizer, self.graph.context(), entropy, now);
        self.prefilling = Some(sequence);
        self.stats.running.store(self.running() as u64, Ordering::Relaxed);
    }

    fn drop_cancelled(&mut self) {
        for slot in (0..self.decoding.len()).rev() {
            if let Some(error) = self.decoding[slot].job.cancel.error() {
                self.release(slot).fail(error);
            }
        }
        if let Some(error) = self.prefilling.as_ref().and_then(|s| s.job.cancel.error())
            && let Some(sequence) = self.prefilling.take()
        {
            sequence.fail(error);
        }
    }

    fn step(&mut self) -> Result<(), GraphError> {
        let step =
            plan(self.decoding.len(), self.prefilling.as_ref().map(Sequence::prefill), self.graph.chunk());
        if step.decode > 0 {
            self.decode()?;
        }
        if let Some(chunk) = step.prefill {
            // Sequences that ended in this step's decode run have moved the prompt to a lower slot.
            self.prefill(Chunk { slot: self.decoding.len(), ..chunk })?;
        }
        Ok(())
    }

    fn decode(&mut self) -> Result<(), GraphError> {
        let began = self.clock.boot();
        let tokens: Vec<u32> = self.decoding.iter().map(|s| s.next).collect();
        let pasts: Vec<usize> = self.decoding.iter().map(|s| s.committed).collect();
        let logits = self.graph.decode(&tokens, &pasts)?;
        check(self.has_next, logits, self.model.manifest.vocabulary)?;
        let now = self.clock.boot();
        let vocabulary = Vocabulary { tokenizer: &self.model.tokenizer, eos: &self.model.manifest.eos };
        let mut ended = Vec::new();
        for (slot, (sequence, row)) in
            self.decoding.iter_mut().zip(logits.chunks_exact(self.model.manifest.vocabulary)).enumerate()
        {
            sequence.committed += 1;
            if let Some(end) = advance(sequence, row, vocabulary, now) {
                ended.push((slot, end));
            }
        }
        self.stats.wrote(tokens.len() as u64, now.since(began));
        // From the last slot down, so that a move never touches a slot still to be released.
        for (slot, end) in ended.into_iter().rev() {
            let sequence = self.release(slot);
            close(sequence, end, now);
        }
        Ok(())
    }

    fn prefill(&mut self, chunk: Chunk) -> Result<(), GraphError> {
        let Some(sequence) = &mut self.prefilling else { return Ok(()) };
        let began = self.clock.boot();
        let tokens = &sequence.job.prompt[chunk.start..chunk.start + chunk.len];
        let logits = self.graph.prefill(chunk.slot, chunk.start, tokens, &[chunk.len - 1])?;
        check(self.has_next, logits, self.model.manifest.vocabulary)?;
        let now = self.clock.boot();
        sequence.committed += chunk.len;
        self.stats.read(chunk.len as u64, now.since(began));
        if !chunk.last {
            return Ok(());
        }
        let vocabulary = Vocabulary { tokenizer: &self.model.tokenizer, eos: &self.model.manifest.eos };
        let end = advance(sequence, logits, vocabulary, now);
        if let Some(sequence) = self.prefilling.take() {
            match end {
                Some(end) => close(sequence, end, now),
                None => self.decoding.push(sequence),
            }
        }
        Ok(())
    }

    /// Takes the sequence out of its slot and closes the gap.
    fn release(&mut self, slot: usize) -> Sequence {
        let sequence = self.decoding.swap_remove(slot);
        let freed = self.decoding.len();
        if slot < freed {
            self.graph.copy_slot(freed, slot, self.decoding[slot].committed);
        }
        if let Some(prompt) = &self.prefilling {
            self.graph.copy_slot(freed + 1, freed, prompt.committed);
        }
        sequence
    }
}

/// Looks at the logits of a provider that another could take over from. The last one is not replaced, and an answer
/// that it spoils ends alone.
fn check(has_next: bool, logits: &[f32], vocabulary: usize) -> Result<(), GraphError> {
    let wrong = logits.chunks_exact(vocabulary).filter(|_| has_next).find_map(senseless);
    wrong.map_or(Ok(()), |why| Err(GraphError::Senseless(why)))
}

/// How a sequence leaves its slot.
enum End {
    Finished(FinishReason),
    Failed(Error),
}

fn advance(
    sequence: &mut Sequence,
    logits: &[f32],
    vocabulary: Vocabulary<'_>,
    now: crate::domain::BootTime,
) -> Option<End> {
    match sequence.accept(logits, vocabulary, now) {
        Ok(Some(finish)) => Some(End::Finished(finish)),
        Ok(None) => match sequence.flush() {
            Flow::Goes => None,
            Flow::NobodyReads => {
                Some(End::Failed(Error::new(ErrorKind::Cancelled, "nobody reads the answer any more")))
            }
        },
        Err(error) => Some(End::Failed(error)),
    }
}

fn close(sequence: Sequence, end: End, now: crate::domain::BootTime) {
    match end {
        End::Finished(finish) => sequence.finish(finish, now),
        End::Failed(error) => sequence.fail(error),
    }
}
