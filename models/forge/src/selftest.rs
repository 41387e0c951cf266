//! The golden self-test: what a sound copy of the package answers to a fixed prompt.

use outpost::model::{CacheShape, KvType, SelfTest};

use crate::{
    Error, Result,
    progress::Progress,
    runtime::{Chain, Feed, Sequence, greedy},
    tokenizer::Tokenizer,
};

/// Prompts to choose from. Lists that every model can continue: its next tokens are far
/// ahead of the others, so another CPU's rounding does not change them.
const PROMPTS: [&str; 6] = [
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,",
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, Monday, Tuesday, Wednesday,",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h",
    "one two three four five six seven eight nine ten one two three four five",
    "red green blue red green blue red green blue red green blue red green",
    "The pump is on. The valve is shut. The pump is on. The valve is shut. The pump is on.",
];
/// Tokens of the answer.
const TOKENS: usize = 12;
/// Allowed difference of the first logit, as a part of the margin by which the tightest of
/// the answer's tokens leads: half of it could make another token win.
const TOLERANCE: f32 = 0.5;

/// Positions that the shortest prompt takes with its answer.
pub fn least_context(tokenizer: &Tokenizer) -> usize {
    let tokens = |text: &str| tokenizer.model.encode_fast(text, true).map_or(0, |ids| ids.get_ids().len());
    PROMPTS.map(tokens).into_iter().min().unwrap_or(0) + TOKENS
}

/// What reads several prompts side by side and writes their answers.
pub trait Reader {
    /// Begins with so many prompts, which with their answers have these lengths.
    fn begin(&mut self, lengths: &[usize]) -> Result<()>;
    /// Feeds each more tokens: the logits behind the last of them.
    fn feed(&mut self, fed: &[Vec<u32>]) -> Result<Vec<Vec<f32>>>;
    /// Forgets those that are not to go on.
    fn keep(&mut self, which: &[bool]);
}

/// A chain of graphs with its sequences.
pub struct OfChain<'a> {
    /// The graphs.
    pub chain: &'a mut Chain,
    /// Shape of the cache.
    pub shape: CacheShape,
    /// Its number format.
    pub kv: KvType,
    /// One for each prompt.
    pub sequences: Vec<Sequence>,
}

impl Reader for OfChain<'_> {
    fn begin(&mut self, lengths: &[usize]) -> Result<()> {
        self.sequences = lengths.iter().map(|n| Sequence::new(self.shape, self.kv, *n)).collect();
        Ok(())
    }

    fn feed(&mut self, fed: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let rows: Vec<[usize; 1]> = fed.iter().map(|tokens| [tokens.len() - 1]).collect();
        let feeds: Vec<Feed<'_>> =
            fed.iter().zip(&rows).map(|(tokens, rows)| Feed { tokens, rows }).collect();
        let steps = self.chain.step(&mut self.sequences, &feeds)?;
        Ok(steps.into_iter().map(|step| step.logits).collect())
    }

    fn keep(&mut self, which: &[bool]) {
        keep(&mut self.sequences, which);
    }
}

/// Runs every prompt and keeps the one whose tokens lead by the largest margin.
pub fn make(
    reader: &mut dyn Reader,
    tokenizer: &Tokenizer,
    context: usize,
    progress: &dyn Progress,
) -> Result<SelfTest> {
    let mut candidates = Vec::new();
    for text in PROMPTS {
        let failed = |e| Error::Unsupported(format!("the tokenizer fails on a plain text: {e}"));
        let prompt = tokenizer.model.encode_fast(text, true).map_err(failed)?.get_ids().to_vec();
        if !prompt.is_empty() && prompt.len() + TOKENS <= context {
            candidates.push(Candidate { prompt, tokens: Vec::new(), first: 0.0, margin: f32::INFINITY });
        }
    }
    let lengths: Vec<usize> = candidates.iter().map(|c| c.prompt.len() + TOKENS).collect();
    reader.begin(&lengths)?;
    progress.begin("self-test", TOKENS as u64);
    for _ in 0..TOKENS {
        let goes_on = step(reader, &mut candidates, &tokenizer.eos)?;
        keep(&mut candidates, &goes_on);
        reader.keep(&goes_on);
        progress.advance(1);
    }
    let best = candidates.into_iter().max_by(|a, b| a.margin.total_cmp(&b.margin));
    let best = best.ok_or_else(|| {
        Error::Unsupported(
            "the model does not continue any self-test prompt; its weights are damaged".to_owned(),
        )
    })?;
    Ok(SelfTest {
        prompt: best.prompt,
        tokens: best.tokens,
        first_logit: best.first,
        tolerance: best.margin * TOLERANCE,
    })
}

/// A prompt with its greedy continuation so far.
struct Candidate {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    /// Logit of the first token.
    first: f32,
    /// By how much the tightest token leads.
    margin: f32,
}

/// One token more for each. Says which go on: an answer that has ended, or logits that are no
/// numbers, test nothing.
fn step(reader: &mut dyn Reader, candidates: &mut [Candidate], eos: &[u32]) -> Result<Vec<bool>> {
    let fed: Vec<Vec<u32>> =
        candidates.iter().map(|c| c.tokens.last().map_or_else(|| c.prompt.clone(), |t| vec![*t])).collect();
    let answers = reader.feed(&fed)?;
    let advance = |(candidate, logits): (&mut Candidate, Vec<f32>)| {
        let (token, margin) = greedy(&logits);
        if candidate.tokens.is_empty() {
            candidate.first = logits[token as usize];
        }
        candidate.margin = candidate.margin.min(margin);
        candidate.tokens.push(token);
        !eos.contains(&token) && logits.iter().all(|x| x.is_finite())
    };
    Ok(candidates.iter_mut().zip(answers).map(advance).collect())
}

/// Of `all` those that are marked.
pub fn keep<T>(all: &mut Vec<T>, which: &[bool]) {
    let mut which = which.iter();
    all.retain(|_| which.next().copied().unwrap_or(false));
}
