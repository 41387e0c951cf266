//! What comes back: pieces of an answer, and its end.

use std::time::Duration;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string was met.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
}

impl FinishReason {
    /// OpenAI's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Log-probability (natural) of one token of the answer, before sampling shaped it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token's bytes; one token can be part of a character.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens at this place, likeliest first.
    pub top: Vec<(Vec<u8>, f32)>,
}

/// A piece of an answer. Text is always whole characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The text.
    pub text: String,
    /// Tokens that it stands for; 0 is possible where text was held back before.
    pub tokens: usize,
    /// One entry per token, when asked for.
    pub logprobs: Vec<TokenLogprob>,
}

impl Delta {
    /// Whether there is nothing in it to send.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.logprobs.is_empty()
    }
}

/// Token counts of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: usize,
    /// Tokens of the answer, the one that ended it included.
    pub completion_tokens: usize,
}

/// The end of a successful answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was not yet sent as a delta; the whole answer when no deltas were asked for.
    pub rest: Delta,
    /// Why it ended.
    pub finish: FinishReason,
    /// What it took.
    pub usage: Usage,
    /// From the engine's taking the request to its first token.
    pub time_to_first_token: Duration,
    /// From the first token to the last.
    pub decode_time: Duration,
}
