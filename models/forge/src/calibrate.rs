//! What a text sample shows of a model: how large the inputs of each matrix are, and how
//! large keys and values get.
//!
//! The sample runs through a graph with 8-bit weights in blocks of 32, which is as good as
//! the source here, and a float32 cache. Each window of it starts a sequence, every other
//! one with the model's first token, as chats do.

use std::path::Path;

use outpost::model::KvType;

use crate::{
    Error, Result,
    arch::{Decoder, Site},
    cut::{chain, cut},
    graph::{Importance, Plan, Store},
    limits,
    progress::Progress,
    quant::Code,
    recipe::{Cache, Recipe},
    runtime::{Feed, Sequence, Step},
    source::Tensors,
    text::{encode, read_text},
};

/// The built-in sample: reports, chats, code, tables, seven languages.
pub const SAMPLE: &str = include_str!("../data/sample.txt");
/// Room above the largest value seen, for what the sample did not show.
const HEADROOM: f32 = 1.1;

/// What was seen.
pub struct Calibration {
    /// Mean square of each column's input.
    pub importance: Importance,
    /// Cache with scales that hold what was seen.
    pub cache: Cache,
}

/// The sample as tokens.
pub fn sample_tokens(path: Option<&Path>, tokenizer: &tokenizers::Tokenizer) -> Result<Vec<u32>> {
    let own;
    let mut text = SAMPLE;
    if let Some(path) = path {
        own = read_text(path, limits::SAMPLE_BYTES_MAX as u64)?;
        text = &own;
    }
    let mut tokens = encode(tokenizer, text)?;
    tokens.truncate(limits::SAMPLE_TOKENS_MAX);
    if tokens.len() < limits::SAMPLE_TOKENS_MIN {
        let (found, least) = (tokens.len(), limits::SAMPLE_TOKENS_MIN);
        return Err(Error::Usage(format!(
            "the sample has {found} tokens, and fewer than {least} show nothing of a model; take some pages of text"
        )));
    }
    Ok(tokens)
}

/// Runs `tokens` through the model, with a graph beside `store` in `dir`.
pub fn calibrate(
    tensors: &dyn Tensors,
    decoder: &Decoder,
    tokens: &[u32],
    first_token: Option<u32>,
    (store, dir): (&mut Store, &Path),
    progress: &dyn Progress,
) -> Result<Calibration> {
    let plan = Plan {
        tensors,
        decoder,
        recipe: &Recipe::uniform(decoder, Code::Int8, 32),
        cache: &Cache::F32,
        context: limits::SAMPLE_CHUNK_TOKENS,
        importance: None,
        taps: true,
    };
    progress.begin("weights to calibrate", tensors.bytes());
    let mut chain = chain(&plan, (store, dir), "taps", progress)?;
    let sites: Vec<Site> = cut(decoder, &[]).iter().flat_map(|part| part.sites(decoder)).collect();
    let shape = decoder.cache_shape();

    let windows: Vec<Vec<u32>> = tokens
        .chunks(limits::SAMPLE_CHUNK_TOKENS - 1)
        .enumerate()
        .map(|(n, text)| first_token.filter(|_| n % 2 == 0).into_iter().chain(text.iter().copied()).collect())
        .collect();
    let feeds: Vec<Feed<'_>> = windows.iter().map(|tokens| Feed { tokens, rows: &[0] }).collect();
    let mut sequences: Vec<Sequence> =
        windows.iter().map(|window| Sequence::new(shape, KvType::F32, window.len())).collect();
    let count: usize = windows.iter().map(Vec::len).sum();
    progress.begin("calibration", (count * chain.links().len()) as u64);
    let mut sums: Vec<Vec<f64>> = Vec::new();
    let width = shape.heads * shape.head_width;
    let mut ranges = vec![[vec![0f32; width], vec![0f32; width]]; shape.layers];
    for link in 0..chain.links().len() {
        let layers = chain.links()[link].layers.clone();
        let steps = chain.advance(link..link + 1, &mut sequences, &feeds, progress)?;
        sums.extend(sum_taps(&steps));
        for (sequence, window) in sequences.iter_mut().zip(&windows) {
            for layer in layers.clone() {
                let [keys, values] = &mut ranges[layer];
                let [seen_keys, seen_values] = sequence.cache(layer);
                widen_turning(keys, seen_keys, shape.head_width, window.len());
                widen(values, seen_values, shape.head_width, window.len());
                sequence.forget(layer);
            }
        }
    }
    let mean = |sum: Vec<f64>| sum.into_iter().map(|s| (s / count.max(1) as f64) as f32).collect();
    let importance = sites.into_iter().zip(sums.into_iter().map(mean)).collect();
    let scale = |range: f32| if range > 0.0 { range * HEADROOM / 127.0 } else { 1.0 };
    let scales = |range: Vec<f32>| range.into_iter().map(scale).collect();
    let cache = Cache::Int8(ranges.into_iter().map(|[k, v]| [scales(k), scales(v)]).collect());
    Ok(Calibration { importance, cache })
}

/// Each tap, summed over all windows.
fn sum_taps(steps: &[Step]) -> Vec<Vec<f64>> {
    let taps = steps.first().map_or(0, |step| step.taps.len());
    let sum = |tap: usize| {
        let mut sum = vec![0.0; steps[0].taps[tap].len()];
        for step in steps {
            sum.iter_mut().zip(&step.taps[tap]).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        sum
    };
    (0..taps).map(sum).collect()
}

/// Largest magnitude of each channel; `seen` is `heads * tokens * head_width`.
fn widen(ranges: &mut [f32], seen: &[f32], head_width: usize, tokens: usize) {
    for (ranges, seen) in ranges.chunks_mut(head_width).zip(seen.chunks(head_width * tokens)) {
        for token in seen.chunks(head_width) {
            ranges.iter_mut().zip(token).for_each(|(r, x)| *r = r.max(x.abs()));
        }
    }
}

/// The same for keys, which are stored turned by their position: both channels of a pair get
/// the largest length of the pair, which holds at every position and not only at those seen.
fn widen_turning(ranges: &mut [f32], seen: &[f32], head_width: usize, tokens: usize) {
    let half = head_width / 2;
    for (ranges, seen) in ranges.chunks_mut(head_width).zip(seen.chunks(head_width * tokens)) {
        for token in seen.chunks(head_width) {
            for pair in 0..half {
                let length = token[pair].hypot(token[pair + half]);
                ranges[pair] = ranges[pair].max(length);
                ranges[pair + half] = ranges[pair];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_per_channel_and_head() {
        // Two heads of width 2, two tokens.
        let seen = [3.0, -4.0, 1.0, 0.5, -0.1, 0.2, 0.3, -0.1];
        let mut ranges = [0.0; 4];
        widen(&mut ranges, &seen, 2, 2);
        assert_eq!(ranges, [3.0, 4.0, 0.3, 0.2]);
    }

    #[test]
    fn ranges_of_keys_do_not_depend_on_the_position() {
        let (mut near, mut far) = ([0.0; 2], [0.0; 2]);
        widen_turning(&mut near, &[3.0, -4.0], 2, 1);
        widen_turning(&mut far, &[5.0, 0.0], 2, 1);
        assert_eq!((near, far), ([5.0; 2], [5.0; 2]));
    }
}
