//! Tokenizers: `tokenizer.json` as the `tokenizers` library reads it, and
//! `tokenizer_config.json` as transformers reads it; out of GGUF metadata, out of Mistral's
//! `tekken.json`, or as a repository has them.

mod gguf;
mod published;
mod tekken;

pub use gguf::build;
pub use published::read;

/// Texts that end an answer wherever a model has them as a control token; as llama.cpp.
const ENDS: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<EOT>",
    "</s>",
];
/// How Mistral's Tekken cuts text before merging (`config.pattern` of `tekken.json`).
const TEKKEN_PATTERN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A tokenizer ready to be written.
pub struct Tokenizer {
    /// Contents of `tokenizer.json`.
    pub json: String,
    /// Contents of `tokenizer_config.json`.
    pub config: String,
    /// Contents of `chat_template.jinja`, where there is a template.
    pub template: Option<String>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// Token that a bare prompt begins with, where the model wants one.
    pub bos: Option<u32>,
    /// Token that chats begin with, whether or not bare prompts do.
    pub first: Option<u32>,
    /// The same, loaded.
    pub model: tokenizers::Tokenizer,
}
