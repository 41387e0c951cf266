//! A float32 package computes what llama.cpp computes from the same weights in float32.
//!
//! The reference (`tests/data/reference/smollm2-f32-logits.json`) holds, for positions of
//! three prompts, the 32 largest logits, 64 sampled ones, mean and norm of all 49,152, and
//! greedy continuations. Two float32 implementations that sum in another order differ by
//! about 1e-4 here; a wrong row order, epsilon or rotary frequency differs by units.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::path::Path;

use outpost::model::KvType;
use outpost_forge::{recipe::Weights, runtime::greedy};
use serde_json::Value;

/// Allowed difference of one logit. Logits of this model lie between -20 and 40.
const TOLERANCE: f64 = 0.002;

fn reference() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/reference/smollm2-f32-logits.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

#[test]
fn float32_logits_equal_llama_cpp() {
    let home = tempfile::tempdir().unwrap();
    let mut model = common::package(&home.path().join("f32"), Weights::F32, KvType::F32, 32);
    let reference = reference();
    let step = reference["sampled_step"].as_u64().unwrap() as usize;
    let mut worst = 0f64;
    for prompt in reference["prompts"].as_array().unwrap() {
        let tokens = numbers(&prompt["tokens"]);
        let positions = prompt["positions"].as_array().unwrap();
        let rows: Vec<usize> = positions.iter().map(|p| p["position"].as_u64().unwrap() as usize).collect();
        model.reset(64);
        let logits = model.step(&tokens, &rows).unwrap().logits;
        for (position, logits) in positions.iter().zip(logits.chunks(model.vocabulary())) {
            let mut check = |id: usize, wanted: f64| {
                let difference = (f64::from(logits[id]) - wanted).abs();
                worst = worst.max(difference);
                let at = format!("{} at {}", prompt["name"], position["position"]);
                assert!(difference < TOLERANCE, "{at}, token {id}: {} and not {wanted}", logits[id]);
            };
            for pair in position["top"].as_array().unwrap() {
                check(pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
            }
            for (i, wanted) in position["sampled"].as_array().unwrap().iter().enumerate() {
                check(i * step, wanted.as_f64().unwrap());
            }
            let mean = logits.iter().map(|x| f64::from(*x)).sum::<f64>() / logits.len() as f64;
            assert!((mean - position["mean"].as_f64().unwrap()).abs() < TOLERANCE, "mean of all logits");
        }
    }
    println!("largest difference of a logit: {worst:.5}");
}

#[test]
fn float32_greedy_text_equals_llama_cpp() {
    let home = tempfile::tempdir().unwrap();
    let mut model = common::package(&home.path().join("f32"), Weights::F32, KvType::F32, 32);
    for prompt in reference()["prompts"].as_array().unwrap() {
        let mut feed = numbers(&prompt["tokens"]);
        model.reset(64);
        for (n, wanted) in prompt["greedy"].as_array().unwrap().iter().enumerate() {
            let logits = model.step(&feed, &[feed.len() - 1]).unwrap().logits;
            let (token, _) = greedy(&logits);
            assert_eq!(u64::from(token), wanted["token"].as_u64().unwrap(), "{}, token {n}", prompt["name"]);
            feed = vec![token];
        }
    }
}
