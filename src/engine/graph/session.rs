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

use super::{Compiled, GraphError};
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
    pub(super) compiled: Compiled<'a>,
}

impl Opening<'_> {
    /// Opens a graph of the package in `dir`; of its dimensions those that are named have these `sizes`.
    pub(super) fn open(
        &self,
        dir: &Path,
        graph: &str,
        sizes: &[(&str, usize)],
    ) -> Result<Session, GraphError> {
        let (name, data) = compiled_names(graph, sizes);
        if let Compiled::Before(compiled) = self.compiled
            && compiled.join(&name).is_file()
        {
            // Its sizes are those with which it was compiled. Of what is not there nothing is kept.
            return self.open_with(&compiled.join(&name), graph, Ok);
        }
        let change = |mut builder: SessionBuilder| {
            for (name, size) in sizes {
                builder = builder.with_dimension_override(name, *size as i64)?;
            }
            let Compiled::Now(compiled) = self.compiled else { return Ok(builder) };
            Ok(builder
                .with_config_entry("ep.context_enable", "1")?
                // In a file of their own: there is a limit of 2 GB to what can be inside.
                .with_config_entry("ep.context_embed_mode", "0")?
                .with_config_entry("ep.context_model_external_initializers_file_name", &data)?
                .with_config_entry("ep.context_file_path", compiled.join(&name).to_string_lossy())?)
        };
        self.open_with(&dir.join(graph), graph, change)
    }

    /// Opens what [`pack`](Self::pack) has written.
    pub(super) fn open_packed(&self, packed: &Path, graph: &str) -> Result<Session, GraphError> {
        // It is optimised already.
        self.open_with(packed, graph, |builder| {
            Ok(builder.with_optimization_level(GraphOptimizationLevel::Disable)?)
        })
    }

    /// Writes a graph of the package in `dir` to `packed`, and beside it its weights as this processor wants them.
    pub(super) fn pack(&self, dir: &Path, graph: &str, packed: &Path) -> Result<(), GraphError> {
        let data = packed.with_added_extension("data");
        let name = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let saving = |builder: SessionBuilder| {
            Ok(builder
                .with_optimized_model_path(packed)?
                .with_config_entry("session.save_external_prepacked_constant_initializers", "1")?
                .with_config_entry("session.optimized_model_external_initializers_file_name", &name)?)
        };
        // It warns that what it writes is for this processor, which is what it is wanted for.
        let quiet = tracing::subscriber::NoSubscriber::new();
        tracing::subscriber::with_default(quiet, || self.open_with(&dir.join(graph), graph, saving)).map(drop)
    }

    fn open_with(
        &self,
        path: &Path,
        graph: &str,
        change: impl FnOnce(SessionBuilder) -> Result<SessionBuilder, ort::Error>,
    ) -> Result<Session, GraphError> {
        let load = |reason: String| GraphError::Load { graph: graph.to_owned(), reason };
        let builder = self.builder().and_then(change).map_err(|e| load(e.to_string()))?;
        let builder =
            self.provider.register(builder, self.environment, self.threads).map_err(GraphError::Provider)?;
        let mut builder = self.watched(builder).map_err(|e| load(e.to_string()))?;
        builder.commit_from_file(path).map_err(|e| load(e.to_string()))
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

/// Files of what is compiled of `graph` for these sizes: the graph, and weights that the compiler leaves alone.
fn compiled_names(graph: &str, sizes: &[(&str, usize)]) -> (String, String) {
    let stem: String = graph.trim_end_matches(".onnx").replace('/', "-");
    let sized = sizes.iter().fold(stem, |name, (dimension, size)| format!("{name}-{dimension}-{size}"));
    (format!("{sized}.onnx"), format!("{sized}.data"))
}
