//! One variant of a package, loaded: tokens in, logits out.
//!
//! The graph is held against the manifest before anything runs: a package whose graph does
//! not have the tensors it promises is refused by name, not by a crash in the first step.
//! A graph that others published does not say everything at its border; the rest is found
//! out by running it.

mod runner;
mod session;
mod settle;

use std::{path::Path, sync::Arc};

use runner::Runner;
use session::Opening;

use super::{
    border::{self, Border, FixedBorder, Lengths, PAST, Port, Rows, TOKENS, TOTAL, Tokens},
    ffi::{Cell, CellShape, FixedCell, Keeping, Span, Table},
    provider::{Provider, Watch},
    runtime::{self, Runtime},
};
use crate::model::{Convention, FixedShapes, KvType, Manifest, Variant};

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
    /// The execution provider cannot be had.
    #[error("{0}")]
    Provider(String),
    /// ONNX Runtime refused the file.
    #[error("graph `{graph}`: {reason}")]
    Load {
        /// File of the graph.
        graph: String,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// The graph is not what the manifest says.
    #[error("graph `{graph}` does not fit its package: {reason}; fetch or import the model again")]
    Mismatch {
        /// File of the graph.
        graph: String,
        /// Which tensor.
        reason: String,
    },
    /// A decoder wants embeddings, and there is no graph that holds them.
    #[error(
        "the decoder takes embeddings, and the package has no `embed_tokens` graph; fetch the model again, with it"
    )]
    NoTable,
    /// A published graph does not compute what a decoder with a cache computes.
    #[error(
        "graph `{graph}` does not run here as a language model: {reason}. Take another precision of it, or import the \
         model with outpost-forge"
    )]
    Unsound {
        /// File of the graph.
        graph: String,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// A run gave what no language model gives.
    #[error("{0}")]
    Senseless(&'static str),
    /// A run failed.
    #[error("ONNX Runtime: {0}")]
    Run(String),
}

/// A loaded graph with room for `slots` sequences.
pub struct Graph {
    runner: Runner,
    all_rows: Vec<usize>,
}

impl Graph {
    /// Loads `variant` of the package in `dir` on `provider`.
    ///
    /// The context is the smaller of the package's and `options.context`.
    pub fn open(
        dir: &Path,
        manifest: &Manifest,
        variant: &Variant,
        provider: &Provider,
        options: &GraphOptions,
    ) -> Result<Self, GraphError> {
        Self::open_how(dir, (manifest, variant), provider, options, How::default())
    }

    /// The same, with what only the daemon does.
    pub(super) fn open_how(
        dir: &Path,
        (manifest, variant): (&Manifest, &Variant),
        provider: &Provider,
        options: &GraphOptions,
        how: How<'_>,
    ) -> Result<Self, GraphError> {
        let runtime = runtime_for(variant)?;
        let opening = Opening {
            environment: &runtime.environment,
            threads: options.threads,
            package_bytes: package_bytes(manifest),
            provider,
            watch: how.watch,
            compiled: how.compiled,
        };
        let room = Room { slots: options.slots, context: options.context.min(manifest.context) };
        let runner = match variant.shapes {
            Some(shapes) => Runner::Fixed(fixed(&opening, dir, (manifest, variant), shapes, room)?),
            None => Runner::Free(free(&opening, dir, (manifest, variant), room, how.packed)?),
        };
        Ok(Self { runner, all_rows: (0..options.slots).collect() })
    }

    /// Writes `variant` of the package in `dir` to the file `packed`, with its weights beside it as the processor wants
    /// them, for [`How::packed`].
    pub(super) fn pack(
        dir: &Path,
        (manifest, variant): (&Manifest, &Variant),
        threads: usize,
        packed: &Path,
    ) -> Result<(), GraphError> {
        let runtime = runtime_for(variant)?;
        let opening = Opening {
            environment: &runtime.environment,
            threads,
            package_bytes: package_bytes(manifest),
            provider: &Provider::cpu(),
            watch: None,
            compiled: Compiled::Not,
        };
        opening.pack(dir, &variant.graph, packed)
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
        self.runner.run(Span::Slot(slot), tokens, &[past], rows).map_err(GraphError::Run)
    }

    /// Feeds one token to each of the slots `0..tokens.len()`, which hold `pasts` tokens, and
    /// returns the logits of each: `tokens.len() × vocabulary`.
    pub fn decode(&mut self, tokens: &[u32], pasts: &[usize]) -> Result<&[f32], GraphError> {
        let n = tokens.len();
        self.runner.run(Span::First(n), tokens, pasts, &self.all_rows[..n]).map_err(GraphError::Run)
    }

    /// Makes slot `to` hold the first `tokens` tokens of slot `from`.
    pub fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        self.runner.copy_slot(from, to, tokens);
    }

    /// Sequences that can run at once.
    pub fn slots(&self) -> usize {
        self.runner.shape().slots
    }

    /// Tokens of one slot.
    pub fn context(&self) -> usize {
        self.runner.shape().context
    }

    /// Bytes of the KV cache, when every slot is full.
    pub fn cache_bytes(&self) -> usize {
        self.runner.cache_bytes()
    }

    /// Number format of the KV cache.
    pub const fn kv(&self) -> KvType {
        self.runner.kv()
    }

    /// Most tokens of a prompt in one run.
    pub fn chunk(&self) -> usize {
        self.runner.chunk()
    }
}

