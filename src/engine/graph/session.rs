//! Sessions: how ONNX Runtime is asked to run a graph.

use std::path::Path;

use ort::session::{Session, builder::GraphOptimizationLevel};

/// Packages below this let idle threads spin between operators. Waking a sleeping thread
/// costs the same for every operator: half of a step of a small model (SmolLM2 decodes 1.4 to
/// 2.2 times faster with spinning), nothing beside a step of a 4B, where it only heats.
const SPIN_BELOW_BYTES: u64 = 1 << 30;

/// The arena stays off: it would keep the peak of the longest prefill for ever.
pub(super) fn open(
    environment: &ort::environment::Environment,
    graph: &Path,
    threads: usize,
    package_bytes: u64,
) -> Result<Session, ort::Error> {
    let cpu = ort::ep::CPU::default().with_arena_allocator(false).build().error_on_failure();
    Session::builder(environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(package_bytes < SPIN_BELOW_BYTES)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_memory_pattern(false)?
        .with_execution_providers([cpu])?
        .commit_from_file(graph)
}
