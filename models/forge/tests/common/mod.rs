//! What tests share: the real model and the real runtime, as `make model` brings them.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part")]

pub mod golden;

use std::path::{Path, PathBuf};

use outpost::model::KvType;
use outpost_forge::{
    import::{self, Options},
    progress::Silent,
    recipe::Weights,
    runtime::{self, Model},
};

/// A file of the test cache; fails with advice when it is not there.
pub fn cached(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    let dir = std::env::var_os("OUTPOST_TEST_CACHE").map_or(own, PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "`{}` is missing: run `make model` first", path.display());
    path
}

/// SmolLM2, as published.
pub fn source() -> PathBuf {
    cached("gguf/SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// Loads the runtime.
pub fn load_runtime() {
    runtime::load(Some(&cached("onnxruntime/libonnxruntime.so"))).unwrap();
}

/// Options for a package of the real model.
pub fn options(destination: &Path, weights: Weights, kv: KvType, block: usize) -> Options {
    Options {
        source: source(),
        destination: destination.to_owned(),
        weights,
        kv,
        block,
        zero_points: false,
        name: None,
        licence: None,
        context: Some(2048),
        fixed: None,
        sample: None,
        force: false,
    }
}

/// Makes a package in `destination` and loads it.
pub fn package(destination: &Path, weights: Weights, kv: KvType, block: usize) -> Model {
    load_runtime();
    let manifest = import::import(&options(destination, weights, kv, block), &Silent).unwrap();
    Model::open(&destination.join("model.onnx"), manifest.cache, kv, manifest.vocabulary)
}
