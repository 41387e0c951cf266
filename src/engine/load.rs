//! From a directory to a model that has proved itself.

use std::{path::PathBuf, sync::Arc};

use super::{
    Graph, GraphError, GraphOptions, Need, PassedOver, Placement, Prepared, ProbeRequest, Provider, Room,
    RuntimeError, RuntimeInfo, load_runtime,
    open::{Opening, variant_for},
    probe::{pack, try_provider},
    state::{LoadStage, Model},
};
use crate::{
    domain::Clock,
    model::{CallMarks, ChatTemplate, Package, PackageError, Shelf, Tokenizer, Variant},
};

/// What to load and how much of the board it may take.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Directory of the package; with `shelf`, of the one that was loaded last.
    pub package: PathBuf,
    /// Who says which package is loaded; `None`: it is pinned.
    pub shelf: Option<Shelf>,
    /// `runtime.onnxruntime`.
    pub runtime: Option<PathBuf>,
    /// File that remembers which files were verified.
    pub verified: PathBuf,
    /// Execution providers, best first.
    pub providers: Vec<Provider>,
    /// The program in which providers are tried before they are used (`PROGRAM probe`); `None`: they are not.
    pub probe: Option<PathBuf>,
    /// Where is kept what is made of a model once for this board; `None`: nowhere.
    pub prepared: Option<Prepared>,
    /// Memory that can be had; `None`: a model is loaded whether it fits or not.
    pub room: Option<Room>,
    /// Sequences at once.
    pub slots: usize,
    /// Tokens of one slot.
    pub context: usize,
    /// Threads of one run.
    pub threads: usize,
}

/// Why a package does not answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each wraps the error of the step it names")]
pub enum LoadError {
    #[error("{0}")]
    Package(#[from] PackageError),
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    #[error("{0}")]
    Graph(#[from] GraphError),
    #[error("the package has no variant for `{wanted}`; it has variants for {found}")]
    NoVariant { wanted: String, found: String },
    #[error(
        "the model needs {need}; {} MB can be had. Take less `engine.context` or fewer `engine.slots`, a smaller model or \
         one with fewer bits, or free memory; `engine.check_memory = false` loads it all the same",
        .room / 1_000_000
    )]
    TooLarge { need: Need, room: u64 },
    #[error("{0}")]
    Provider(String),
    #[error("no execution provider runs the model. {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoProvider(Vec<PassedOver>),
    #[error("self-test failed: {0}. The model does not compute here what it computed when it was made")]
    SelfTest(String),
}

/// Loads the model and runs its self-test; `report` hears of each stage. Providers in `unsound` have shown that
/// they cannot be relied upon.
pub(super) fn load(
    options: &EngineOptions,
    unsound: &[PassedOver],
    clock: &dyn Clock,
    report: &mut dyn FnMut(LoadStage),
) -> Result<(Graph, Arc<Model>), LoadError> {
    let started = clock.boot();
    let package = Package::open(&options.package)?;
    report(LoadStage::Runtime);
    let runtime = load_runtime(options.runtime.as_deref(), Some(&options.package))?;
    package
        .verify(&options.verified, false, &mut |done, total| report(LoadStage::Verifying { done, total }))?;

    report(LoadStage::Tokenizer);
    let tokenizer = Tokenizer::load(&package)?;
    let template = ChatTemplate::load(&package, &tokenizer)?;

    let Chosen { graph, variant, provider, placement, passed_over } =
        choose(options, (&package, &runtime), unsound, report)?;
    let model = Model {
        variant: Variant { kv: graph.kv(), ..variant },
        provider: provider.name,
        placement,
        passed_over,
        runtime,
        context: graph.context(),
        slots: options.slots,
        threads: options.threads,
        cache_bytes: graph.cache_bytes(),
        calls: CallMarks::of(&tokenizer, &template),
        tokenizer,
        template,
        load_time: clock.boot().since(started),
        returned: None,
        manifest: package.manifest,
        dir: package.dir,
    };
    Ok((graph, Arc::new(model)))
}

/// A graph that runs, and on what.
struct Chosen {
    graph: Graph,
    variant: Variant,
    provider: Provider,
    placement: Option<Placement>,
    passed_over: Vec<PassedOver>,
}

/// Takes the first provider on which the package runs.
fn choose(
    options: &EngineOptions,
    package: (&Package, &RuntimeInfo),
    unsound: &[PassedOver],
    report: &mut dyn FnMut(LoadStage),
) -> Result<Chosen, LoadError> {
    let mut passed_over = Vec::new();
    for provider in &options.providers {
        let known = unsound.iter().find(|bad| bad.provider == provider.name);
        let tried = match known {
            Some(bad) => Err(LoadError::Provider(bad.reason.clone())),
            None => open_tried(options, package, provider, report),
        };
        match tried {
            Ok((graph, variant, placement)) => {
                return Ok(Chosen { graph, variant, provider: provider.clone(), placement, passed_over });
            }
            // With nothing to choose from, its own words are the clearest.
            Err(error) if options.providers.len() == 1 => return Err(error),
            Err(error) => {
                let one = PassedOver { provider: provider.name.clone(), reason: error.to_string() };
                tracing::warn!("execution provider {one}");
                passed_over.push(one);
            }
        }
    }
    Err(LoadError::NoProvider(passed_over))
}

/// Tries a provider elsewhere first, unless it is the processor.
fn open_tried(
    options: &EngineOptions,
    (package, runtime): (&Package, &RuntimeInfo),
    provider: &Provider,
    report: &mut dyn FnMut(LoadStage),
) -> Result<(Graph, Variant, Option<Placement>), LoadError> {
    let variant = variant_for(package, provider)?;
    fits(options, package, variant)?;
    let sizes = GraphOptions { slots: options.slots, context: options.context, threads: options.threads };
    let opening = Opening { package, variant, provider, runtime, sizes: &sizes };
    let prepared = options.prepared.as_ref();
    let request = ProbeRequest {
        runtime: options.runtime.clone(),
        package: package.dir.clone(),
        provider: provider.clone(),
        prepared: options.prepared.clone(),
        context: options.context,
        threads: options.threads,
    };
    let program = options.probe.as_deref();
    if provider.is_cpu() {
        if opening.lacks_packed(prepared) {
            report(LoadStage::Packing { bytes: package.weights_bytes(variant) });
            tracing::info!("packing the weights for this processor, once");
            let packed = program.map_or_else(|| opening.pack(prepared), |program| pack(program, &request));
            if let Err(error) = packed {
                tracing::warn!(
                    error,
                    "packed weights are not kept: the model takes more memory and loads more slowly"
                );
            }
        }
        return Ok((opening.packed(prepared, report)?, variant.clone(), None));
    }
    let mut placement = None;
    if let Some(program) = program {
        report(LoadStage::Provider);
        let found = try_provider(program, &request).or_else(|why| {
            // Another driver may crash over what the one before it compiled.
            if opening.forget_compiled(prepared) { try_provider(program, &request) } else { Err(why) }
        });
        placement = Some(found.map_err(LoadError::Provider)?);
    }
    Ok((opening.compiled_before(prepared, report)?, variant.clone(), placement))
}

fn fits(options: &EngineOptions, package: &Package, variant: &Variant) -> Result<(), LoadError> {
    let need = Need::of(package, variant, options.slots, options.context);
    match options.room.as_ref().and_then(Room::bytes) {
        Some(room) if need.total() > room => Err(LoadError::TooLarge { need, room }),
        _ => Ok(()),
    }
}
