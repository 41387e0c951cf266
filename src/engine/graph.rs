//! One variant of a package, loaded: tokens in, logits out.
//!
//! The graph is held against the manifest before anything runs: a package whose graph does
//! not have the tensors it promises is refused by name, not by a crash in the first step.

use std::path::Path;

use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::{Outlet, TensorElementType},
};

use super::{
    ffi::{Cell, CellShape, Span},
    runtime,
};
use crate::model::{KvType, Manifest, Variant};

/// How much of the board a graph may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphOptions {
    /// Sequences that can run at once.
    pub slots: usize,
    /// Tokens of one slot, prompt and answer together.
    pub context: usize,
    /// Threads of one run.
    pub threads: usize,
}

/// Why a graph cannot run.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// `load_runtime` was not called or failed.
    #[error("ONNX Runtime is not loaded")]
    NoRuntime,
    /// The variant asks for a newer library.
    #[error("graph `{graph}` needs ONNX Runtime {needed} or newer, {found} is loaded")]
    RuntimeTooOld {
        /// File of the graph.
        graph: String,
        /// Version that the manifest asks for.
        needed: String,
        /// Version that is loaded.
        found: String,
    },
    /// ONNX Runtime refused the file.
    #[error("graph `{graph}`: {reason}")]
    Load {
        /// File of the graph.
        graph: String,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// The graph is not what the manifest says.
    #[error("graph `{graph}` does not fit its manifest: {reason}; import the model again")]
    Mismatch {
        /// File of the graph.
        graph: String,
        /// Which tensor.
        reason: String,
    },
    /// A run failed.
    #[error("ONNX Runtime: {0}")]
    Run(String),
}

/// A loaded graph with room for `slots` sequences.
pub struct Graph {
    cell: Cell,
    options: GraphOptions,
    all_rows: Vec<usize>,
}

impl Graph {
    /// Loads `variant` of the package in `dir`.
    ///
    /// The context is the smaller of the package's and `options.context`.
    pub fn open(
        dir: &Path,
        manifest: &Manifest,
        variant: &Variant,
        options: &GraphOptions,
    ) -> Result<Self, GraphError> {
        let runtime = runtime::loaded().ok_or(GraphError::NoRuntime)?;
        if let Some(needed) =
            variant.requires.onnxruntime.as_deref().filter(|v| older(&runtime.info.version, v))
        {
            return Err(GraphError::RuntimeTooOld {
                graph: variant.graph.clone(),
                needed: needed.into(),
                found: runtime.info.version.clone(),
            });
        }
        let load = |e: &dyn std::fmt::Display| GraphError::Load {
            graph: variant.graph.clone(),
            reason: e.to_string(),
        };
        let session = open_session(
            &runtime.environment,
            &dir.join(&variant.graph),
            options.threads,
            package_bytes(manifest) < SPIN_BELOW_BYTES,
        )
        .map_err(|e| load(&e))?;
        check_graph(&session, manifest, variant.kv)
            .map_err(|reason| GraphError::Mismatch { graph: variant.graph.clone(), reason })?;

        let options = GraphOptions { context: options.context.min(manifest.context), ..options.clone() };
        let shape = CellShape {
            cache: manifest.cache,
            kv: variant.kv,
            slots: options.slots,
            context: options.context,
            vocabulary: manifest.vocabulary,
        };
        let cell = Cell::new(session, shape);
        Ok(Self { cell, all_rows: (0..options.slots).collect(), options })
    }

    /// Feeds `tokens` to `slot`, after the `past` tokens it holds already, and returns the
    /// logits at `rows` (positions within `tokens`): `rows.len() × vocabulary`.
    pub fn prefill(
        &mut self,
        slot: usize,
        past: usize,
        tokens: &[u32],
        rows: &[usize],
    ) -> Result<&[f32], GraphError> {
        self.cell.run(Span::Slot(slot), tokens, &[past], rows).map_err(GraphError::Run)
    }

    /// Feeds one token to each of the slots `0..tokens.len()`, which hold `pasts` tokens, and
    /// returns the logits of each: `tokens.len() × vocabulary`.
    pub fn decode(&mut self, tokens: &[u32], pasts: &[usize]) -> Result<&[f32], GraphError> {
        let n = tokens.len();
        self.cell.run(Span::First(n), tokens, pasts, &self.all_rows[..n]).map_err(GraphError::Run)
    }

