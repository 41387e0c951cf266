//! Repositories as they are published, and what is taken of them.

use super::*;

fn listed(paths: &[&str]) -> Vec<Listed> {
    let file = |path: &&str| Listed { path: path.parse().unwrap(), bytes: 1_000, proof: None };
    paths.iter().map(file).collect()
}

fn taken(
    paths: &[&str],
    precision: Option<&str>,
    file: Option<&str>,
) -> Result<(Choice, Vec<String>), NoChoice> {
    let wish = Wish::new(precision, file.map(Into::into)).unwrap();
    let choice = choose(&listed(paths), None, &wish)?;
    let mut places: Vec<String> = choice.files.iter().map(|file| file.to.to_string()).collect();
    places.sort();
    Ok((choice, places))
}

/// As `mistralai/Ministral-3-3B-Instruct-2512-ONNX` is laid out.
const MINISTRAL: &[&str] = &[
    ".gitattributes",
    "README.md",
    "LICENSE",
    "banner.png",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "processor_config.json",
    "onnx/decoder_model_merged.onnx",
    "onnx/decoder_model_merged.onnx_data",
    "onnx/decoder_model_merged_q4.onnx",
    "onnx/decoder_model_merged_q4.onnx_data",
    "onnx/decoder_model_merged_q4.onnx_data_1",
    "onnx/decoder_model_merged_q4f16.onnx",
    "onnx/decoder_model_merged_q4f16.onnx_data",
    "onnx/embed_tokens_fp16.onnx",
    "onnx/embed_tokens_fp16.onnx_data",
    "onnx/embed_tokens_q4.onnx",
    "onnx/vision_encoder_q4.onnx",
    "onnx/vision_encoder_fp16.onnx",
];

