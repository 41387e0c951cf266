//! A variant of fixed sizes computes what the free one computes.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::path::Path;

use common::golden::{VOCABULARY, data, farthest, golden, repository};
use outpost::{
    engine::{Graph, GraphError, GraphOptions, Provider, argmax},
    model::{FixedShapes, KvType, Manifest, SelfTest, Variant},
};
use outpost_forge::{
    fixed::Fixed,
    import::{self, Options},
    progress::Silent,
    recipe::Weights,
};

fn with_fixed(options: Options, prefill: usize) -> Options {
    common::load_runtime();
    let providers = ["qnn", "xnnpack"].map(str::to_owned).to_vec();
    Options { fixed: Some(Fixed { prefill, providers }), ..options }
}

fn open(dir: &Path, manifest: &Manifest, variant: &Variant, context: usize) -> Graph {
    let sizes = GraphOptions { slots: 3, context, threads: 2 };
    Graph::open(dir, manifest, variant, &Provider::cpu(), &sizes).unwrap()
}

#[test]
fn logits_equal_transformers_in_any_chunking() {
    for name in ["hf", "small", "no-query-scale", "mscale-half"] {
        let home = tempfile::tempdir().unwrap();
        let (tokens, golden) = golden(name);
        let weights = if name == "small" { "small" } else { "hf" };
        let path = repository(home.path(), weights, &golden.rope_parameters);
        let dir = home.path().join("package");
        let options = common::options(&dir, Weights::F32, KvType::F32, 32);
        let options = Options { source: path, context: Some(256), ..options };
        let manifest = import::import(&with_fixed(options, 16), &Silent).unwrap();
        let mut graph = open(&dir, &manifest, &manifest.variants[0], 208);
        assert_eq!((graph.chunk(), graph.context(), graph.kv()), (16, 208, KvType::F32));
        for chunks in [&[200][..], &[63, 1, 1, 65, 70], &[5, 195]] {
            let (mut found, mut from) = (Vec::new(), 0);
            for len in chunks {
                let own = golden.positions.iter().filter(|p| (from..from + len).contains(*p));
                let rows: Vec<usize> = own.map(|p| p - from).collect();
                found.extend_from_slice(graph.prefill(1, from, &tokens[from..from + len], &rows).unwrap());
                from += len;
            }
            let off = farthest(&found, &golden.logits);
            println!("{name} in {chunks:?}: largest difference {off:.6}");
            assert!(off < 0.002, "{name} in {chunks:?}: a logit is off by {off}");
            assert_eq!(found.len(), golden.positions.len() * VOCABULARY);
        }
    }
}

/// Greedy tokens after each prompt, all prompts side by side.
fn answers(graph: &mut Graph, prompts: &[&[u32]], count: usize) -> Vec<Vec<u32>> {
    let vocabulary = 49_152;
    let mut answers: Vec<Vec<u32>> = Vec::new();
    for (slot, prompt) in prompts.iter().enumerate() {
        let mut past = 0;
        let mut next = 0;
        for chunk in prompt.chunks(graph.chunk()) {
            next = argmax(graph.prefill(slot, past, chunk, &[chunk.len() - 1]).unwrap());
            past += chunk.len();
        }
        answers.push(vec![next]);
    }
    for step in 0..count - 1 {
        let tokens: Vec<u32> = answers.iter().map(|a| a[step]).collect();
        let pasts: Vec<usize> = prompts.iter().map(|p| p.len() + step).collect();
        let logits = graph.decode(&tokens, &pasts).unwrap();
        for (answer, row) in answers.iter_mut().zip(logits.chunks_exact(vocabulary)) {
            answer.push(argmax(row));
        }
    }
    answers
}

