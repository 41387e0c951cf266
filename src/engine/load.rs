//! From a directory to a model that has proved itself.

use std::{path::PathBuf, sync::Arc};

use super::{
    Graph, GraphError, GraphOptions, Need, PackedWeights, PassedOver, Placement, ProbeRequest, Provider,
    Room, RuntimeError, RuntimeInfo,
    graph::How,
    load_runtime,
    probe::try_provider,
    sample::argmax,
    state::{LoadStage, Model},
};
use crate::{
    domain::Clock,
    model::{CallMarks, ChatTemplate, Package, PackageError, SelfTest, Shelf, Tokenizer, Variant},
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
    /// Where packed weights are kept; `None`: they are not.
    pub packed: Option<PackedWeights>,
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
    let bytes = package.weights_bytes(variant);
    if provider.is_cpu() {
        let graph = open_packed(options, (package, variant), runtime, &sizes, report);
        let graph = match graph {
            Some(graph) => graph,
            None => {
                report(LoadStage::Graph { bytes });
                open_on(package, provider, &sizes, How::default(), &mut || report(LoadStage::SelfTest))?
            }
        };
        return Ok((graph, variant.clone(), None));
    }
    let mut placement = None;
    if let Some(program) = options.probe.as_deref() {
        report(LoadStage::Provider);
        let request = ProbeRequest {
            runtime: options.runtime.clone(),
            package: package.dir.clone(),
            provider: provider.clone(),
            context: options.context,
            threads: options.threads,
        };
        let found = try_provider(program, &request).map_err(LoadError::Provider)?;
        placement = Some(found);
    }
    report(LoadStage::Graph { bytes });
    let graph = open_on(package, provider, &sizes, How::default(), &mut || report(LoadStage::SelfTest))?;
    Ok((graph, variant.clone(), placement))
}

/// The model with packed weights. Those that do not load, or do not compute what they should, are thrown away, and
/// the model is loaded as it is.
fn open_packed(
    options: &EngineOptions,
    (package, variant): (&Package, &Variant),
    runtime: &RuntimeInfo,
    sizes: &GraphOptions,
    report: &mut dyn FnMut(LoadStage),
) -> Option<Graph> {
    let bytes = package.weights_bytes(variant);
    let mut making = || report(LoadStage::Packing { bytes });
    let with = (runtime.version.as_str(), options.threads);
    let packed = options.packed.as_ref()?.prepare(package, variant, with, &mut making)?;
    report(LoadStage::Graph { bytes });
    let how = How { packed: Some(&packed), ..How::default() };
    match open_on(package, &Provider::cpu(), sizes, how, &mut || report(LoadStage::SelfTest)) {
        Ok(graph) => Some(graph),
        Err(error) => {
            tracing::warn!(packed = %packed.display(), %error, "packed weights are of no use and are thrown away");
            PackedWeights::discard(&packed);
            None
        }
    }
}

fn fits(options: &EngineOptions, package: &Package, variant: &Variant) -> Result<(), LoadError> {
    let need = Need::of(package, variant, options.slots, options.context);
    match options.room.as_ref().and_then(Room::bytes) {
        Some(room) if need.total() > room => Err(LoadError::TooLarge { need, room }),
        _ => Ok(()),
    }
}

/// Opens the package on one provider and runs its self-test, before which `testing` is told.
pub(super) fn open_on(
    package: &Package,
    provider: &Provider,
    sizes: &GraphOptions,
    how: How<'_>,
    testing: &mut dyn FnMut(),
) -> Result<Graph, LoadError> {
    let variant = variant_for(package, provider)?;
    let mut graph = Graph::open_how(&package.dir, (&package.manifest, variant), provider, sizes, how)?;
    testing();
    if let Some(test) = variant.self_test.as_ref().or(package.manifest.self_test.as_ref()) {
        self_test(&mut graph, test)?;
    }
    Ok(graph)
}

fn variant_for<'a>(package: &'a Package, provider: &Provider) -> Result<&'a Variant, LoadError> {
    let variants = &package.manifest.variants;
    variants.iter().find(|variant| variant.is_for(&provider.name)).ok_or_else(|| LoadError::NoVariant {
        wanted: provider.name.clone(),
        found: variants.iter().flat_map(|v| v.providers.clone()).collect::<Vec<_>>().join(", "),
    })
}

/// Greedy decoding must give the tokens that it gave when the package was made.
fn self_test(graph: &mut Graph, test: &SelfTest) -> Result<(), LoadError> {
    let failed = |why: String| LoadError::SelfTest(why);
    if test.prompt.len() + test.tokens.len() > graph.context() {
        return Err(failed(format!("it does not fit into a context of {} tokens", graph.context())));
    }
    let mut logits = graph.prefill(0, 0, &test.prompt, &[test.prompt.len() - 1])?;
    for (n, wanted) in test.tokens.iter().enumerate() {
        let got = argmax(logits);
        if n == 0 {
            let difference = (logits[*wanted as usize] - test.first_logit).abs();
            if difference.is_nan() || difference > test.tolerance {
                return Err(failed(format!(
                    "the first logit is off by {difference}, allowed are {}",
                    test.tolerance
                )));
            }
        }
        if got != *wanted {
            return Err(failed(format!("token {n} is {got}, expected was {wanted}")));
        }
        logits = graph.decode(&[got], &[test.prompt.len() + n])?;
    }
    Ok(())
}