#[test]
fn of_a_transformers_js_repository_one_precision_is_taken_with_all_its_pieces() {
    let (choice, places) = taken(MINISTRAL, None, None).unwrap();
    assert_eq!((choice.layout, choice.variant.as_deref()), (Layout::TransformersJs, Some("q4")));
    assert_eq!(
        places,
        [
            "LICENSE",
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "onnx/decoder_model_merged_q4.onnx",
            "onnx/decoder_model_merged_q4.onnx_data",
            "onnx/decoder_model_merged_q4.onnx_data_1",
            "onnx/embed_tokens_fp16.onnx",
            "onnx/embed_tokens_fp16.onnx_data",
            "onnx/vision_encoder_q4.onnx",
            "processor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
    );
    let (choice, places) = taken(MINISTRAL, Some("q4f16,embed_tokens=q4,vision_encoder=none"), None).unwrap();
    assert_eq!(choice.variant.as_deref(), Some("q4f16-embed_tokens-q4-no-vision_encoder"));
    assert!(places.contains(&"onnx/embed_tokens_q4.onnx".into()), "{places:?}");
    assert!(!places.iter().any(|place| place.contains("vision")), "{places:?}");
    let error = taken(MINISTRAL, Some("q3"), None).unwrap_err().to_string();
    assert!(error.contains("in the precision `q3`; there is:\n  fp32\n  q4\n  q4f16"), "{error}");
    assert!(taken(MINISTRAL, Some("embed_token=q4"), None).unwrap_err().to_string().contains("embed_tokens"));
}

#[test]
fn optimum_lays_one_graph_at_the_top() {
    let (choice, places) = taken(
        &["config.json", "model.onnx", "model.onnx_data", "tokenizer.json", "pytorch_model.bin"],
        None,
        None,
    )
    .unwrap();
    assert_eq!((choice.layout, choice.variant.as_deref()), (Layout::Onnx, Some("fp32")));
    assert_eq!(places, ["config.json", "model.onnx", "model.onnx_data", "tokenizer.json"]);
    // Whisper has a decoder, too.
    let whisper = ["onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx", "config.json"];
    assert!(matches!(taken(&whisper, None, None), Err(NoChoice::Unknown(_))));
}

#[test]
fn a_genai_folder_becomes_the_top_of_the_package() {
    let repo = [
        "LICENSE",
        "cpu_and_mobile/cpu-int4/genai_config.json",
        "cpu_and_mobile/cpu-int4/model.onnx",
        "cpu_and_mobile/cpu-int4/model.onnx.data",
        "cpu_and_mobile/cpu-int4/tokenizer.json",
        "cpu_and_mobile/cpu-int4/setup.py",
        "cuda/cuda-fp16/genai_config.json",
        "cuda/cuda-fp16/model.onnx",
    ];
    let (choice, places) = taken(&repo, None, None).unwrap();
    assert_eq!(choice.layout, Layout::OnnxruntimeGenai);
    assert_eq!(choice.variant.as_deref(), Some("cpu_and_mobile/cpu-int4"));
    assert_eq!(places, ["LICENSE", "genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json"]);
    let (choice, _) = taken(&repo, None, Some("cuda/cuda-fp16")).unwrap();
    assert_eq!(choice.variant.as_deref(), Some("cuda/cuda-fp16"));
    assert!(taken(&repo, None, Some("npu")).unwrap_err().to_string().contains("cuda/cuda-fp16"));
    let two = ["cpu/a/genai_config.json", "cpu/a/m.onnx", "cpu/b/genai_config.json", "cpu/b/m.onnx"];
    assert!(matches!(taken(&two, None, None), Err(NoChoice::Ambiguous { .. })));
}

#[test]
fn of_gguf_files_one_quantisation_is_taken_and_doubt_lists_the_choices() {
    let repo = ["README.md", "M-Q4_0.gguf", "M-Q4_0_4_4.gguf", "M-Q8_0.gguf", "mmproj-M-F16.gguf"];
    let (choice, places) = taken(&repo, None, None).unwrap();
    assert_eq!((choice.layout, choice.variant.as_deref()), (Layout::Gguf, Some("M-Q4_0")));
    assert_eq!(places, ["M-Q4_0.gguf"]);
    assert_eq!(taken(&repo, Some("q8_0"), None).unwrap().1, ["M-Q8_0.gguf"]);
    assert_eq!(taken(&repo, None, Some("M-Q4_0_4_4.gguf")).unwrap().1, ["M-Q4_0_4_4.gguf"]);
    let error = taken(&["a-Q4_0.gguf", "b-Q4_0.gguf"], None, None).unwrap_err().to_string();
    assert!(error.contains("--file NAME") && error.contains("\n  b-Q4_0.gguf"), "{error}");
    let (_, pieces) = taken(
        &["big/M-Q8_0-00001-of-00002.gguf", "big/M-Q8_0-00002-of-00002.gguf", "M-F16.gguf"],
        Some("Q8_0"),
        None,
    )
    .unwrap();
    assert_eq!(pieces, ["M-Q8_0-00001-of-00002.gguf", "M-Q8_0-00002-of-00002.gguf"]);
}

#[test]
fn pickles_pictures_and_readmes_are_never_taken() {
    let error = taken(&["pytorch_model.bin", "model.safetensors", "README.md"], None, None).unwrap_err();
    assert!(error.to_string().contains("-ONNX"), "{error}");
    let with = [MINISTRAL, &["x.pkl", "onnx/x.pt", "onnx/evil.onnx.pkl", "license.png"]].concat();
    let (_, places) = taken(&with, None, None).unwrap();
    assert_eq!(places, taken(MINISTRAL, None, None).unwrap().1);
}

#[test]
fn two_files_cannot_have_one_place() {
    let file =
        |to: &str| Wanted { from: to.parse().unwrap(), to: to.parse().unwrap(), bytes: 1, proof: None };
    for places in [["a", "a"], ["a", "a/b"]] {
        let files = places.map(file).to_vec();
        assert!(sound(&Choice { layout: Layout::Onnx, variant: None, files }).is_err(), "{places:?}");
    }
}
