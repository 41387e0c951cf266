//! The model at work: ONNX Runtime under one thread, slots, sampling, text.
//!
//! - [`Engine`] is a handle; the thread behind it owns the session and all that changes.
//! - [`Graph`] is tokens in, logits out; the forge uses it alone.
//! - A [`Provider`] computes it; one that cannot gives its place to the next.
//! - `ffi` is the one module with `unsafe`.
//!
//! Promises: a cancelled job ends within one step; a job that cannot go on gets an error,
//! never silence; a slow reader slows nobody; steady decoding allocates nothing that grows.

mod border;
mod calls;
mod ffi;
mod fit;
mod graph;
mod guard;
mod job;
mod load;
mod open;
mod plan;
mod prepared;
mod probe;
mod provider;
mod running;
mod runtime;
mod sample;
mod sequence;
mod state;
mod stop;
mod trial;
mod worker;

use std::{io, sync::Arc, thread::JoinHandle};

use tokio::sync::{mpsc, watch};

pub use calls::{Begun, Calling};
pub use fit::{Need, Room};
pub use graph::{Graph, GraphError, GraphOptions};
pub use job::{Cancel, CancelFlag, Command, Job};
pub use load::{EngineOptions, LoadError};
pub use prepared::Prepared;
pub use probe::{ProbeRequest, answer_probe, try_provider};
pub use provider::{PassedOver, Placement, Provider};
pub use runtime::{RuntimeError, RuntimeInfo, environment, load_runtime};
pub use sample::argmax;
pub use state::{EngineState, EngineStats, LoadStage, Model};

use crate::domain::Clock;

/// Handle of the engine thread. The thread ends when the last clone of `commands` is gone.
pub struct Engine {
    /// Room for one job: the queue before it decides the order, not this channel.
    pub commands: mpsc::Sender<Command>,
    /// Where the engine is in its life.
    pub state: watch::Receiver<EngineState>,
    /// Its counters.
    pub stats: Arc<EngineStats>,
    /// The thread, to wait for at the end.
    pub thread: JoinHandle<()>,
}

impl Engine {
    /// Starts the thread, which loads the package and then serves.
    pub fn start(options: EngineOptions, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel(1);
        let absent = options.shelf.as_ref().is_some_and(|shelf| shelf.chosen().is_none());
        let begin = if absent { EngineState::Absent } else { EngineState::Loading(LoadStage::Runtime) };
        let (state_sender, state) = watch::channel(begin);
        let stats = Arc::new(EngineStats::default());
        let worker = worker::Worker {
            options,
            commands: receiver,
            state: state_sender,
            stats: Arc::clone(&stats),
            clock,
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || worker.run())?;
        Ok(Self { commands, state, stats, thread })
    }
}
