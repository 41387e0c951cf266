//! Configurations as they are published.

use serde_json::{Value, json};

use super::*;

fn llama() -> Value {
    json!({
        "model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2,
        "hidden_size": 64, "vocab_size": 100, "max_position_embeddings": 2048, "eos_token_id": [2, 3], "bos_token_id": 1
    })
}

fn read(config: &Value, generation: Option<&Value>) -> Result<Sizes, String> {
    config::read(&config.to_string(), generation.map(Value::to_string).as_deref())
}

#[test]
fn sizes_that_are_not_said_follow_from_others() {
    let sizes = read(&llama(), None).unwrap();
    assert_eq!(sizes.cache, CacheShape { layers: 2, heads: 2, head_width: 8 });
    assert_eq!((sizes.context, &sizes.eos[..], sizes.bos), (2048, &[2, 3][..], Some(1)));
    let mut own = llama();
    own["head_dim"] = json!(32);
    own.as_object_mut().unwrap().remove("num_key_value_heads");
    assert_eq!(read(&own, None).unwrap().cache, CacheShape { layers: 2, heads: 8, head_width: 32 });
}

#[test]
fn what_ends_an_answer_is_said_by_the_generation_first() {
    let sizes = read(&llama(), Some(&json!({"eos_token_id": 7}))).unwrap();
    assert_eq!((&sizes.eos[..], sizes.bos), (&[7][..], Some(1)));
    let mut silent = llama();
    silent.as_object_mut().unwrap().remove("eos_token_id");
    assert!(read(&silent, None).unwrap_err().contains("`eos_token_id`"));
    assert!(read(&llama(), Some(&json!(7))).unwrap_err().contains("generation_config.json"));
}

#[test]
fn of_a_model_that_sees_the_part_about_text_counts() {
    let mut text = llama();
    text["rope_parameters"] = json!({"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 1024});
    text["model_type"] = json!("ministral3");
    let whole = json!({"model_type": "mistral3", "text_config": text, "vision_config": {"hidden_size": 5}, "eos_token_id": 9});
    let sizes = read(&whole, None).unwrap();
    assert_eq!((sizes.architecture.as_str(), &sizes.eos[..]), ("ministral3", &[9][..]));
    assert_eq!(sizes.context, 1024, "beyond it the published graphs are not exact");
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    for (field, value) in [
        ("num_attention_heads", json!(0)),
        ("vocab_size", json!(0)),
        ("num_hidden_layers", json!(0)),
        ("max_position_embeddings", json!(0)),
        ("num_hidden_layers", json!(-1)),
        ("num_hidden_layers", json!(1e30)),
        ("vocab_size", json!("many")),
        ("text_config", json!({})),
        ("hidden_size", Value::Null),
    ] {
        let mut config = llama();
        config[field] = value;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        fs::write(dir.path().join("model.onnx"), "").unwrap();
        let error = describe(dir.path()).unwrap_err();
        assert!(matches!(error, PackageError::Published { .. }), "{field}: {error}");
    }
}

#[test]
fn of_several_precisions_the_one_for_processors_is_taken() {
    let paths = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<RelPath>>();
    let graphs = choose(&paths(&[
        "onnx/decoder_model_merged_q4f16.onnx",
        "onnx/decoder_model_merged_q4.onnx",
        "onnx/decoder_model_merged_int8.onnx_data",
        "onnx/embed_tokens_q4.onnx",
        "onnx/embed_tokens_fp16.onnx",
        "model.onnx",
    ]));
    let graphs = graphs.unwrap();
    assert_eq!(graphs.decoder, "onnx/decoder_model_merged_q4.onnx");
    assert_eq!(graphs.table.as_deref(), Some("onnx/embed_tokens_fp16.onnx"));
    assert_eq!(graphs.precision, "q4");
    assert!(choose(&paths(&["model.onnx_data", "encoder_model.onnx"])).is_none());
    assert!(choose(&paths(&["model.onnx", "encoder_model.onnx"])).is_none());
}
