//! Small packages for tests.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    CacheShape, ChatTemplate, Convention, FileEntry, KvType, MANIFEST_FILE, Manifest, Package, Requires,
    SelfTest, Source, Tokenizer, Variant,
};
use crate::domain::hex;

/// A package in `dir` that holds `files`, the first of them as its graph.
pub(crate) fn write(dir: &Path, vocabulary: usize, files: &[(&str, &[u8])]) -> Package {
    for (name, content) in files {
        fs::write(dir.join(name), content).unwrap();
    }
    let entry = |(name, content): &(&str, &[u8])| FileEntry {
        path: (*name).to_owned(),
        bytes: content.len() as u64,
        sha256: hex(&Sha256::digest(content)),
    };
    let manifest = Manifest {
        format: 1,
        name: "test".to_owned(),
        version: "1".to_owned(),
        architecture: "llama".to_owned(),
        licence: "Apache-2.0".to_owned(),
        context: 100,
        vocabulary,
        eos: vec![2],
        bos: None,
        cache: CacheShape { layers: 1, heads: 1, head_width: 1 },
        source: Source {
            file: "x.gguf".to_owned(),
            sha256: "0".repeat(64),
            quantization: "F32".to_owned(),
            made_by: "test".to_owned(),
        },
        self_test: Some(SelfTest { prompt: vec![1], tokens: vec![1], first_logit: 0.0, tolerance: 0.1 }),
        variants: vec![Variant {
            graph: files[0].0.to_owned(),
            providers: vec!["cpu".to_owned()],
            kv: KvType::F32,
            weights: "f32".to_owned(),
            block: 0,
            requires: Requires::default(),
            shapes: None,
            self_test: None,
            convention: Convention::default(),
        }],
        files: files.iter().map(entry).collect(),
    };
    fs::write(dir.join(MANIFEST_FILE), manifest.to_toml().unwrap()).unwrap();
    Package::open(dir).unwrap()
}

/// Rows of [`byte_level`].
pub(super) const VOCABULARY: usize = 300;

/// A byte-level tokenizer: ids 0 to 2 are control tokens, 3 to 258 the bytes in the order of
/// their characters, then come merges (`he`, `ll`, `hell`, ` w` and the first three bytes of
/// an emoji) and an added token that is not special.
pub(super) fn byte_level() -> Value {
    let alphabet = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('\u{100}'..='\u{143}');
    let merged = ["he", "ll", "hell", "Ġw", "ðŁ", "ðŁ¤"];
    let controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let tokens = controls.iter().map(ToString::to_string).chain(alphabet.map(String::from));
    let tokens = tokens.chain(merged.iter().map(ToString::to_string));
    let vocab: serde_json::Map<_, _> = tokens.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let added = |id: usize, content: &str, special: bool| {
        json!({"id": id, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    json!({
        "version": "1.0", "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [added(0, controls[0], true), added(1, controls[1], true), added(2, controls[2], false),
            added(265, "<think>", false)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab,
            "merges": [["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "w"], ["ð", "Ł"], ["ðŁ", "¤"]]},
    })
}

/// A SentencePiece-like tokenizer: pieces with a mark for the space, and byte tokens.
pub(super) fn pieces() -> Value {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "h", "i", "▁h", "▁hi", "a"].map(str::to_owned));
    let vocab: serde_json::Map<_, _> = tokens.iter().cloned().zip((0..).map(|id| json!(id))).collect();
    let added = |id: usize| {
        json!({"id": id, "content": tokens[id], "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [added(0), added(1), added(2)],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": [["▁", "h"], ["▁h", "i"]]},
    })
}

/// A package with this tokenizer.
pub(super) fn with_tokenizer(dir: &Path, tokenizer: &Value) -> Package {
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    write(dir, VOCABULARY, &[("model.onnx", b"")])
}

/// [`byte_level`], loaded.
pub(super) fn tokenizer() -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    Tokenizer::load(&with_tokenizer(dir.path(), &byte_level())).unwrap()
}

/// A template with [`byte_level`], loaded.
pub(super) fn template(text: &str) -> Result<ChatTemplate, super::PackageError> {
    let dir = tempfile::tempdir().unwrap();
    let package = with_tokenizer(dir.path(), &byte_level());
    fs::write(dir.path().join("chat_template.jinja"), text).unwrap();
    ChatTemplate::load(&package, &Tokenizer::load(&package).unwrap())
}
