//! What a text sample shows of a model: how large the inputs of each matrix are, and how
//! large keys and values get.
//!
//! The sample runs through a graph with 8-bit weights in blocks of 32, which is as good as
//! the source here, and a float32 cache. Each window of it starts a sequence, every other
//! one with the model's first token, as chats do.

use std::{fs, path::Path};

use outpost::model::KvType;

use crate::{
    Error, Result,
    arch::{Decoder, Site},
    gguf::{Gguf, Tensor},
    graph::{self, Importance, Plan, Store, tap_name},
    limits,
    progress::Progress,
    quant::Code,
    recipe::{Cache, Recipe},
    runtime::Model,
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
    Ok(tokens)
}

/// A text file, cut to `bytes_max` at a character's border.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(Error::io("read", path))?;
    file.take(bytes_max).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let valid = match std::str::from_utf8(&bytes) {
        Ok(_) => bytes.len(),
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        Err(_) => return Err(Error::Unsupported(format!("`{}` is not UTF-8 text", path.display()))),
    };
    bytes.truncate(valid);
    String::from_utf8(bytes).map_err(|e| Error::Bug(e.to_string()))
}

/// Tokens of a text, without a first token of the model's own.
pub fn encode(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
    let failed = |e| Error::Unsupported(format!("the tokenizer fails on the text: {e}"));
    tokenizer.encode_fast(text, false).map(|e| e.get_ids().to_vec()).map_err(failed)
}

/// Runs `tokens` through the model, with a graph beside `store` in `dir`.
pub fn calibrate(
    gguf: &Gguf,
    decoder: &Decoder,
    tokens: &[u32],
    first_token: Option<u32>,
    (store, dir): (&mut Store, &Path),
    progress: &dyn Progress,
) -> Result<Calibration> {
    let plan = Plan {
        gguf,
        decoder,
        recipe: &Recipe::uniform(decoder, Code::Int8, 32),
        cache: &Cache::F32,
        context: limits::SAMPLE_CHUNK_TOKENS,
        importance: None,
        taps: true,
    };
    let graph = dir.join("taps.onnx");
    progress.begin("weights to calibrate", gguf.tensors().iter().map(Tensor::bytes).sum());
    graph::write_shared(&plan, store, &graph, progress)?;
    let sites: Vec<Site> = decoder.matrices().map(|(site, _)| site).chain([Site::Output]).collect();
    let names = sites.iter().map(|site| tap_name(*site)).collect();
    let shape = decoder.cache_shape();
    let mut model = Model::open(&graph, shape, KvType::F32, decoder.vocabulary, names)?;

    progress.begin("calibration", tokens.len() as u64);
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); sites.len()];
    let mut ranges =
        vec![
            [vec![0f32; shape.heads * shape.head_width], vec![0f32; shape.heads * shape.head_width]];
            shape.layers
        ];
    let mut count = 0;
    for (n, text) in tokens.chunks(limits::SAMPLE_CHUNK_TOKENS - 1).enumerate() {
        let window: Vec<u32> =
            first_token.filter(|_| n % 2 == 0).into_iter().chain(text.iter().copied()).collect();
        model.reset(window.len())?;
        let step = model.step(&window, &[0])?;
        for (sum, tap) in sums.iter_mut().zip(&step.taps) {
            sum.resize(tap.len(), 0.0);
            sum.iter_mut().zip(tap).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        for (layer, [keys, values]) in ranges.iter_mut().enumerate() {
            let [seen_keys, seen_values] = model.cache(layer)?;
            widen_turning(keys, seen_keys, shape.head_width, window.len());
            widen(values, seen_values, shape.head_width, window.len());
        }
        count += window.len();
        progress.advance(text.len() as u64);
    }
    let mean = |sum: Vec<f64>| sum.into_iter().map(|s| (s / count.max(1) as f64) as f32).collect();
    let importance = sites.into_iter().zip(sums.into_iter().map(mean)).collect();
    let scale = |range: f32| if range > 0.0 { range * HEADROOM / 127.0 } else { 1.0 };
    let scales = |range: Vec<f32>| range.into_iter().map(scale).collect();
    let cache = Cache::Int8(ranges.into_iter().map(|[k, v]| [scales(k), scales(v)]).collect());
    Ok(Calibration { importance, cache })
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

    #[test]
    fn a_text_is_cut_at_a_character_and_binary_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.txt");
        fs::write(&path, "Öl").unwrap();
        assert_eq!(read_text(&path, 1).unwrap(), "");
        assert_eq!(read_text(&path, 100).unwrap(), "Öl");
        fs::write(&path, [b'a', 0xff, b'b']).unwrap();
        assert!(read_text(&path, 100).is_err());
    }
}
