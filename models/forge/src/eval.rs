//! Perplexity of a package, or of a source's own weights, on a text.
//!
//! The text is cut into windows; each is a sequence of its own, without a first token. The
//! perplexity is the exponential of the mean negative log-likelihood of every token but the
//! first of each window.

use std::path::Path;

use outpost::model::{KvType, MANIFEST_FILE, Manifest};
use serde::Serialize;

use crate::{
    Error, Result,
    import::{self, Options},
    limits,
    progress::Progress,
    recipe::Weights,
    runtime::Model,
    source::Origin,
    text::{encode, read_text},
};

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Windows at most.
    pub count: usize,
    /// Tokens of each.
    pub tokens: usize,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Exponential of the mean negative log-likelihood.
    pub perplexity: f64,
    /// Mean negative log-likelihood, nats per token.
    pub nats_per_token: f64,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Windows that were run.
    pub windows: usize,
}

/// Evaluates `model`, a package's directory or anything that a package can be made of.
pub fn eval(model: &Path, text: &Path, windows: Windows, progress: &dyn Progress) -> Result<Report> {
    if model.join(MANIFEST_FILE).is_file() {
        return eval_package(model, text, windows, progress);
    }
    let own = Origin::open(model)?.describe()?.context;
    let home = import::scratch()?;
    let destination = home.path().join("source");
    let options = Options {
        source: model.to_owned(),
        destination: destination.clone(),
        weights: Weights::F32,
        kv: KvType::F32,
        block: 32,
        zero_points: false,
        name: None,
        licence: None,
        // Room for the self-test as well, however short the windows.
        context: Some(windows.tokens.max(limits::EVAL_CONTEXT_MIN.min(own))),
        fixed: None,
        sample: None,
        force: false,
    };
    import::import(&options, progress)?;
    eval_package(&destination, text, windows, progress)
}

fn eval_package(dir: &Path, text: &Path, windows: Windows, progress: &dyn Progress) -> Result<Report> {
    let manifest_path = dir.join(MANIFEST_FILE);
    let manifest = Manifest::parse(&read_text(&manifest_path, outpost::domain::limits::MANIFEST_BYTES_MAX)?)?;
    let Some(variant) = manifest.variants.first() else {
        return Err(Error::Unsupported(format!("`{}` names no variant", manifest_path.display())));
    };
    if windows.tokens > manifest.context {
        let context = manifest.context;
        return Err(Error::Usage(format!(
            "--tokens {}: the package serves {context} positions",
            windows.tokens
        )));
    }
    let path = dir.join("tokenizer.json");
    let unreadable = |e| Error::Unsupported(format!("`{}`: {e}", path.display()));
    let mut tokenizer = tokenizers::Tokenizer::from_file(&path).map_err(unreadable)?;
    // As the daemon has it.
    tokenizer.with_truncation(None).map_err(unreadable)?.with_padding(None);
    let tokens = encode(&tokenizer, &read_text(text, limits::EVAL_TEXT_BYTES_MAX)?)?;
    let graph = dir.join(&variant.graph);
    let mut model = Model::open(&graph, manifest.cache, variant.kv, manifest.vocabulary);
    perplexity(&mut model, &tokens, windows, progress)
}

/// Perplexity of a loaded model on `tokens`.
pub(crate) fn perplexity(
    model: &mut Model,
    tokens: &[u32],
    windows: Windows,
    progress: &dyn Progress,
) -> Result<Report> {
    let all: Vec<&[u32]> = tokens.chunks_exact(windows.tokens).take(windows.count).collect();
    if all.is_empty() {
        let reason = format!("the text has {} tokens, a window needs {}", tokens.len(), windows.tokens);
        return Err(Error::Usage(reason));
    }
    progress.begin("perplexity", (all.len() * windows.tokens) as u64);
    let mut nats = 0.0;
    for window in &all {
        model.reset(window.len());
        // The last token predicts nothing that is known.
        let inputs = &window[..window.len() - 1];
        for (n, chunk) in inputs.chunks(limits::EVAL_ROWS).enumerate() {
            let rows: Vec<usize> = (0..chunk.len()).collect();
            let logits = model.step(chunk, &rows)?.logits;
            let targets = &window[n * limits::EVAL_ROWS + 1..];
            nats += logits.chunks(model.vocabulary()).zip(targets).map(|(l, t)| nats_of(l, *t)).sum::<f64>();
            progress.advance(chunk.len() as u64);
        }
    }
    let count = all.len() * (windows.tokens - 1);
    let mean = nats / count as f64;
    Ok(Report { perplexity: mean.exp(), nats_per_token: mean, tokens: count, windows: all.len() })
}

/// Negative log-likelihood of `target`.
fn nats_of(logits: &[f32], target: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
    sum.ln() - f64::from(logits[target as usize] - largest)
}

#[cfg(test)]
mod tests {
    use super::nats_of;

    #[test]
    fn equal_logits_cost_the_logarithm_of_their_number() {
        assert!((nats_of(&[7.0; 32], 3) - 32f64.ln()).abs() < 1e-9);
        assert!(nats_of(&[0.0, 100.0], 1) < 1e-9);
    }
}
