//! Running a model while it is being made: for calibration, self-test and `eval`.
//!
//! This is the plain way, through `ort`'s safe calls, which copies the KV cache at every
//! step: right for checking, too slow for serving. The daemon's engine binds the cache in
//! place; both must give the same tokens, which makes one the check of the other.
//!
//! A model can be a [`Chain`] of graphs, a few layers each. Of a long one, a single graph is in
//! memory at a time: every sequence goes through it before the next is loaded. So importing a
//! model takes the memory of some of its layers and not of all.

mod chain;
mod model;
mod sequence;

use std::path::Path;

pub use chain::{Chain, Feed, Link, Step};
pub(crate) use chain::{STREAM_IN, STREAM_OUT};
pub use model::Model;
use ort::{environment::Environment, session::Session};
use outpost::engine;
pub use sequence::Sequence;

use crate::{Error, Result};

/// Loads ONNX Runtime, once per process; `configured` alone if given.
pub fn load(configured: Option<&Path>) -> Result<()> {
    engine::load_runtime(configured, None).map(|_| ()).map_err(|e| Error::Runtime(e.to_string()))
}

fn environment() -> Result<Environment> {
    load(None)?;
    engine::environment().ok_or_else(|| Error::Bug("the library was loaded just now".into()))
}

fn open_session(graph: &Path) -> Result<Session> {
    let environment = environment()?;
    let refused = |e: ort::Error| Error::Runtime(format!("ONNX Runtime refuses `{}`: {e}", graph.display()));
    try_open(&environment, graph).map_err(refused)
}

fn try_open(environment: &Environment, graph: &Path) -> ort::Result<Session> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // The arena would keep the peak of the longest run for as long as the session lives.
    let cpu = ort::ep::CPU::default().with_arena_allocator(false).build().error_on_failure();
    Session::builder(environment)?
        .with_intra_threads(threads)?
        .with_intra_op_spinning(false)?
        .with_memory_pattern(false)?
        .with_execution_providers([cpu])?
        .commit_from_file(graph)
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: ort::Error) -> Error {
    Error::Runtime(format!("ONNX Runtime: {error}"))
}

/// Index of the largest logit, the lowest of equals; and how far the second is below it.
pub fn greedy(logits: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    let mut second = f32::NEG_INFINITY;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            second = best.1;
            best = (id as u32, *logit);
        } else if *logit > second {
            second = *logit;
        }
    }
    (best.0, best.1 - second)
}
