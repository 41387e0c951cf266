//! The golden self-test: what a sound copy of the package answers to a fixed prompt.

use outpost::model::SelfTest;

use crate::{
    Error, Result,
    runtime::{Model, greedy},
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

/// Runs every prompt and keeps the one whose tokens lead by the largest margin.
pub fn make(
    model: &mut Model,
    tokenizer: &tokenizers::Tokenizer,
    eos: &[u32],
    context: usize,
) -> Result<SelfTest> {
    let mut best: Option<(f32, SelfTest)> = None;
    for text in PROMPTS {
        let encoded = tokenizer
            .encode_fast(text, true)
            .map_err(|e| Error::Unsupported(format!("the tokenizer fails on a plain text: {e}")))?;
        let prompt = encoded.get_ids().to_vec();
        if prompt.is_empty() || prompt.len() + TOKENS > context {
            continue;
        }
        let Some((margin, test)) = run(model, prompt, eos)? else { continue };
        if best.as_ref().is_none_or(|(most, _)| margin > *most) {
            best = Some((margin, test));
        }
    }
    let none = || {
        Error::Unsupported(
            "the model does not continue any self-test prompt; its weights are damaged".to_owned(),
        )
    };
    best.map(|(_, test)| test).ok_or_else(none)
}

/// Greedy continuation; `None` when the model ends it early or its logits are no numbers.
fn run(model: &mut Model, prompt: Vec<u32>, eos: &[u32]) -> Result<Option<(f32, SelfTest)>> {
    model.reset(prompt.len() + TOKENS)?;
    let mut logits = model.step(&prompt, &[prompt.len() - 1])?.logits;
    let mut tokens = Vec::new();
    let mut first_logit = 0.0;
    let mut tightest = f32::INFINITY;
    loop {
        let (token, margin) = greedy(&logits);
        if eos.contains(&token) || !logits.iter().all(|x| x.is_finite()) {
            return Ok(None);
        }
        if tokens.is_empty() {
            first_logit = logits[token as usize];
        }
        tightest = tightest.min(margin);
        tokens.push(token);
        if tokens.len() == TOKENS {
            break;
        }
        logits = model.step(&[token], &[0])?.logits;
    }
    Ok(Some((tightest, SelfTest { prompt, tokens, first_logit, tolerance: tightest * TOLERANCE })))
}