    /// Makes slot `to` hold the first `tokens` tokens of slot `from`.
    pub fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        self.cell.copy_slot(from, to, tokens);
    }

    /// Sequences that can run at once.
    pub fn slots(&self) -> usize {
        self.options.slots
    }

    /// Tokens of one slot.
    pub fn context(&self) -> usize {
        self.options.context
    }

    /// Bytes of the KV cache, when every slot is full.
    pub fn cache_bytes(&self) -> usize {
        self.cell.cache_bytes()
    }
}

/// Packages below this let idle threads spin between operators. Waking a sleeping thread
/// costs the same for every operator: half of a step of a small model (SmolLM2 decodes 1.4 to
/// 2.2 times faster with spinning), nothing beside a step of a 4B, where it only heats.
const SPIN_BELOW_BYTES: u64 = 1 << 30;

fn package_bytes(manifest: &Manifest) -> u64 {
    manifest.files.iter().map(|f| f.bytes).sum()
}

/// The arena stays off: it would keep the peak of the longest prefill for ever.
fn open_session(
    environment: &ort::environment::Environment,
    graph: &Path,
    threads: usize,
    spin: bool,
) -> Result<Session, ort::Error> {
    let cpu = ort::ep::CPU::default().with_arena_allocator(false).build().error_on_failure();
    Session::builder(environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(spin)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_memory_pattern(false)?
        .with_execution_providers([cpu])?
        .commit_from_file(graph)
}

fn check_graph(session: &Session, manifest: &Manifest, kv: KvType) -> Result<(), String> {
    let kv = match kv {
        KvType::F32 => TensorElementType::Float32,
        KvType::F16 => TensorElementType::Float16,
        KvType::Int8 => TensorElementType::Int8,
    };
    let shape = manifest.cache;
    let cache = [-1, shape.heads as i64, -1, shape.head_width as i64];
    let (inputs, outputs) = (session.inputs(), session.outputs());
    check_tensor(inputs, "input_ids", TensorElementType::Int64, &[-1, -1])?;
    check_tensor(inputs, "seqlens_k", TensorElementType::Int32, &[-1])?;
    check_tensor(inputs, "total_len", TensorElementType::Int32, &[])?;
    check_tensor(inputs, "logits_rows", TensorElementType::Int64, &[-1])?;
    check_tensor(outputs, "logits", TensorElementType::Float32, &[-1, manifest.vocabulary as i64])?;
    for layer in 0..shape.layers {
        for kind in ["key", "value"] {
            check_tensor(inputs, &format!("past.{layer}.{kind}"), kv, &cache)?;
            check_tensor(outputs, &format!("present.{layer}.{kind}"), kv, &cache)?;
        }
    }
    let expected = 4 + 2 * shape.layers;
    if inputs.len() == expected { Ok(()) } else { Err(format!("{} inputs, not {expected}", inputs.len())) }
}

/// `wanted`: -1 fits any size.
fn check_tensor(border: &[Outlet], name: &str, ty: TensorElementType, wanted: &[i64]) -> Result<(), String> {
    let outlet = border.iter().find(|o| o.name() == name).ok_or(format!("it has no tensor `{name}`"))?;
    let found = outlet.dtype();
    let shape: &[i64] = found.tensor_shape().map_or(&[], |s| s);
    let fits = found.tensor_type() == Some(ty)
        && shape.len() == wanted.len()
        && shape.iter().zip(wanted).all(|(s, w)| *w == -1 || *s == -1 || s == w);
    if fits { Ok(()) } else { Err(format!("tensor `{name}` is {found}, not {ty} {wanted:?}")) }
}

/// Whether version `found` is older than `needed`, part by part; a part that is no number counts as 0.
fn older(found: &str, needed: &str) -> bool {
    let parts = |v: &str| v.split('.').map(|p| p.parse().unwrap_or(0)).collect::<Vec<u32>>();
    parts(found) < parts(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(older("1.9.0", "1.22"));
        assert!(!older("1.31.1", "1.4"));
        assert!(!older("1.22.0", "1.22"));
    }
}
