//! Tiny models of Ministral's structure, and what transformers computes for them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

pub const VOCABULARY: usize = 320;

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ministral").join(name)
}

/// What transformers computes for one set: positions and their logits.
pub struct Golden {
    pub positions: Vec<usize>,
    pub logits: Vec<f32>,
    pub rope_parameters: Value,
}

pub fn golden(name: &str) -> (Vec<u32>, Golden) {
    let index: Value = serde_json::from_slice(&fs::read(data("logits.json")).unwrap()).unwrap();
    let numbers =
        |value: &Value| value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>();
    let tokens = numbers(&index["ids"]).into_iter().map(|id| id as u32).collect();
    let set = index["sets"].as_array().unwrap().iter().find(|set| set["name"] == name).unwrap();
    let positions: Vec<usize> = numbers(&set["positions"]).into_iter().map(|p| p as usize).collect();
    let bytes = fs::read(data("logits.bin")).unwrap();
    let offset = set["offset"].as_u64().unwrap() as usize;
    let bytes = &bytes[offset..][..positions.len() * VOCABULARY * 4];
    let logits = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (tokens, Golden { positions, logits, rope_parameters: set["rope_parameters"].clone() })
}

/// The directory `weights` with the tokenizer that all share, and these changes to its configuration.
pub fn repository(home: &Path, weights: &str, rope_parameters: &Value) -> PathBuf {
    let dir = home.join("source");
    fs::create_dir(&dir).unwrap();
    for from in [data("hf"), data(weights)] {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            // Weights are its own only.
            if !name.starts_with("model") || entry.path().starts_with(data(weights)) {
                fs::copy(entry.path(), dir.join(name)).unwrap();
            }
        }
    }
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let parameters = config["text_config"]["rope_parameters"].as_object_mut().unwrap();
    parameters.extend(rope_parameters.as_object().unwrap().clone());
    fs::write(path, config.to_string()).unwrap();
    dir
}

pub fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert!(a.iter().chain(b).all(|x| x.is_finite()), "logits are numbers");
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}
