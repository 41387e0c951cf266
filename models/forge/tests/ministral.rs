//! Ministral 3 in every form in which its weights are published computes what transformers
//! computes from the same weights.
//!
//! The tiny models of `data/ministral` have the real structure, scaled down: `YaRN` by 16 over
//! 64 positions, and queries that grow beyond them. `tests/golden/make_ministral.py` made them and
//! the logits; these reach 16, lose up to 21 without `YaRN` and up to 3.7 without the growth.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::{fs, path::Path};

use outpost::model::{KvType, Manifest};
use outpost_forge::{
    cut,
    graph::{Part, Plan, Store},
    import::{self, Options},
    progress::Silent,
    recipe::{Cache, Recipe, Weights},
    runtime::{Chain, Feed, Model, Sequence},
    source::Origin,
};
use serde_json::Value;

use crate::common::golden::{VOCABULARY, data, farthest, golden, repository};

fn options(source: &Path, destination: &Path, weights: Weights, kv: KvType) -> Options {
    common::load_runtime();
    let options = common::options(destination, weights, kv, 32);
    Options { source: source.to_owned(), context: Some(256), ..options }
}

/// Logits at `positions`, the tokens fed in chunks of these lengths.
fn logits(
    dir: &Path,
    manifest: &Manifest,
    tokens: &[u32],
    chunks: &[usize],
    positions: &[usize],
) -> Vec<f32> {
    let kv = manifest.variants[0].kv;
    let mut model = Model::open(&dir.join("model.onnx"), manifest.cache, kv, manifest.vocabulary);
    model.reset(tokens.len());
    let (mut logits, mut from) = (Vec::new(), 0);
    for len in chunks {
        let rows: Vec<usize> =
            positions.iter().filter(|p| (from..from + len).contains(p)).map(|p| p - from).collect();
        // The graph wants at least one row.
        let asked = if rows.is_empty() { &[0][..] } else { &rows[..] };
        let found = model.step(&tokens[from..from + len], asked).unwrap().logits;
        logits.extend(&found[..rows.len() * VOCABULARY]);
        from += len;
    }
    assert_eq!(from, tokens.len());
    logits
}

/// Root of the mean square of the differences.
fn typical(a: &[f32], b: &[f32]) -> f32 {
    (a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>() / a.len() as f32).sqrt()
}

#[test]
fn float32_logits_equal_transformers_whole_and_in_chunks() {
    for (name, source) in [
        ("hf", "hf"),
        ("hf", "hf-f16.gguf"),
        ("fp8", "fp8"),
        ("small", "small"),
        ("small", "small-f32.gguf"),
        ("fp8-blocks", "fp8-blocks"),
        ("mscale-half", "hf"),
        ("mscale-zero", "hf"),
        ("mscale-both", "hf"),
        ("not-truncated", "hf"),
        ("no-query-scale", "hf"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let (tokens, golden) = golden(name);
        let path = if source.contains(".gguf") {
            data(source)
        } else {
            repository(home.path(), source, &golden.rope_parameters)
        };
        let dir = home.path().join("package");
        let manifest = import::import(&options(&path, &dir, Weights::F32, KvType::F32), &Silent).unwrap();
        assert_eq!((manifest.architecture.as_str(), manifest.vocabulary), ("mistral3", VOCABULARY));
        for chunks in [&[200][..], &[63, 1, 1, 65, 70], &[80, 120]] {
            let found = logits(&dir, &manifest, &tokens, chunks, &golden.positions);
            let off = farthest(&found, &golden.logits);
            println!("{name} of {source} in {chunks:?}: largest difference {off:.6}");
            assert!(off < 0.002, "{name} of {source} in {chunks:?}: a logit is off by {off}");
        }
    }
}

#[test]
fn each_cache_type_stays_within_its_tolerance_beyond_the_original_context() {
    let (tokens, golden) = golden("hf");
    // Logits of this model scatter by 3.7: its attention is sharp, and 8 bits of a key move it.
    for (kv, bound) in [(KvType::F32, 0.0005), (KvType::F16, 0.02), (KvType::Int8, 1.0)] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("package");
        let manifest = import::import(&options(&data("hf"), &dir, Weights::F32, kv), &Silent).unwrap();
        let found = logits(&dir, &manifest, &tokens, &[100, 1, 99], &golden.positions);
        // Beyond the original context it is no worse than within.
        let within = golden.positions.iter().filter(|p| **p < 64).count() * VOCABULARY;
        let near = typical(&found[..within], &golden.logits[..within]);
        let far = typical(&found[within..], &golden.logits[within..]);
        println!("{} cache: typical difference {near:.5} within, {far:.5} beyond", kv.name());
        assert!(near < bound && far < bound, "{}: {near}, {far}", kv.name());
    }
}

