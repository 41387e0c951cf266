//! Running a package's graph while it is being made: for calibration, self-test and `eval`.
//!
//! This is the plain way, through `ort`'s safe calls, which copies the KV cache at every
//! step: right for checking, too slow for serving. The daemon's engine binds the cache in
//! place; both must give the same tokens, which makes one the check of the other.

use std::{borrow::Cow, path::Path};

use ort::{
    environment::Environment,
    memory::Allocator,
    session::{Session, SessionInputValue},
    value::{DynTensor, DynValue, Tensor, TensorElementType},
};
use outpost::{
    engine,
    model::{CacheShape, KvType},
};

use crate::{Error, Result};

/// Loads ONNX Runtime, once per process; `configured` alone if given.
pub fn load(configured: Option<&Path>) -> Result<()> {
    engine::load_runtime(configured, None).map(|_| ()).map_err(|e| Error::Runtime(e.to_string()))
}

fn environment() -> Result<Environment> {
    load(None)?;
    engine::environment().ok_or_else(|| Error::Bug("the library was loaded just now".into()))
}

/// A loaded graph and the cache of one sequence.
pub struct Model {
    session: Session,
    shape: CacheShape,
    kv: KvType,
    vocabulary: usize,
    taps: Vec<String>,
    past: Vec<DynValue>,
    past_len: usize,
}

/// What one step gives.
pub struct Step {
    /// `rows * vocabulary` logits.
    pub logits: Vec<f32>,
    /// Contents of each tap, in the order in which they were asked for.
    pub taps: Vec<Vec<f32>>,
}

impl Model {
    /// Loads `graph`, whose outputs `taps` are wanted beside the logits.
    pub fn open(
        graph: &Path,
        shape: CacheShape,
        kv: KvType,
        vocabulary: usize,
        taps: Vec<String>,
    ) -> Result<Self> {
        let environment = environment()?;
        let session = open_session(&environment, graph)
            .map_err(|e| Error::Runtime(format!("ONNX Runtime refuses `{}`: {e}", graph.display())))?;
        let mut model = Self { session, shape, kv, vocabulary, taps, past: Vec::new(), past_len: 0 };
        model.reset(0)?;
        Ok(model)
    }

    /// Begins a sequence of at most `tokens`.
    pub fn reset(&mut self, tokens: usize) -> Result<()> {
        let kind = match self.kv {
            KvType::F32 => TensorElementType::Float32,
            KvType::F16 => TensorElementType::Float16,
            KvType::Int8 => TensorElementType::Int8,
        };
        // ONNX Runtime runs float16 caches through casts, and gives the present the memory of
        // the past's cast: both must have one size. The others grow as they are fed.
        let room = if self.kv == KvType::F16 { tokens } else { 0 };
        let shape = [1, self.shape.heads, room, self.shape.head_width];
        let empty = |_| DynTensor::new(&Allocator::default(), kind, shape).map(DynTensor::into_dyn);
        self.past = (0..2 * self.shape.layers).map(empty).collect::<ort::Result<_>>().map_err(failed)?;
        self.past_len = 0;
        Ok(())
    }

    /// Feeds `tokens` after the past and gives the logits at `rows` of them.
    pub fn step(&mut self, tokens: &[u32], rows: &[usize]) -> Result<Step> {
        self.run(tokens, rows).map_err(failed)
    }

    fn run(&mut self, tokens: &[u32], rows: &[usize]) -> ort::Result<Step> {
        let total = self.past_len + tokens.len();
        let ids: Vec<i64> = tokens.iter().map(|t| i64::from(*t)).collect();
        let rows_wanted: Vec<i64> = rows.iter().map(|r| *r as i64).collect();
        let scalar: [usize; 0] = [];
        let mut inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = vec![
            ("input_ids".into(), Tensor::from_array(([1, tokens.len()], ids))?.into()),
            ("seqlens_k".into(), Tensor::from_array(([1], vec![total as i32 - 1]))?.into()),
            ("total_len".into(), Tensor::from_array((scalar, vec![total as i32]))?.into()),
            ("logits_rows".into(), Tensor::from_array(([rows.len()], rows_wanted))?.into()),
        ];
        for (index, past) in self.past.drain(..).enumerate() {
            inputs.push((cache_name("past", index).into(), past.into()));
        }
        let mut outputs = self.session.run(inputs)?;
        let logits = match outputs.get("logits") {
            Some(logits) => logits.try_extract_tensor::<f32>()?.1.to_vec(),
            None => Vec::new(),
        };
        debug_assert_eq!(logits.len(), rows.len() * self.vocabulary, "one row of logits for each asked for");
        let mut taps = Vec::new();
        for name in &self.taps {
            if let Some(tap) = outputs.get(name) {
                taps.push(tap.try_extract_tensor::<f32>()?.1.to_vec());
            }
        }
        let layers = self.shape.layers;
        self.past =
            (0..2 * layers).filter_map(|index| outputs.remove(cache_name("present", index))).collect();
        self.past_len = total;
        Ok(Step { logits, taps })
    }

    /// Reads the cache of `layer`: keys and values, `heads * tokens * head_width` each. Float32 caches only.
    pub fn cache(&self, layer: usize) -> Result<[&[f32]; 2]> {
        let part = |index: usize| self.past[index].try_extract_tensor::<f32>().map(|(_, numbers)| numbers);
        Ok([part(2 * layer).map_err(failed)?, part(2 * layer + 1).map_err(failed)?])
    }

    /// Rows of logits.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

fn cache_name(which: &str, index: usize) -> String {
    format!("{which}.{}.{}", index / 2, if index.is_multiple_of(2) { "key" } else { "value" })
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: ort::Error) -> Error {
    Error::Runtime(format!("ONNX Runtime: {error}"))
}

fn open_session(environment: &Environment, graph: &Path) -> ort::Result<Session> {
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
