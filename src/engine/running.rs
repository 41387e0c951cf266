//! One build of the engine at work: from jobs in the channel to sequences in slots and back.
//!
//! ```text
//! loop: take commands → plan one step → decode run → prefill chunk → hand out text
//! ```
//! Sequences that decode fill the slots `0..n` without a gap; the one prompt that is being
//! read has slot `n`. When a sequence ends, the last one moves into its place.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::mpsc;

use super::{
    Graph, GraphError, PassedOver,
    guard::senseless,
    job::{Command, Job},
    plan::{Chunk, plan},
    sequence::{Flow, Sequence, Vocabulary},
    state::{EngineStats, Model},
    trial::Failure,
};
use crate::{
    domain::{BootTime, Clock, Error, ErrorKind, FinishReason},
    model::Shelf,
};

/// Why the engine stopped serving.
pub(super) enum Ended {
    Closed,
    /// There is nothing to load.
    Absent,
    /// Another package was activated.
    Replaced,
    NotLoaded(Failure),
    Broken(String),
    /// Its execution provider cannot be relied upon, and there is another.
    Unsound(PassedOver),
}

/// Gives a job back: an accepted request waits for the next model.
pub(super) fn refuse(job: Job) {
    let _ = job.done.send(Err(Error::new(ErrorKind::ModelLoading, "the model is not loaded")));
}

/// One build of the engine, with the sequences in its slots.
pub(super) struct Running {
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
    /// With empty slots.
    pub(super) fn new(
        (graph, model): (Graph, Arc<Model>),
        stats: Arc<EngineStats>,
        clock: Arc<dyn Clock>,
        shelf: Option<Shelf>,
        has_next: bool,
    ) -> Self {
        let (decoding, prefilling) = (Vec::new(), None);
        Self { graph, model, decoding, prefilling, stats, clock, started: 0, shelf, leaving: false, has_next }
    }

    /// Runs what comes until there is a reason to stop.
    pub(super) fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> Ended {
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
    now: BootTime,
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

fn close(sequence: Sequence, end: End, now: BootTime) {
    match end {
        End::Finished(finish) => sequence.finish(finish, now),
        End::Failed(error) => sequence.fail(error),
    }
}
