//! What the rest of the daemon may know of the engine, without asking its thread.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{PassedOver, Placement, RuntimeInfo};
use crate::domain::{Error, ErrorKind, Result};
use crate::model::{CallMarks, ChatTemplate, Manifest, Tokenizer, Variant};

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
    /// An execution provider, in a process of its own.
    Provider,
    /// Packing the weights for this processor, once.
    Packing {
        /// Size of their files.
        bytes: u64,
    },
    /// The graph and its weights.
    Graph {
        /// Size of their files.
        bytes: u64,
    },
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
            Self::Provider => f.write_str("trying an execution provider"),
            Self::Packing { bytes } => {
                write!(f, "packing {} MB of weights for this processor, once", bytes / 1_000_000)
            }
            Self::Graph { bytes } => write!(f, "loading {} MB of weights", bytes / 1_000_000),
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
    /// How it calls tools, where it does.
    pub calls: Option<CallMarks>,
    /// The variant that runs.
    pub variant: Variant,
    /// The execution provider that runs it.
    pub provider: String,
    /// Which nodes it took, where that was found out.
    pub placement: Option<Placement>,
    /// Providers that were wanted rather than it.
    pub passed_over: Vec<PassedOver>,
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
    /// Which other package was to be loaded and did not pass its trial, and why.
    pub returned: Option<String>,
}

/// Counters of the engine thread. Only it writes them.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Tokens of prompts that were computed.
    pub prefill_tokens: AtomicU64,
    /// Tokens of answers that were computed.
    pub decode_tokens: AtomicU64,
    /// Sequences in slots now.
    pub running: AtomicU64,
    /// Steps since start: a number that stands still while `running` is not 0 means a hang.
    pub steps: AtomicU64,
    /// Times the engine was built anew after it had died.
    pub restarts: AtomicU64,
    prefill: Recent,
    decode: Recent,
}

/// How quick the engine was in its last moments of work. What was long ago fades: a board that is hot is
/// not as quick as it was in the morning.
#[derive(Debug, Default)]
struct Recent {
    /// Both as the bits of `f64`.
    tokens: AtomicU64,
    seconds: AtomicU64,
}

/// Work of so many seconds later a sample counts a third.
const FADES_S: f64 = 30.0;

impl Recent {
    /// A reader in between sees one step too many; nothing depends on it.
    fn add(&self, tokens: u64, took: Duration) {
        let keep = (-took.as_secs_f64() / FADES_S).exp();
        for (sum, new) in [(&self.tokens, tokens as f64), (&self.seconds, took.as_secs_f64())] {
            let old = f64::from_bits(sum.load(Ordering::Relaxed));
            sum.store((old * keep + new).to_bits(), Ordering::Relaxed);
        }
    }

    fn rate(&self) -> f64 {
        let [tokens, seconds] =
            [&self.tokens, &self.seconds].map(|sum| f64::from_bits(sum.load(Ordering::Relaxed)));
        if seconds > 0.0 { tokens / seconds } else { 0.0 }
    }
}

impl EngineStats {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// So many tokens of a prompt were read.
    pub fn read(&self, tokens: u64, took: Duration) {
        Self::add(&self.prefill_tokens, tokens);
        self.prefill.add(tokens, took);
    }

    /// So many tokens of answers were written; one run may serve several answers.
    pub fn wrote(&self, tokens: u64, took: Duration) {
        Self::add(&self.decode_tokens, tokens);
        self.decode.add(tokens, took);
    }

    /// Tokens per second of answers being written, in the last moments of work; 0 before the first.
    pub fn decode_rate(&self) -> f64 {
        self.decode.rate()
    }

    /// Tokens per second of prompts being read, in the last moments of work; 0 before the first.
    pub fn prefill_rate(&self) -> f64 {
        self.prefill.rate()
    }
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
    fn the_measured_speed_is_that_of_now_and_not_that_of_the_morning() {
        let stats = EngineStats::default();
        assert_eq!((stats.prefill_rate(), stats.decode_rate()), (0.0, 0.0));
        let step = Duration::from_millis(200);
        for _ in 0..50_000 {
            stats.read(20, step);
            stats.wrote(4, step);
        }
        assert!((stats.prefill_rate() - 100.0).abs() < 1e-6 && (stats.decode_rate() - 20.0).abs() < 1e-6);
        // It throttles to a quarter; two minutes of work later that is known.
        for _ in 0..150 {
            stats.read(20, step * 4);
            stats.wrote(4, step * 4);
        }
        assert!((25.0..27.0).contains(&stats.prefill_rate()), "{}", stats.prefill_rate());
        assert!((5.0..5.5).contains(&stats.decode_rate()), "{}", stats.decode_rate());
        assert_eq!(stats.decode_tokens.load(Ordering::Relaxed), 200_600);
    }

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
