//! What a board's engine does with its slots, step by step: one chunk of a prompt, then one token for
//! everybody who writes. Pure; the share of speed that the heat leaves comes in.

use std::time::Duration;

/// Sequences at once.
pub(super) const SLOTS: usize = 4;
/// A model of 4 billion parameters in 4 bits on a board of four cores: tokens of a prompt per second,
/// milliseconds of a decode step, and of each sequence in it (the weights are read once for all).
const PREFILL: f64 = 60.0;
const STEP_MS: f64 = 140.0;
const SEQUENCE_MS: f64 = 15.0;
const CHUNK: u64 = 128;

/// A sequence in a slot; `T` is whose.
pub(super) struct Sequence<T> {
    pub(super) whose: T,
    unread: u64,
    unwritten: u64,
}

impl<T> Sequence<T> {
    pub(super) fn new(whose: T, prompt: u64, answer: u64) -> Self {
        Self { whose, unread: prompt, unwritten: answer }
    }
}

/// What one step did.
#[derive(Default)]
pub(super) struct Step {
    pub(super) read: (u64, Duration),
    pub(super) written: (u64, Duration),
}

impl Step {
    pub(super) fn took(&self) -> Duration {
        self.read.1 + self.written.1
    }
}

/// Does one step at this share of the board's speed.
pub(super) fn step<T>(running: &mut [Sequence<T>], share: f64) -> Step {
    let mut step = Step::default();
    if let Some(reading) = running.iter_mut().find(|sequence| sequence.unread > 0) {
        let chunk = reading.unread.min(CHUNK);
        reading.unread -= chunk;
        step.read = (chunk, Duration::from_secs_f64(chunk as f64 / PREFILL / share));
    }
    let writing = running.iter_mut().filter(|sequence| sequence.unread == 0);
    let tokens = writing.map(|sequence| sequence.unwritten -= 1).count() as u64;
    if tokens > 0 {
        let ms = STEP_MS + SEQUENCE_MS * tokens as f64;
        step.written = (tokens, Duration::from_secs_f64(ms / 1e3 / share));
    }
    step
}

/// Takes out those that are done.
pub(super) fn done<T>(running: &mut Vec<Sequence<T>>) -> impl Iterator<Item = T> {
    running.extract_if(.., |sequence| sequence.unwritten == 0).map(|sequence| sequence.whose)
}