#[test]
fn the_real_model_writes_the_same_tokens_in_both_variants() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("smollm2");
    let options = common::options(&dir, Weights::F32, KvType::F32, 64);
    let manifest = import::import(&with_fixed(options, 24), &Silent).unwrap();
    let [fixed, free] = &manifest.variants[..] else { panic!("two variants") };
    assert_eq!(fixed.shapes, Some(FixedShapes { prefill: 24, decode: 1 }));
    assert_eq!((fixed.providers.join(" "), free.providers.join(" ")), ("qnn xnnpack".into(), "cpu".into()));
    assert_eq!(std::fs::read_to_string(dir.join("outpost-model.toml")).unwrap(), manifest.to_toml().unwrap());
    assert_eq!(Manifest::parse(&manifest.to_toml().unwrap()).unwrap(), manifest);

    // Of the same weights, the two tests of a sound copy agree.
    let (own, common) = (fixed.self_test.as_ref().unwrap(), manifest.self_test.as_ref().unwrap());
    assert_eq!((&own.prompt, &own.tokens), (&common.prompt, &common.tokens));
    assert!((own.first_logit - common.first_logit).abs() < 0.01);

    let SelfTest { prompt, .. } = common;
    let longer: Vec<u32> = prompt.iter().cycle().take(prompt.len() * 2 + 7).copied().collect();
    let prompts: [&[u32]; 3] = [&longer, &prompt[..3], prompt];
    let [fixed, free] = [fixed, free].map(|variant| {
        let mut graph = open(&dir, &manifest, variant, 256);
        let first = answers(&mut graph, &prompts, 40);
        // A slot whose place another one takes goes on with what it held.
        let past = prompts[2].len() + 38;
        graph.copy_slot(2, 0, past);
        let logits = graph.decode(&first[2][38..39], &[past]).unwrap();
        assert_eq!(argmax(logits), first[2][39]);
        first
    });
    assert_eq!(fixed, free);
}

#[test]
fn a_variant_of_other_weights_has_a_self_test_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("package");
    let options = common::options(&dir, Weights::Int8, KvType::Int8, 32);
    let options = Options { source: data("hf"), context: Some(128), ..options };
    let manifest = import::import(&with_fixed(options, 8), &Silent).unwrap();
    let own = manifest.variants[0].self_test.as_ref().unwrap();
    let mut graph = open(&dir, &manifest, &manifest.variants[0], 128);
    let logits = graph.prefill(0, 0, &own.prompt, &[own.prompt.len() - 1]).unwrap();
    assert_eq!(argmax(logits), own.tokens[0]);
    assert!((logits[own.tokens[0] as usize] - own.first_logit).abs() < 1e-4);
    assert!(manifest.variants[1].self_test.is_none() && manifest.variants[1].shapes.is_none());
}

#[test]
fn a_graph_that_is_not_of_fixed_sizes_is_refused_as_one() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("package");
    let options = common::options(&dir, Weights::F32, KvType::F32, 32);
    let options = Options { source: data("hf"), context: Some(128), ..options };
    let manifest = import::import(&with_fixed(options, 8), &Silent).unwrap();
    let [fixed, free] = &manifest.variants[..] else { panic!("two variants") };
    let sizes = GraphOptions { slots: 1, context: 64, threads: 1 };
    let refused = |variant: &Variant| {
        let error = Graph::open(&dir, &manifest, variant, &Provider::cpu(), &sizes).err().unwrap();
        assert!(matches!(error, GraphError::Mismatch { .. }), "{error}");
        error.to_string()
    };
    let swapped = Variant { graph: free.graph.clone(), ..fixed.clone() };
    assert!(refused(&swapped).contains("position_ids"));
    let swapped = Variant { shapes: None, ..fixed.clone() };
    assert!(refused(&swapped).contains("attention_bias"));
}

#[test]
fn sizes_that_cannot_be_are_refused_before_anything_is_opened() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("package");
    let options = common::options(&dir, Weights::F32, KvType::F32, 32);
    let options = Options { source: data("hf"), context: Some(128), ..options };
    let mut manifest = import::import(&with_fixed(options, 8), &Silent).unwrap();
    for (prefill, decode, word) in [(3, 1, "prefill is 3"), (257, 1, "4 to 256"), (8, 2, "decode is 2")] {
        manifest.variants[0].shapes = Some(FixedShapes { prefill, decode });
        let error = Manifest::parse(&manifest.to_toml().unwrap()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
