//! Sessions: how ONNX Runtime is asked to run a graph.

use std::path::Path;

use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{
        Session,
        builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder},
    },
};

use super::GraphError;
use crate::engine::provider::{Provider, Watch};

/// Packages below this let idle threads spin between operators. Waking a sleeping thread
/// costs the same for every operator: half of a step of a small model (SmolLM2 decodes 1.4 to
/// 2.2 times faster with spinning), nothing beside a step of a 4B, where it only heats.
const SPIN_BELOW_BYTES: u64 = 1 << 30;

/// What all sessions of one graph have in common.
pub(super) struct Opening<'a> {
    pub(super) environment: &'a Environment,
    pub(super) threads: usize,
    pub(super) package_bytes: u64,
    pub(super) provider: &'a Provider,
    pub(super) watch: Option<&'a Watch>,
}

impl Opening<'_> {
    /// Opens a graph of the package in `dir`; of its dimensions those that are named have these `sizes`.
    pub(super) fn open(
        &self,
        dir: &Path,
        graph: &str,
        sizes: &[(&str, usize)],
    ) -> Result<Session, GraphError> {
        let load = |reason: String| GraphError::Load { graph: graph.to_owned(), reason };
        let mut builder = self.builder().map_err(|e| load(e.to_string()))?;
        for (name, size) in sizes {
            builder = builder.with_dimension_override(name, *size as i64).map_err(|e| load(e.to_string()))?;
        }
        let builder =
            self.provider.register(builder, self.environment, self.threads).map_err(GraphError::Provider)?;
        let mut builder = self.watched(builder).map_err(|e| load(e.to_string()))?;
        builder.commit_from_file(dir.join(graph)).map_err(|e| load(e.to_string()))
    }

    fn watched(&self, builder: SessionBuilder) -> Result<SessionBuilder, ort::Error> {
        let Some(watch) = self.watch else { return Ok(builder) };
        Ok(builder.with_logger(watch.logger())?.with_log_level(LogLevel::Verbose)?)
    }

    fn builder(&self) -> Result<SessionBuilder, ort::Error> {
        let is_cpu = self.provider.is_cpu();
        let builder = Session::builder(self.environment)?
            .with_intra_threads(self.threads)?
            .with_inter_threads(1)?
            // Threads of another provider's own would wait for those that spin.
            .with_intra_op_spinning(is_cpu && self.package_bytes < SPIN_BELOW_BYTES)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_memory_pattern(false)?
            // Otherwise a session could take a plug-in's device that nobody has asked for.
            .with_auto_device(AutoDevicePolicy::PreferCPU)?;
        if is_cpu {
            return Ok(builder);
        }
        // It makes one node of a product and the sum behind it, which then has three factors that vary: no provider
        // takes that, and XNNPACK takes a third of the products less.
        Ok(builder.with_config_entry("optimization.disable_specified_optimizers", "MatMulAddFusion")?)
    }
}