#[test]
fn a_short_package_needs_no_growth_and_computes_the_same() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("package");
    let options = Options { context: Some(64), ..options(&data("hf"), &dir, Weights::F32, KvType::F32) };
    let manifest = import::import(&options, &Silent).unwrap();
    let (tokens, golden) = golden("hf");
    let positions: Vec<usize> = golden.positions.iter().copied().filter(|p| *p < 64).collect();
    let found = logits(&dir, &manifest, &tokens[..64], &[64], &positions);
    assert!(farthest(&found, &golden.logits[..positions.len() * VOCABULARY]) < 0.002);
    let graph = fs::read(dir.join("model.onnx")).unwrap();
    let grows = |graph: &[u8]| graph.windows(13).any(|w| w == b"query_factors");
    assert!(!grows(&graph));
    let long = home.path().join("long");
    let options = Options { destination: long.clone(), context: Some(65), ..options };
    import::import(&options, &Silent).unwrap();
    assert!(grows(&fs::read(long.join("model.onnx")).unwrap()));
}

#[test]
fn the_forms_of_one_model_have_one_tokenizer() {
    let texts: Value = serde_json::from_slice(&fs::read(data("texts.json")).unwrap()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let tekken = repository(home.path(), "hf", &serde_json::json!({}));
    fs::remove_file(tekken.join("tokenizer.json")).unwrap();
    fs::remove_file(tekken.join("tokenizer_config.json")).unwrap();
    for source in [data("hf"), tekken, data("hf-f16.gguf"), data("small-f32.gguf")] {
        let origin = Origin::open(&source).unwrap();
        let tokenizer = origin.tokenizer(VOCABULARY, 256).unwrap();
        for case in texts.as_array().unwrap() {
            let ids = tokenizer.model.encode_fast(case["text"].as_str().unwrap(), false).unwrap();
            assert_eq!(
                serde_json::json!(ids.get_ids()),
                case["ids"],
                "{}: {}",
                source.display(),
                case["text"]
            );
        }
        assert_eq!(
            (tokenizer.eos.as_slice(), tokenizer.first),
            ([2].as_slice(), Some(1)),
            "{}",
            source.display()
        );
    }
}

#[test]
fn the_default_package_is_made_of_every_form() {
    let (tokens, golden) = golden("hf");
    for source in ["hf", "fp8", "hf-f16.gguf"] {
        let home = tempfile::tempdir().unwrap();
        let path = if source == "fp8" {
            repository(home.path(), "fp8", &golden.rope_parameters)
        } else {
            data(source)
        };
        let dir = home.path().join("package");
        let manifest = import::import(&options(&path, &dir, Weights::Mixed, KvType::Int8), &Silent).unwrap();
        let found = logits(&dir, &manifest, &tokens, &[200], &golden.positions);
        let (off, size) = (typical(&found, &golden.logits), typical(&golden.logits, &vec![0.0; found.len()]));
        println!("{source}, mixed: typical difference {off:.3} of {size:.3}");
        assert!(off < 0.6 * size, "{source}: {off}");
        assert_eq!(manifest.source.sha256.len(), 64);
        let format = manifest.source.quantization.split(',').next().unwrap();
        assert_eq!(
            format,
            match source {
                "hf" => "BF16",
                "fp8" => "F8_E4M3",
                _ => "F16",
            }
        );
        let mut names: Vec<_> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        names.sort_unstable();
        let wanted = [
            "chat_template.jinja",
            "model.onnx",
            "model.onnx.data",
            "tokenizer.json",
            "tokenizer_config.json",
        ];
        assert_eq!(names, wanted, "no part of the measurement is left, no image tower came along");
    }
}

#[test]
fn a_model_in_parts_is_the_model() {
    common::load_runtime();
    let (tokens, _) = golden("hf");
    let origin = Origin::open(&data("hf")).unwrap();
    let decoder = origin.describe().unwrap();
    let home = tempfile::tempdir().unwrap();
    let recipe = Recipe::f32();
    let plan = Plan {
        tensors: origin.tensors(),
        decoder: &decoder,
        recipe: &recipe,
        cache: &Cache::F32,
        context: 256,
        importance: None,
        taps: false,
    };
    let mut store = Store::create(home.path()).unwrap();
    let layers = decoder.layers.len();
    let mut apart = cut::cut(&decoder, &[1, 2]);
    assert_eq!(apart.len(), layers);
    // As a large model is cut: the output matrix apart, in pieces.
    apart.last_mut().unwrap().projects = 0..0;
    let all = decoder.vocabulary;
    for projects in [0..100, 100..101, 101..all] {
        apart.push(Part { layers: layers..layers, embeds: false, projects });
    }
    let mut chain = |parts: &[Part], name: &str| {
        Chain::new(cut::links(&plan, parts, (&mut store, home.path()), name, &Silent).unwrap())
    };
    let mut chains = [chain(&[Part::whole(&decoder)], "whole"), chain(&apart, "parts")];
    let [whole, parts] = chains.each_mut().map(|chain| {
        let mut sequences = vec![Sequence::new(decoder.cache_shape(), KvType::F32, 200); 2];
        let mut logits = Vec::new();
        for (from, to) in [(0, 70), (70, 71), (71, 80)] {
            let feed = |shift: usize| Feed { tokens: &tokens[from + shift..to + shift], rows: &[0] };
            for step in chain.step(&mut sequences, &[feed(0), feed(50)]).unwrap() {
                logits.extend(step.logits);
            }
        }
        logits
    });
    assert!(farthest(&whole, &parts) < 1e-4);
}
