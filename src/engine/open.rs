//! A package opened on one provider: as it is, or as it was prepared for this board before.

use super::{
    Graph, GraphOptions, LoadError, Placement, Prepared, Provider, RuntimeInfo,
    graph::{Compiled, How},
    prepared::PACKED_GRAPH,
    provider::Watch,
    sample::argmax,
    state::LoadStage,
};
use crate::model::{Package, SelfTest, Variant};

/// What is opened, and on what.
pub(super) struct Opening<'a> {
    pub(super) package: &'a Package,
    /// The one for the provider.
    pub(super) variant: &'a Variant,
    pub(super) provider: &'a Provider,
    pub(super) runtime: &'a RuntimeInfo,
    pub(super) sizes: &'a GraphOptions,
}

impl Opening<'_> {
    /// Whether packed weights would be worth having and are not there.
    pub(super) fn lacks_packed(&self, prepared: Option<&Prepared>) -> bool {
        self.packed_weights(prepared).is_some_and(|(prepared, name)| prepared.find(&name).is_none())
    }

    /// Packs the weights, here and now.
    pub(super) fn pack(&self, prepared: Option<&Prepared>) -> Result<(), String> {
        let Some((prepared, name)) = self.packed_weights(prepared) else { return Ok(()) };
        let packed = prepared.pack(&name, self.package, self.variant, self.sizes.threads);
        packed.map_err(|error| error.to_string())
    }

    /// With packed weights, where they are kept. Those that do not load, or do not compute what they should, are thrown
    /// away, and the model is opened as it is.
    pub(super) fn packed(
        &self,
        prepared: Option<&Prepared>,
        report: &mut dyn FnMut(LoadStage),
    ) -> Result<Graph, LoadError> {
        if let Some((prepared, name)) = self.packed_weights(prepared)
            && let Some(dir) = prepared.find(&name)
        {
            let packed = dir.join(PACKED_GRAPH);
            match self.open(How { packed: Some(&packed), ..How::default() }, report) {
                Ok(graph) => return Ok(graph),
                Err(error) => throw_away(&dir, &error),
            }
        }
        self.open(How::default(), report)
    }

    fn packed_weights<'p>(&self, prepared: Option<&'p Prepared>) -> Option<(&'p Prepared, String)> {
        let (prepared, runtime) = (prepared?, &self.runtime.version);
        Some((prepared, prepared.packed_name(self.package, self.variant, runtime)?))
    }

    /// As the provider's compiler left it, where that is kept; else as it is.
    pub(super) fn compiled_before(
        &self,
        prepared: Option<&Prepared>,
        report: &mut dyn FnMut(LoadStage),
    ) -> Result<Graph, LoadError> {
        if let Some((prepared, name)) = self.kept(prepared)
            && let Some(dir) = prepared.find(&name)
        {
            let how = How { compiled: Compiled::Before(&dir), ..How::default() };
            match self.open(how, report) {
                Ok(graph) => return Ok(graph),
                Err(error) => throw_away(&dir, &error),
            }
        }
        self.open(How::default(), report)
    }

    /// Where nothing is kept yet, keeps what the provider compiles, if it is of use: if it can be read again and computes
    /// the same. Who hears which nodes go where hears it of that graph which will serve.
    pub(super) fn compiled_now(&self, prepared: Option<&Prepared>) -> Result<Placement, LoadError> {
        let Some((prepared, name)) = self.kept(prepared) else { return self.watched(Compiled::Not) };
        if let Some(dir) = prepared.find(&name) {
            match self.watched(Compiled::Before(&dir)) {
                Ok(placement) => return Ok(placement),
                Err(error) => throw_away(&dir, &error),
            }
        }
        let Some(part) = prepared.begin_compiling(&name, self.weights()) else {
            return self.watched(Compiled::Not);
        };
        // A provider that cannot write it down, or writes what it cannot read, may compute all the same.
        if let Err(error) = self.watched(Compiled::Now(&part)) {
            throw_away(&part, &error);
        } else if let Some(dir) = prepared.finish_compiling(&name) {
            match self.watched(Compiled::Before(&dir)) {
                Ok(placement) => return Ok(placement),
                Err(error) => throw_away(&dir, &error),
            }
        }
        let placement = self.watched(Compiled::Not)?;
        // It computes, so that it was no passing trouble.
        prepared.mark_useless(&name);
        Ok(placement)
    }

    fn watched(&self, compiled: Compiled<'_>) -> Result<Placement, LoadError> {
        let watch = Watch::default();
        self.open(How { watch: Some(&watch), compiled, ..How::default() }, &mut |_| {})?;
        Ok(watch.placement())
    }

    /// Throws away what was compiled before; whether there was any.
    pub(super) fn forget_compiled(&self, prepared: Option<&Prepared>) -> bool {
        let found = self.kept(prepared).and_then(|(prepared, name)| prepared.find(&name));
        found.map(|dir| Prepared::discard(&dir)).is_some()
    }

    /// Where what is compiled is kept, and by which name.
    fn kept<'p>(&self, prepared: Option<&'p Prepared>) -> Option<(&'p Prepared, String)> {
        let (prepared, with) = (prepared?, (self.runtime.version.as_str(), self.sizes));
        Some((prepared, prepared.compiled_name(self.package, self.variant, with, self.provider)?))
    }

    fn weights(&self) -> u64 {
        self.package.weights_bytes(self.variant)
    }

    /// Opens it and runs its self-test.
    fn open(&self, how: How<'_>, report: &mut dyn FnMut(LoadStage)) -> Result<Graph, LoadError> {
        report(LoadStage::Graph { bytes: self.weights() });
        let Package { dir, manifest } = self.package;
        let mut graph = Graph::open_how(dir, (manifest, self.variant), self.provider, self.sizes, how)?;
        report(LoadStage::SelfTest);
        if let Some(test) = self.variant.self_test.as_ref().or(manifest.self_test.as_ref()) {
            self_test(&mut graph, test)?;
        }
        Ok(graph)
    }
}

fn throw_away(dir: &std::path::Path, error: &LoadError) {
    tracing::warn!(prepared = %dir.display(), %error, "what was prepared is of no use and is thrown away");
    Prepared::discard(dir);
}

/// The best variant for `provider`.
pub(super) fn variant_for<'a>(package: &'a Package, provider: &Provider) -> Result<&'a Variant, LoadError> {
    let manifest = &package.manifest;
    manifest.variant_for(&provider.name).ok_or_else(|| LoadError::NoVariant {
        wanted: provider.name.clone(),
        found: manifest.variants.iter().flat_map(|v| v.providers.clone()).collect::<Vec<_>>().join(", "),
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
