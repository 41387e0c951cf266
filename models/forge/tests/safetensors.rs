//! Directories of Hugging Face's layout that are damaged, hostile or of another kind get an
//! error that names what is wrong.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use outpost_forge::{Error, Result, arch::Decoder, source::Origin};
use serde_json::{Value, json};

/// The tiny FP8 model, for spoiling.
struct Copy {
    home: tempfile::TempDir,
}

impl Copy {
    fn of(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ministral").join(name);
        for entry in fs::read_dir(data).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), home.path().join(entry.file_name())).unwrap();
        }
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn describe(&self) -> Result<Decoder> {
        Origin::open(self.home.path())?.describe()
    }

    fn config(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    /// Rewrites the header of `model.safetensors`.
    fn header(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        change(&mut header);
        let header = header.to_string();
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend(header.as_bytes());
        out.extend(&bytes[8 + length..]);
        fs::write(path, out).unwrap();
    }

    fn refused(&self, word: &str) {
        let error = self.describe().unwrap_err();
        assert!(matches!(error, Error::Unsupported(_) | Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(word), "`{word}` is not in: {error}");
    }
}

const Q: &str = "language_model.model.layers.0.self_attn.q_proj.weight";

#[test]
fn headers_that_lie_are_refused_by_what_they_say() {
    for (pointer, value, word) in [
        ("/data_offsets", json!([0, u64::MAX]), "lies at"),
        ("/data_offsets", json!([9, 3]), "lies at"),
        ("/data_offsets", json!([0]), "data_offsets"),
        ("/data_offsets", json!([-1, 4]), "data_offsets"),
        ("/shape", json!([1, 1]), "do not fill"),
        ("/shape", json!([u64::MAX, u64::MAX]), "too large"),
        ("/shape", json!("x"), "shape"),
        ("/dtype", json!(7), "dtype"),
        ("/dtype", json!("I64"), "I64"),
    ] {
        let copy = Copy::of("fp8");
        copy.header(|header| *header[Q].pointer_mut(pointer).unwrap() = value);
        copy.refused(word);
    }
}

#[test]
fn eight_bit_floats_need_their_scales() {
    let copy = Copy::of("fp8");
    let scale = format!("{Q}_scale_inv");
    copy.header(|header| {
        header.as_object_mut().unwrap().remove(&scale);
    });
    copy.refused("its scale is missing");
    let copy = Copy::of("fp8-blocks");
    copy.config(|config| config["quantization_config"]["weight_block_size"] = json!([8, 8]));
    copy.refused("another shape");
}

#[test]
fn files_that_are_cut_or_no_tensors_are_refused() {
    let copy = Copy::of("fp8");
    let bytes = fs::read(copy.path("model.safetensors")).unwrap();
    for (bytes, word) in [
        (&bytes[..bytes.len() - 1], "lies at"),
        (&bytes[..100], "it is cut"),
        (&bytes[..3], "no safetensors"),
        (b"", "no safetensors"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{}", "it is cut"),
        (b"\x02\0\0\0\0\0\0\0[]", "not JSON"),
        (b"\x02\0\0\0\0\0\0\0{}", "embed_tokens"),
    ] {
        fs::write(copy.path("model.safetensors"), bytes).unwrap();
        copy.refused(word);
    }
    fs::remove_file(copy.path("model.safetensors")).unwrap();
    copy.refused("holds neither");
}

#[test]
fn an_index_leads_nowhere_but_beside_itself() {
    for (map, word) in [
        (json!({"a": "../model.safetensors"}), "no name of a file"),
        (json!({"a": "/etc/passwd"}), "no name of a file"),
        (json!({"a": "weights.bin"}), "no name of a file"),
        (json!({}), "empty"),
        (json!([]), "weight_map"),
    ] {
        let copy = Copy::of("hf");
        fs::write(copy.path("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
        copy.refused(word);
    }
    let copy = Copy::of("hf");
    fs::copy(copy.path("model-00001-of-00002.safetensors"), copy.path("model-00002-of-00002.safetensors"))
        .unwrap();
    copy.refused("two files");
    fs::remove_file(copy.path("model-00002-of-00002.safetensors")).unwrap();
    assert!(matches!(copy.describe().unwrap_err(), Error::Io { .. }));
}

#[test]
fn a_model_of_another_kind_is_called_by_its_name() {
    for (key, value, word) in [
        ("model_type", json!("mixtral"), "mixtral"),
        ("hidden_act", json!("gelu"), "gelu"),
        ("sliding_window", json!(4096), "window"),
        ("num_key_value_heads", json!(3), "evenly"),
        ("hidden_size", json!(128), "numbers"),
        ("num_hidden_layers", json!(4), "is missing"),
        ("num_hidden_layers", json!(2), "no place"),
    ] {
        let copy = Copy::of("hf");
        copy.config(|config| config["text_config"][key] = value);
        copy.refused(word);
    }
    let copy = Copy::of("small");
    copy.config(|config| {
        config["tie_word_embeddings"] = json!(false);
        config["text_config"]["tie_word_embeddings"] = json!(false);
    });
    assert!(copy.describe().unwrap().output.is_some());
    let rename = |copy: &Copy, to: &str| {
        copy.header(|header| {
            let output = header["lm_head.weight"].take();
            header.as_object_mut().unwrap().remove("lm_head.weight");
            header[to] = output;
        });
    };
    rename(&copy, "model.layers.0.self_attn.q_proj.bias");
    copy.refused("lm_head.weight");
    copy.config(|config| {
        config["tie_word_embeddings"] = json!(true);
        config["text_config"]["tie_word_embeddings"] = json!(true);
    });
    copy.refused("q_proj.bias");
    let copy = Copy::of("small");
    copy.config(|config| {
        config["tie_word_embeddings"] = json!(true);
        config["text_config"]["tie_word_embeddings"] = json!(true);
    });
    rename(&copy, "model.layers.0.self_attn.rotary_emb.inv_freq");
    assert!(
        copy.describe().unwrap().output.is_none(),
        "old checkpoints keep what follows from the configuration"
    );
    let copy = Copy::of("small");
    fs::write(copy.path("config.json"), "{").unwrap();
    copy.refused("config.json");
    fs::remove_file(copy.path("config.json")).unwrap();
    copy.refused("config.json");
}

#[test]
fn a_configuration_that_says_a_thing_by_two_names_is_read() {
    let copy = Copy::of("hf");
    let before = copy.describe().unwrap().rope;
    copy.config(|config| {
        config["text_config"]["rope_parameters"]["type"] = json!("yarn");
        config["text_config"]["rope_scaling"] = config["text_config"]["rope_parameters"].clone();
    });
    assert_eq!(copy.describe().unwrap().rope, before);
    copy.config(|config| {
        let rope = config["text_config"]["rope_parameters"].as_object_mut().unwrap();
        rope.remove("rope_type");
    });
    assert_eq!(copy.describe().unwrap().rope, before);
    for kind in ["yarn", "linear", "llama3"] {
        copy.config(|config| {
            config["text_config"]["rope_parameters"] = json!({"rope_type": kind, "rope_theta": 1e6});
        });
        copy.refused("has no `factor`");
    }
}

#[test]
fn an_output_matrix_that_differs_from_the_table_is_not_taken_for_it() {
    let copy = Copy::of("small");
    copy.config(|config| {
        config["tie_word_embeddings"] = json!(true);
        config["text_config"]["tie_word_embeddings"] = json!(true);
    });
    assert!(copy.describe().unwrap().output.is_some(), "transformers does not tie them either");
    // The same numbers twice: the table kept a second time.
    let path = copy.path("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let place = |end: &str| {
        let (_, entry) = header.as_object().unwrap().iter().find(|(name, _)| name.ends_with(end)).unwrap();
        let ends: [usize; 2] = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
        8 + length + ends[0]..8 + length + ends[1]
    };
    let table = bytes[place("embed_tokens.weight")].to_vec();
    bytes[place("lm_head.weight")].copy_from_slice(&table);
    fs::write(&path, bytes).unwrap();
    assert!(copy.describe().unwrap().output.is_none());
}

#[test]
fn a_small_file_does_not_stand_for_a_large_model() {
    let copy = Copy::of("fp8");
    copy.header(|header| {
        let scale = header[&format!("{Q}_scale_inv")].clone();
        header["again"] = scale;
    });
    copy.refused("overlap");
    let copy = Copy::of("fp8");
    copy.header(|header| {
        header["nothing"] = json!({"dtype": "F32", "shape": [0, 1_u64 << 62], "data_offsets": [0, 0]});
    });
    copy.refused("dimensions is 0");
    for (key, value) in
        [("head_dim", 4_000_000_000_000_u64), ("num_key_value_heads", 1 << 63), ("head_dim", u64::MAX)]
    {
        let copy = Copy::of("hf");
        copy.config(|config| config["text_config"][key] = json!(value));
        copy.refused("limit");
    }
    for text in ["[]", "1", "null"] {
        let copy = Copy::of("hf");
        fs::write(copy.path("config.json"), text).unwrap();
        copy.refused("no object");
    }
}

#[test]
fn two_sets_of_weights_are_not_chosen_between() {
    let copy = Copy::of("hf");
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ministral/fp8/model.safetensors");
    fs::copy(other, copy.path("model.safetensors")).unwrap();
    copy.refused("two sets of weights");
}

#[test]
fn scales_that_are_turned_round_are_no_scales() {
    let copy = Copy::of("fp8-blocks");
    let mut turned = false;
    copy.header(|header| {
        for (name, entry) in header.as_object_mut().unwrap() {
            let shape = entry["shape"].as_array_mut().filter(|_| name.ends_with("_scale_inv"));
            if let Some(shape) = shape.filter(|shape| shape.len() == 2 && shape[0] != shape[1]) {
                shape.reverse();
                turned = true;
            }
        }
    });
    assert!(turned);
    copy.refused("another shape");
}
