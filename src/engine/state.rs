//! What the rest of the daemon may know of the engine, without asking its thread.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::RuntimeInfo;
use crate::domain::{Error, ErrorKind, Result};
use crate::model::{ChatTemplate, Manifest, Tokenizer, Variant};

/// Where the engine is in its life.
#[derive(Clone)]
pub enum EngineState {
    /// No package is configured.
    Absent,
    /// On its way.
    Loading(LoadStage),
    /// Requests are answered.
    Ready(Arc<Model>),
    /// It cannot load or run the model; says why and what to do.
    Failed(String),
}

impl EngineState {
    /// One word for status and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Loading(_) => "loading",
            Self::Ready(_) => "ready",
            Self::Failed(_) => "failed",
        }
    }

    /// The model, once it is ready.
    pub fn model(&self) -> Option<&Arc<Model>> {
        match self {
            Self::Ready(model) => Some(model),
            _ => None,
        }
    }
}

/// Steps of loading, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStage {
    /// Finding and loading ONNX Runtime.
    Runtime,
    /// Hashing the package's files.
    Verifying {
        /// Bytes hashed.
        done: u64,
        /// Bytes to hash.
        total: u64,
    },
    /// Tokenizer and chat template.
    Tokenizer,
    /// The graph and its weights.
    Graph,
    /// The golden self-test.
    SelfTest,
}

impl std::fmt::Display for LoadStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Runtime => f.write_str("loading ONNX Runtime"),
            Self::Verifying { done, total } => {
                write!(f, "verifying the package, {} of {} MB", done / 1_000_000, total / 1_000_000)
            }
            Self::Tokenizer => f.write_str("loading tokenizer and chat template"),
            Self::Graph => f.write_str("loading the weights"),
            Self::SelfTest => f.write_str("running the self-test"),
        }
    }
}

/// A model that answers.
pub struct Model {
    /// Directory of its package.
    pub dir: PathBuf,
    /// What the package says of itself.
    pub manifest: Manifest,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Conversation to prompt.
    pub template: ChatTemplate,
    /// The variant that runs.
    pub variant: Variant,
    /// The execution provider that runs it.
    pub provider: &'static str,
    /// The library that runs it.
    pub runtime: RuntimeInfo,
    /// Tokens of prompt and answer together.
    pub context: usize,
    /// Sequences at once.
    pub slots: usize,
    /// Threads of one run.
    pub threads: usize,
    /// Bytes of the KV cache when full.
    pub cache_bytes: usize,
    /// From the start of loading to the end of the self-test.
    pub load_time: Duration,
}

/// Counters of the engine thread. Only it writes them.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Tokens of prompts that were computed.
    pub prefill_tokens: AtomicU64,
    /// Time that took, microseconds.
    pub prefill_micros: AtomicU64,
    /// Tokens of answers that were computed.
    pub decode_tokens: AtomicU64,
    /// Time that took, microseconds; one run may serve several answers.
    pub decode_micros: AtomicU64,
    /// Sequences in slots now.
    pub running: AtomicU64,
    /// Steps since start: a number that stands still while `running` is not 0 means a hang.
    pub steps: AtomicU64,
    /// Times the engine was built anew after it had died.
    pub restarts: AtomicU64,
}

impl EngineStats {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Tokens per second of answers being written, over the life of the engine; 0 before the first.
    pub fn decode_rate(&self) -> f64 {
        rate(&self.decode_tokens, &self.decode_micros)
    }

    /// Tokens per second of prompts being read, over the life of the engine; 0 before the first.
    pub fn prefill_rate(&self) -> f64 {
        rate(&self.prefill_tokens, &self.prefill_micros)
    }
}

fn rate(tokens: &AtomicU64, micros: &AtomicU64) -> f64 {
    let micros = micros.load(Ordering::Relaxed);
    if micros == 0 { 0.0 } else { tokens.load(Ordering::Relaxed) as f64 * 1e6 / micros as f64 }
}

impl Model {
    /// Changes whenever weights, graph or number formats change.
    pub fn fingerprint(&self) -> String {
        let file = self.manifest.files.iter().find(|f| f.path == self.variant.graph);
        let digest = file.map_or("", |f| f.sha256.as_str());
        format!("fp_{}", digest.get(..12).unwrap_or(digest))
    }

    /// Tokens that an answer to a prompt of `prompt_tokens` may have, `asked` at most; at least 1.
    pub fn answer_room(&self, prompt_tokens: usize, asked: usize) -> Result<usize> {
        answer_room(self.context, prompt_tokens, asked)
    }
}

fn answer_room(context: usize, prompt_tokens: usize, asked: usize) -> Result<usize> {
    match context.checked_sub(prompt_tokens) {
        None | Some(0) => {
            // Clients such as LiteLLM tell this error from others by OpenAI's words.
            let why = format!(
                "this model's maximum context length is {context} tokens, the answer included, and the prompt \
                 has {prompt_tokens}; send a shorter prompt"
            );
            Err(Error::new(ErrorKind::ContextLengthExceeded, why))
        }
        Some(room) => Ok(asked.min(room)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gets_what_the_prompt_leaves_and_never_nothing() {
        assert_eq!(answer_room(100, 40, 1_000), Ok(60));
        assert_eq!(answer_room(100, 40, 7), Ok(7));
        assert_eq!(answer_room(100, 99, 7), Ok(1));
        for prompt in [100, 101, usize::MAX] {
            let error = answer_room(100, prompt, 1).unwrap_err();
            assert_eq!(error.kind, ErrorKind::ContextLengthExceeded);
            // Clients such as LiteLLM know it by these words.
            assert!(error.public.contains("this model's maximum context length is 100 tokens"), "{error:?}");
        }
    }
}
