//! One running answer: from logits to text, until something ends it.

use std::collections::VecDeque;

use super::{
    calls::{CallReader, Taken},
    job::Job,
    plan::Prefill,
    sample::{Sampler, log_probabilities},
    stop::StopMatcher,
};
use crate::{
    domain::{BootTime, Delta, Error, FinishReason, MicroUsd, Outcome, TokenLogprob, Usage},
    model::{Detokenizer, Tokenizer},
};

/// A job in a slot.
pub(super) struct Sequence {
    pub(super) job: Job,
    /// Tokens whose keys and values the slot holds.
    pub(super) committed: usize,
    /// Chosen, not yet fed to the model.
    pub(super) next: u32,
    sampler: Sampler,
    text: Text,
    calls: Option<CallReader>,
    generated: usize,
    tokens_max: usize,
    pending: Delta,
    started: BootTime,
    first_token: Option<BootTime>,
}

/// The text side: bytes to characters, characters to what no stop string can take back.
struct Text {
    detokenizer: Detokenizer,
    stop: StopMatcher,
    /// Bytes that went into and came out of the stop matcher.
    pushed: usize,
    released: usize,
    /// Log-probabilities of tokens whose text is still held, with the place where it ends.
    held: VecDeque<(usize, TokenLogprob)>,
}

/// What every sequence of one model shares.
#[derive(Clone, Copy)]
pub(super) struct Vocabulary<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) eos: &'a [u32],
}

impl Sequence {
    pub(super) fn new(job: Job, tokenizer: &Tokenizer, context: usize, entropy: u64, now: BootTime) -> Self {
        let room = context.saturating_sub(job.prompt.len());
        let mut pending = Delta::default();
        let calls = job.calling.clone();
        let calls = calls.map(|calling| CallReader::new(calling, tokenizer, entropy, &mut pending));
        Self {
            committed: 0,
            next: 0,
            sampler: Sampler::new(job.options.sampling.clone(), &job.prompt, entropy),
            text: Text {
                detokenizer: tokenizer.detokenizer(),
                stop: StopMatcher::new(&job.options.stop),
                pushed: 0,
                released: 0,
                held: VecDeque::new(),
            },
            generated: 0,
            tokens_max: job.options.tokens_max.min(room),
            pending,
            calls,
            started: now,
            first_token: None,
            job,
        }
    }

    /// How far the prompt is.
    pub(super) fn prefill(&self) -> Prefill {
        Prefill { done: self.committed, total: self.job.prompt.len() }
    }

    /// Takes the logits after the last committed token; says how the answer ended, if it did.
    pub(super) fn accept(
        &mut self,
        logits: &[f32],
        vocabulary: Vocabulary<'_>,
        now: BootTime,
    ) -> Result<Option<FinishReason>, Error> {
        let token = self.sampler.sample(logits);
        // A provider that returns nonsense must not be read as an answer.
        if !logits[token as usize].is_finite() {
            return Err(Error::internal("the model returned logits that are not numbers"));
        }
        self.next = token;
        self.generated += 1;
        self.first_token.get_or_insert(now);
        if vocabulary.eos.contains(&token) && !self.job.options.ignore_eos {
            return Ok(Some(self.end()));
        }
        self.pending.tokens += 1;
        match self.calls.as_mut().map_or(Taken::Text, |calls| calls.push(token, &mut self.pending)) {
            Taken::Text => {}
            Taken::OneTooMany => return Ok(Some(FinishReason::ToolCalls)),
            Taken::Begins if self.end_text() => return Ok(Some(FinishReason::Stop)),
            Taken::Begins | Taken::Call => {
                return Ok((self.generated >= self.tokens_max).then_some(FinishReason::Length));
            }
        }
        let logprob =
            self.job.options.logprobs.map(|top| token_logprob(logits, token, top, vocabulary.tokenizer));
        let stopped = self.add_text(token, logprob);
        if stopped {
            return Ok(Some(FinishReason::Stop));
        }
        if self.generated >= self.tokens_max {
            return Ok(Some(if self.end_text() { FinishReason::Stop } else { FinishReason::Length }));
        }
        Ok(None)
    }

    /// The model has ended the answer.
    fn end(&mut self) -> FinishReason {
        match &mut self.calls {
            Some(calls) if calls.any() => {
                calls.close(&mut self.pending);
                if calls.told() { FinishReason::ToolCalls } else { FinishReason::Stop }
            }
            _ => {
                self.end_text();
                FinishReason::Stop
            }
        }
    }

    fn add_text(&mut self, token: u32, logprob: Option<TokenLogprob>) -> bool {
        let piece = self.text.detokenizer.push(token);
        self.text.pushed += piece.len();
        if let Some(logprob) = logprob {
            self.text.held.push_back((self.text.pushed, logprob));
        }
        let released = self.text.stop.push(&piece);
        self.release(&released.text);
        released.stopped
    }

    /// Half a character at the very end, and what a stop string might still have become.
    fn end_text(&mut self) -> bool {
        let piece = self.text.detokenizer.finish();
        let released = self.text.stop.push(&piece);
        self.release(&released.text);
        if !released.stopped {
            let rest = self.text.stop.finish();
            self.release(&rest);
            self.pending.logprobs.extend(self.text.held.drain(..).map(|(_, l)| l));
        }
        released.stopped
    }

    fn release(&mut self, text: &str) {
        self.text.released += text.len();
        self.pending.text.push_str(text);
        while self.text.held.front().is_some_and(|(end, _)| *end <= self.text.released) {
            self.pending.logprobs.extend(self.text.held.pop_front().map(|(_, l)| l));
        }
    }

    /// Sends what is ready; a full channel keeps it for the next time, a closed one means
    /// that nobody reads any more.
    pub(super) fn flush(&mut self) -> Flow {
        let Some(deltas) = &self.job.deltas else { return Flow::Goes };
        if self.pending.is_empty() {
            return Flow::Goes;
        }
        match deltas.try_reserve() {
            Ok(place) => {
                place.send(std::mem::take(&mut self.pending));
                Flow::Goes
            }
            Err(tokio::sync::mpsc::error::TrySendError::Full(())) => Flow::Goes,
            Err(tokio::sync::mpsc::error::TrySendError::Closed(())) => Flow::NobodyReads,
        }
    }

    /// Ends the job well.
    pub(super) fn finish(self, finish: FinishReason, now: BootTime) {
        let usage = Usage { prompt_tokens: self.job.prompt.len(), completion_tokens: self.generated };
        let first = self.first_token.unwrap_or(now);
        // A caller that is gone has dropped its end; there is nobody to tell.
        let _ = self.job.done.send(Ok(Outcome {
            rest: self.pending,
            finish,
            usage,
            time_to_first_token: first.since(self.started),
            decode_time: now.since(first),
            cost: MicroUsd::ZERO,
        }));
    }

    /// Ends the job with an error.
    pub(super) fn fail(self, error: Error) {
        let _ = self.job.done.send(Err(error));
    }
}

/// Whether there is still a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Goes,
    NobodyReads,
}

fn token_logprob(logits: &[f32], token: u32, top: usize, tokenizer: &Tokenizer) -> TokenLogprob {
    let (logprob, best) = log_probabilities(logits, token, top);
    TokenLogprob {
        bytes: tokenizer.token_bytes(token),
        logprob,
        top: best.into_iter().map(|(id, l)| (tokenizer.token_bytes(id), l)).collect(),
    }
}
