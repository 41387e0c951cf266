//! A variant of fixed sizes beside the one that the processor runs: for NPUs and for providers
//! that know ONNX's own operators only.

use std::path::Path;

use outpost::{
    engine::{Graph, GraphOptions, Provider},
    model::{Convention, FixedShapes, KvType, Manifest, Requires, Variant},
};

use crate::{
    Error, Result,
    graph::{self, FIXED_GRAPH_FILE, Plan},
    progress::Progress,
    recipe::Weights,
    selftest::{self, Reader},
    tokenizer::Tokenizer,
};

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Tokens of a prompt in one run.
    pub prefill: usize,
    /// Execution providers that are to use it.
    pub providers: Vec<String>,
}

/// Lowest version of ONNX Runtime that the engine takes at all; its operators are older.
const RUNTIME_MIN: &str = "1.22";

/// Writes graph and weights into `dir`, runs them on the processor, and describes them. `manifest` is that of the
/// package, without them.
pub fn make(
    fixed: &Fixed,
    plan: &Plan<'_>,
    dir: &Path,
    manifest: &Manifest,
    tokenizer: &Tokenizer,
    progress: &dyn Progress,
) -> Result<Variant> {
    graph::write_fixed(plan, dir, progress)?;
    let variant = Variant {
        graph: FIXED_GRAPH_FILE.to_owned(),
        providers: fixed.providers.clone(),
        kv: KvType::F32,
        weights: Weights::F32.name().to_owned(),
        block: 0,
        requires: Requires { onnxruntime: Some(RUNTIME_MIN.to_owned()) },
        shapes: Some(FixedShapes { prefill: fixed.prefill, decode: 1 }),
        self_test: None,
        convention: Convention::Forge,
    };
    let mut reader = OfGraph { open: (dir, manifest, &variant), graph: None, sequences: Vec::new() };
    let self_test = selftest::make(&mut reader, tokenizer, plan.context, progress)?;
    Ok(Variant { self_test: Some(self_test), ..variant })
}

/// The engine's own graph, with a slot for each prompt.
struct OfGraph<'a> {
    open: (&'a Path, &'a Manifest, &'a Variant),
    graph: Option<Graph>,
    /// Slot, and tokens that it holds.
    sequences: Vec<(usize, usize)>,
}

impl Reader for OfGraph<'_> {
    fn begin(&mut self, lengths: &[usize]) -> Result<()> {
        let (dir, manifest, variant) = self.open;
        let context = lengths.iter().copied().max().unwrap_or(1);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let sizes = GraphOptions { slots: lengths.len(), context, threads };
        self.graph = Some(Graph::open(dir, manifest, variant, &Provider::cpu(), &sizes).map_err(failed)?);
        self.sequences = (0..lengths.len()).map(|slot| (slot, 0)).collect();
        Ok(())
    }

    fn feed(&mut self, fed: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let Some(graph) = &mut self.graph else { return Ok(Vec::new()) };
        let feed = |((slot, past), tokens): (&mut (usize, usize), &Vec<u32>)| {
            let logits = graph.prefill(*slot, *past, tokens, &[tokens.len() - 1]).map_err(failed)?.to_vec();
            *past += tokens.len();
            Ok(logits)
        };
        self.sequences.iter_mut().zip(fed).map(feed).collect()
    }

    fn keep(&mut self, which: &[bool]) {
        selftest::keep(&mut self.sequences, which);
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: outpost::engine::GraphError) -> Error {
    Error::Runtime(error.to_string())
}
