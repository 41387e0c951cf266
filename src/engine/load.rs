//! From a directory to a model that has proved itself.

use std::{path::PathBuf, sync::Arc};

use super::{
    Graph, GraphError, GraphOptions, RuntimeError, load_runtime,
    sample::argmax,
    state::{LoadStage, Model},
};
use crate::{
    domain::Clock,
    model::{CallMarks, ChatTemplate, Package, PackageError, SelfTest, Shelf, Tokenizer, Variant},
};

/// The one provider this build can run on.
pub const CPU_PROVIDER: &str = "cpu";

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
    pub providers: Vec<String>,
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
    #[error("the package has no variant for the configured providers {wanted}; it has {found}")]
    NoVariant { wanted: String, found: String },
    #[error("self-test failed: {0}. The model does not compute here what it computed when it was made")]
    SelfTest(String),
}

/// Loads the model and runs its self-test; `report` hears of each stage.
pub(super) fn load(
    options: &EngineOptions,
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

    report(LoadStage::Graph);
    let manifest = &package.manifest;
    let variant = options
        .providers
        .iter()
        .filter(|p| p.as_str() == CPU_PROVIDER)
        .find_map(|p| manifest.variants.iter().find(|v| v.providers.contains(p)))
        .ok_or_else(|| LoadError::NoVariant {
            wanted: options.providers.join(", "),
            found: manifest.variants.iter().flat_map(|v| v.providers.clone()).collect::<Vec<_>>().join(", "),
        })?;
    let sizes = GraphOptions { slots: options.slots, context: options.context, threads: options.threads };
    let mut graph = Graph::open(&package.dir, manifest, variant, &sizes)?;

    report(LoadStage::SelfTest);
    if let Some(test) = &manifest.self_test {
        self_test(&mut graph, test)?;
    }
    let model = Model {
        variant: Variant { kv: graph.kv(), ..variant.clone() },
        provider: CPU_PROVIDER,
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
