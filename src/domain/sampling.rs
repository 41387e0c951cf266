//! How the next token is chosen, as the caller asked for it.

/// Distribution shaping, in the order in which it is applied: bias, penalties,
/// temperature, top-k, top-p, min-p.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy: the most likely token, ties to the lowest id. Range 0..=2.
    pub temperature: f32,
    /// Keep the `k` most likely tokens; `None` keeps all.
    pub top_k: Option<u32>,
    /// Keep the fewest tokens whose probabilities sum to this. Range (0, 1], 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest. Range 0..=1, 0 keeps all.
    pub min_p: f32,
    /// Divides (or, for negative logits, multiplies) logits of tokens seen in prompt and answer. 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted once from logits of tokens already in the answer. Range -2..=2.
    pub presence_penalty: f32,
    /// Subtracted per occurrence from logits of tokens already in the answer. Range -2..=2.
    pub frequency_penalty: f32,
    /// Added to the logits of these token ids. Range of a value -100..=100.
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same prompt, same options: same answer, as long as batches have the same shape.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// Everything that shapes one answer besides the prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationOptions {
    /// How each token is chosen.
    pub sampling: Sampling,
    /// Most tokens of the answer; the context may have room for fewer.
    pub tokens_max: usize,
    /// Texts that end the answer; none of them is part of it.
    pub stop: Vec<String>,
    /// Report the log-probability of each token and of this many alternatives.
    pub logprobs: Option<usize>,
    /// Go on past the model's own end-of-text tokens.
    pub ignore_eos: bool,
}
