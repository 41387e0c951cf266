//! What the service hands to the engine, and how the two talk while it runs.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::Calling;
use crate::domain::{Delta, Error, ErrorKind, GenerationOptions, Outcome, Result};

/// One sequence to run. The prompt is not empty and leaves room in the context for at least
/// one token; the service sees to that.
#[derive(Debug)]
pub struct Job {
    /// Directory of the package whose tokens these are.
    pub package: PathBuf,
    /// Token ids of the whole prompt.
    pub prompt: Vec<u32>,
    /// How to answer.
    pub options: GenerationOptions,
    /// How tools may be called; `None`: the answer is text whatever the model writes.
    pub calling: Option<Calling>,
    /// Ends the job early.
    pub cancel: CancelFlag,
    /// Pieces of the answer while it is written. A slow reader gets fewer, larger pieces.
    pub deltas: Option<mpsc::Sender<Delta>>,
    /// The end. Dropped unsent only when the engine dies.
    pub done: oneshot::Sender<Result<Outcome>>,
}

/// A command to the engine thread.
#[derive(Debug)]
pub enum Command {
    /// Run a sequence.
    Run(Box<Job>),
    /// Load the package that is activated, if it is not loaded.
    Reload,
}

/// Why a job ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cancel {
    /// The caller no longer wants it, or is gone.
    Caller = 1,
    /// The daemon stops.
    Drain = 2,
}

/// Shared between the caller's side and the engine; looked at before each step.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicU8>);

impl CancelFlag {
    /// Asks the engine to end the job. The first reason stays.
    pub fn cancel(&self, reason: Cancel) {
        let _ = self.0.compare_exchange(0, reason as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The error to end with, once cancelled.
    pub fn error(&self) -> Option<Error> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            r if r == Cancel::Drain as u8 => Some(Error::new(
                ErrorKind::Draining,
                "Outpost is stopping and could not finish this answer in time; send it again",
            )),
            _ => Some(Error::new(ErrorKind::Cancelled, "the request was cancelled")),
        }
    }
}
