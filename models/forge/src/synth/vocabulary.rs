//! A vocabulary that can write every text: bytes, two merges, and fillers up to the wanted size.

use outpost::model::byte_alphabet;
use serde_json::{Value, json};

use crate::{Error, Result, limits, tokenizer::Tokenizer};

/// Special tokens, by id.
pub(super) const SPECIALS: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// Merged pairs and what they become.
pub(super) const MERGES: [[&str; 2]; 2] = [["t", "h"], ["th", "e"]];
/// One line for each message; enough to be served.
pub(super) const TEMPLATE: &str =
    "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}";

/// `vocab_size` of `config.json`.
pub(super) fn size(config: &str) -> Result<usize> {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let size = config.pointer("/text_config/vocab_size").or(config.get("vocab_size")).and_then(Value::as_u64);
    let least = SPECIALS.len() + 256 + MERGES.len();
    match size {
        Some(size) if (least as u64..=limits::VOCABULARY_MAX as u64).contains(&size) => Ok(size as usize),
        Some(size) => Err(Error::Unsupported(format!(
            "`config.json`: a `vocab_size` of {size} is not between {least} and {}",
            limits::VOCABULARY_MAX
        ))),
        None => Err(Error::Unsupported("`config.json`: `vocab_size` is missing".to_owned())),
    }
}

/// The texts of all tokens, by id.
pub(super) fn texts(size: usize) -> Vec<String> {
    let mut texts: Vec<String> = SPECIALS.map(str::to_owned).into();
    texts.extend(byte_alphabet().map(String::from));
    texts.extend(MERGES.map(|[left, right]| format!("{left}{right}")));
    texts.extend((texts.len()..size).map(|id| format!("filler{id}")));
    texts
}

/// The same as a tokenizer.
pub(super) fn tokenizer(size: usize, context: usize) -> Result<Tokenizer> {
    let texts = texts(size);
    let added = |(id, text): (usize, &&str)| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let vocabulary: serde_json::Map<String, Value> =
        texts.into_iter().zip((0..).map(|id: u32| id.into())).collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": SPECIALS.iter().enumerate().map(added).collect::<Vec<_>>(),
        "pre_tokenizer": bytes, "post_processor": bytes, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": MERGES,
        },
    })
    .to_string();
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIALS[1], "eos_token": SPECIALS[2],
        "clean_up_tokenization_spaces": false, "model_max_length": context,
    });
    let model = tokenizers::Tokenizer::from_bytes(&json).map_err(|e| Error::Bug(e.to_string()))?;
    Ok(Tokenizer {
        json,
        config: format!("{config:#}\n"),
        template: Some(TEMPLATE.to_owned()),
        eos: vec![2],
        bos: None,
        first: Some(1),
        model,
    })
}
