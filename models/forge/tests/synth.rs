//! Models of random weights: the file for other engines and the package made here hold the
//! same model.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::{fs, path::Path};

use outpost::model::{KvType, Manifest};
use outpost_forge::{
    Error,
    import::{self, Options},
    progress::Silent,
    recipe::Weights,
    runtime::Model,
    synth::{Format, Synthetic, write},
};
use serde_json::{Value, json};

/// A small Ministral 3.
fn shape(home: &Path, changes: &[(&str, Value)]) -> String {
    let mut config = json!({
        "text_config": {
            "model_type": "ministral3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 96, "vocab_size": 300,
            "max_position_embeddings": 1024, "tie_word_embeddings": true, "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16,
                "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
            },
        },
    });
    for (pointer, value) in changes {
        *config.pointer_mut(pointer).unwrap() = value.clone();
    }
    let path = home.join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn logits(home: &Path, source: &str, weights: Weights) -> Vec<f32> {
    common::load_runtime();
    let dir = home.join("package");
    let options = Options {
        source: source.into(),
        context: Some(64),
        force: true,
        ..common::options(&dir, weights, KvType::F32, 32)
    };
    let manifest: Manifest = import::import(&options, &Silent).unwrap();
    let mut model = Model::open(&dir.join("model.onnx"), manifest.cache, KvType::F32, manifest.vocabulary);
    let tokens: Vec<u32> = (0..40).map(|i| i * 7 % 300).collect();
    model.step(&tokens, &[0, 20, 39]).unwrap().logits
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert!(a.iter().chain(b).all(|x| x.is_finite()), "logits are numbers");
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn the_file_and_the_package_are_the_same_model() {
    let home = tempfile::tempdir().unwrap();
    for config in [shape(home.path(), &[]), "tiny".to_owned()] {
        let direct = logits(home.path(), &format!("synth:{config}"), Weights::F32);
        assert!(direct.iter().any(|x| x.abs() > 0.5), "it says something");
        for (format, bound) in [
            (Format::F32, 1e-6),
            (Format::F16, 0.01),
            (Format::BF16, 0.05),
            (Format::Q8_0, 0.1),
            (Format::Q4_0, 1.5),
        ] {
            let file = home.path().join("model.gguf");
            write(&Synthetic::new(&config, 0).unwrap(), format, &file, &Silent).unwrap();
            let written = logits(home.path(), file.to_str().unwrap(), Weights::F32);
            let off = farthest(&written, &direct);
            assert!(off <= bound, "{format:?}: {off}");
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn a_seed_gives_one_model_and_another_seed_another() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, seed| {
        let path = home.path().join(name);
        write(&Synthetic::new("tiny", seed).unwrap(), Format::Q4_0, &path, &Silent).unwrap();
        fs::read(path).unwrap()
    };
    let [one, same, other] = [file("a", 1), file("b", 1), file("c", 2)];
    assert!(one == same && one != other);
}

#[test]
fn the_whole_size_of_the_4b_is_as_published() {
    let decoder = Synthetic::new("ministral-3-3b", 0).unwrap().describe().unwrap();
    let weights: usize = decoder.matrices().map(|(_, m)| m.rows * m.columns).sum();
    let norms = decoder.width * (2 * decoder.layers.len() + 1);
    assert_eq!(weights + decoder.vocabulary * decoder.width + norms, 3_429_006_336);
    assert_eq!((decoder.heads * decoder.head_width, decoder.width), (4096, 3072));
    assert!(decoder.output.is_none());
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for (pointer, value, word) in [
        ("/text_config/vocab_size", json!(10), "vocab_size"),
        ("/text_config/vocab_size", json!(u64::MAX), "vocab_size"),
        ("/text_config/hidden_size", json!(0), "hidden_size"),
        ("/text_config/num_hidden_layers", json!(1_000_000), "num_hidden_layers"),
        ("/text_config/head_dim", json!(7), "head width"),
        ("/text_config/num_key_value_heads", json!(3), "evenly"),
        ("/text_config/model_type", json!("mamba"), "mamba"),
        ("/text_config/rope_parameters/rope_type", json!("longrope"), "longrope"),
        ("/text_config/rope_parameters/factor", json!(-1), "factor"),
    ] {
        let config = shape(home.path(), &[(pointer, value)]);
        let made = Synthetic::new(&config, 0).and_then(|model| model.describe());
        let error = made.unwrap_err();
        assert!(
            matches!(error, Error::Unsupported(_)) && error.to_string().contains(word),
            "{pointer}: {error}"
        );
    }
    assert!(matches!(Synthetic::new("nothing", 0), Err(Error::Usage(_))));
    let config = shape(home.path(), &[("/text_config/intermediate_size", json!(100))]);
    let file = home.path().join("model.gguf");
    let error = write(&Synthetic::new(&config, 0).unwrap(), Format::Q4_0, &file, &Silent).unwrap_err();
    assert!(error.to_string().contains("100") && !file.exists(), "{error}");
}
