//! What comes back: pieces of an answer, and its end.

use std::time::Duration;

use super::MicroUsd;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string was met.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// The model wants tools to be called.
    ToolCalls,
    /// A provider kept back what was written.
    ContentFilter,
}

impl FinishReason {
    /// OpenAI's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }

    /// The reason with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Stop, Self::Length, Self::ToolCalls, Self::ContentFilter]
            .into_iter()
            .find(|reason| reason.name() == name)
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

/// A piece of a tool call; pieces with one index make up one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCallDelta {
    /// Which call of the answer, from 0.
    pub index: usize,
    /// Its id, when it comes with this piece.
    pub id: Option<String>,
    /// The function's name, when it comes with this piece.
    pub name: Option<String>,
    /// The next piece of its arguments, JSON in the end.
    pub arguments: String,
}

/// A piece of an answer. Text is always whole characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The text.
    pub text: String,
    /// What the model thought before it, when it says so.
    pub reasoning: String,
    /// Calls of tools.
    pub tool_calls: Vec<ToolCallDelta>,
    /// Tokens that it stands for; 0 is possible where text was held back before.
    pub tokens: usize,
    /// One entry per token, when asked for.
    pub logprobs: Vec<TokenLogprob>,
}

impl Delta {
    /// Whether there is nothing in it to send.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
            && self.reasoning.is_empty()
            && self.tool_calls.is_empty()
            && self.logprobs.is_empty()
    }

    /// Adds the next piece.
    pub fn append(&mut self, piece: &Self) {
        self.text.push_str(&piece.text);
        self.reasoning.push_str(&piece.reasoning);
        for call in &piece.tool_calls {
            match self.tool_calls.iter_mut().find(|known| known.index == call.index) {
                Some(known) => {
                    known.id = known.id.take().or_else(|| call.id.clone());
                    known.name = known.name.take().or_else(|| call.name.clone());
                    known.arguments.push_str(&call.arguments);
                }
                None => self.tool_calls.push(call.clone()),
            }
        }
        self.tokens += piece.tokens;
        self.logprobs.extend(piece.logprobs.iter().cloned());
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
    /// What it cost; nothing on the device.
    pub cost: MicroUsd,
}