/// How a graph is opened, besides what everybody says.
#[derive(Clone, Copy, Default)]
pub(super) struct How<'a> {
    /// Hears which nodes go where. What is watched runs slower.
    pub(super) watch: Option<&'a Watch>,
    /// A file that [`Graph::pack`] has written, to be opened instead of the package's.
    pub(super) packed: Option<&'a Path>,
    /// Graphs as the provider's compiler leaves them.
    pub(super) compiled: Compiled<'a>,
}

/// Graphs as a provider's compiler leaves them (ONNX Runtime's EP context), in a directory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Compiled<'a> {
    /// Nobody asks for them.
    #[default]
    Not,
    /// They are written there.
    Now(&'a Path),
    /// They lie there.
    Before(&'a Path),
}

/// The library, if it is new enough.
fn runtime_for(variant: &Variant) -> Result<Arc<Runtime>, GraphError> {
    let runtime = runtime::loaded().ok_or(GraphError::NoRuntime)?;
    let too_old = |needed: &&str| older(&runtime.info.version, needed);
    match variant.requires.onnxruntime.as_deref().filter(too_old) {
        None => Ok(runtime),
        Some(needed) => Err(GraphError::RuntimeTooOld {
            graph: variant.graph.clone(),
            needed: needed.into(),
            found: runtime.info.version.clone(),
        }),
    }
}

/// Slots, and tokens of one.
#[derive(Clone, Copy)]
struct Room {
    slots: usize,
    context: usize,
}

/// A graph whose runs take any number of tokens.
fn free(
    opening: &Opening<'_>,
    dir: &Path,
    (manifest, variant): (&Manifest, &Variant),
    room: Room,
    packed: Option<&Path>,
) -> Result<Cell, GraphError> {
    let open = |graph: &str| opening.open(dir, graph, &[]);
    let mismatch = |reason| GraphError::Mismatch { graph: variant.graph.clone(), reason };
    let session = match packed {
        Some(packed) => opening.open_packed(packed, &variant.graph)?,
        None => open(&variant.graph)?,
    };
    let (inputs, outputs) = (Port::all(session.inputs()), Port::all(session.outputs()));
    let border = border::read(&inputs, &outputs, manifest.cache, manifest.vocabulary).map_err(mismatch)?;
    let Room { slots, context } = room;
    match &variant.convention {
        Convention::Forge => {
            ours(&border, variant.kv).map_err(mismatch)?;
            Ok(Cell::new(session, None, border, CellShape { keeping: Keeping::InPlace, slots, context }))
        }
        Convention::Published { table } => {
            let table = table.as_deref().map(|path| Ok((path, open(path)?))).transpose()?;
            let table = join(&border, table)?;
            settle::settle(session, table, border, slots, context)
                .map_err(|reason| GraphError::Unsound { graph: variant.graph.clone(), reason })
        }
    }
}

/// A graph whose sizes are fixed here: opened once for parts of prompts, once for tokens of answers.
fn fixed(
    opening: &Opening<'_>,
    dir: &Path,
    (manifest, variant): (&Manifest, &Variant),
    shapes: FixedShapes,
    room: Room,
) -> Result<FixedCell, GraphError> {
    let mismatch = |reason| GraphError::Mismatch { graph: variant.graph.clone(), reason };
    let open = |tokens: usize| {
        let sizes = [(TOKENS, tokens), (PAST, room.context), (TOTAL, room.context + tokens)];
        let session = opening.open(dir, &variant.graph, &sizes)?;
        let (inputs, outputs) = (Port::all(session.inputs()), Port::all(session.outputs()));
        let sizes = (tokens, room.context);
        let border = FixedBorder::read((&inputs, &outputs), sizes, manifest.cache, manifest.vocabulary);
        Ok((session, border.map_err(mismatch)?))
    };
    FixedCell::new(open(shapes.prefill)?, open(shapes.decode)?, room.slots).map_err(GraphError::Run)
}

fn package_bytes(manifest: &Manifest) -> u64 {
    manifest.files.iter().map(|f| f.bytes).sum()
}

/// That the border is as the forge draws it.
fn ours(border: &Border, kv: KvType) -> Result<(), String> {
    if border.kv != kv {
        return Err(format!("its cache is {}, not {}", border.kv.name(), kv.name()));
    }
    let numbers = border.lengths == Lengths::Numbers && matches!(border.rows, Rows::Selected(_));
    let ids = matches!(border.tokens, Tokens::Ids(_)) && border.positions.is_none();
    let said = numbers && ids && border.number == border::Float::F32;
    said.then_some(()).ok_or_else(|| {
        "it does not take `input_ids`, `seqlens_k`, `total_len` and `logits_rows` alone".into()
    })
}

/// The graph with the token table, where there is one, made to fit the decoder.
fn join(border: &Border, table: Option<(&str, ort::session::Session)>) -> Result<Option<Table>, GraphError> {
    let (decoder, (path, session)) = match (&border.tokens, table) {
        (Tokens::Ids(_), _) => return Ok(None),
        (Tokens::Embeddings { .. }, None) => return Err(GraphError::NoTable),
        (decoder, Some(table)) => (decoder, table),
    };
    let mismatch = |reason| GraphError::Mismatch { graph: path.to_owned(), reason };
    let (inputs, outputs) = (Port::all(session.inputs()), Port::all(session.outputs()));
    let (ids, rows, number) = border::read_table(&inputs, &outputs).map_err(mismatch)?;
    match *decoder {
        Tokens::Embeddings { number: wanted, width, .. } if wanted == number => {
            Ok(Some(Table { session, ids, rows, number, width }))
        }
        _ => Err(mismatch(format!(
            "it gives {number:?} embeddings and the decoder takes others: they are of two precisions that do not go \
             together"
        ))),
    }
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
