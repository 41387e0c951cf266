//! The tokenizer out of GGUF metadata.
//!
//! Byte-pair models over bytes (`tokenizer.ggml.model` = `gpt2`) only. What GGUF does not
//! carry is how text is cut before merging; it names it in `tokenizer.ggml.pre`, and
//! `pretokenizer` knows the cuts of the names that were checked.
//! An unknown name is refused: another cut would quietly give other tokens.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{ENDS, TEKKEN_PATTERN, Tokenizer};
use crate::{
    Error, Result,
    gguf::{Gguf, GgufError, Metadata},
};

/// `tokenizer.ggml.token_type` values (`llama.h`, `llama_token_attr`).
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Builds the tokenizer of `gguf`, whose token table has `vocabulary` rows.
pub fn build(gguf: &Gguf, vocabulary: usize, context: usize) -> Result<Tokenizer> {
    let metadata = gguf.metadata();
    let tokens = Tokens::read(metadata).map_err(unsupported)?;
    if tokens.texts.len() > vocabulary {
        let rows = format!("{} tokens for a table of {vocabulary} rows", tokens.texts.len());
        return Err(Error::Unsupported(format!("the tokenizer does not fit the model: {rows}")));
    }
    let ids = tokens.ids()?;
    let special = SpecialTokens::read(metadata, &tokens)?;
    let json = tokenizer_json(metadata, &tokens, &ids, &special)?;
    let config = config_json(&tokens, &special, context);
    let template = metadata.text("tokenizer.chat_template").map_err(unsupported)?.map(str::to_owned);
    let model = tokenizers::Tokenizer::from_bytes(&json).map_err(|e| {
        Error::Unsupported(format!("the tokenizer's vocabulary and merges do not fit together: {e}"))
    })?;
    let eos = special.ends(&ids, &tokens);
    if eos.is_empty() {
        let reason = "no token ends an answer (`tokenizer.ggml.eos_token_id` is missing)";
        return Err(Error::Unsupported(reason.to_owned()));
    }
    let bos = special.bos.filter(|_| special.add_bos);
    Ok(Tokenizer { json, config, template, eos, bos, first: special.bos, model })
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unsupported(error: GgufError) -> Error {
    Error::Unsupported(error.to_string())
}

struct Tokens<'a> {
    texts: &'a [String],
    kinds: &'a [i64],
}

impl<'a> Tokens<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self, GgufError> {
        const TEXTS: &str = "tokenizer.ggml.tokens";
        const KINDS: &str = "tokenizer.ggml.token_type";
        let texts = metadata.texts(TEXTS)?.ok_or_else(|| Metadata::missing(TEXTS))?;
        let kinds = metadata.integers(KINDS)?.unwrap_or_default();
        if !kinds.is_empty() && kinds.len() != texts.len() {
            return Err(GgufError::metadata(
                KINDS,
                format!("{} entries for {} tokens", kinds.len(), texts.len()),
            ));
        }
        Ok(Self { texts, kinds })
    }

    fn kind(&self, id: usize) -> i64 {
        self.kinds.get(id).copied().unwrap_or(1)
    }

    fn ids(&self) -> Result<HashMap<&'a str, usize>> {
        let ids: HashMap<_, _> =
            self.texts.iter().enumerate().map(|(id, text)| (text.as_str(), id)).collect();
        if ids.len() == self.texts.len() {
            return Ok(ids);
        }
        let twice = self.texts.iter().enumerate().find(|(id, text)| ids[text.as_str()] != *id);
        let text = twice.map_or_else(String::new, |(_, text)| text.escape_debug().collect());
        Err(Error::Unsupported(format!("metadata `tokenizer.ggml.tokens`: `{text}` occurs twice")))
    }
}

struct SpecialTokens {
    bos: Option<u32>,
    eos: Option<u32>,
    end_of_turn: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    add_bos: bool,
}

impl SpecialTokens {
    fn read(metadata: &Metadata, tokens: &Tokens<'_>) -> Result<Self> {
        let id = |name: &str| -> Result<Option<u32>> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            // 2^32 - 1 is ggml's "none".
            let found = metadata
                .count(&key, u32::MAX as usize)
                .map_err(unsupported)?
                .filter(|n| *n != u32::MAX as usize);
            match found {
                Some(id) if id >= tokens.texts.len() => {
                    Err(Error::Unsupported(format!("metadata `{key}`: there is no token {id}")))
                }
                found => Ok(found.map(|id| id as u32)),
            }
        };
        let pre = metadata.text("tokenizer.ggml.pre").map_err(unsupported)?;
        let add_bos = metadata.flag("tokenizer.ggml.add_bos_token").map_err(unsupported)?;
        Ok(Self {
            bos: id("bos")?,
            eos: id("eos")?,
            end_of_turn: id("eot")?,
            unknown: id("unknown")?,
            padding: id("padding")?,
            add_bos: add_bos.unwrap_or(matches!(pre, Some("llama-bpe" | "tekken"))),
        })
    }

    /// Tokens that end an answer, the model's own first.
    fn ends(&self, ids: &HashMap<&str, usize>, tokens: &Tokens<'_>) -> Vec<u32> {
        let named = ENDS.iter().filter_map(|text| ids.get(text)).filter(|id| tokens.kind(**id) == CONTROL);
        let mut ends: Vec<u32> = self.eos.into_iter().chain(self.end_of_turn).collect();
        for id in named.map(|id| *id as u32) {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        ends
    }
}

fn tokenizer_json(
    metadata: &Metadata,
    tokens: &Tokens<'_>,
    ids: &HashMap<&str, usize>,
    special: &SpecialTokens,
) -> Result<String> {
    match metadata.text("tokenizer.ggml.model").map_err(unsupported)? {
        Some("gpt2") => {}
        Some(other) => {
            let other = other.escape_debug();
            return Err(Error::Unsupported(format!(
                "tokenizer model `{other}` is not supported; `gpt2` (byte-level BPE) is"
            )));
        }
        None => {
            return Err(Error::Unsupported(
                "the file has no tokenizer (`tokenizer.ggml.model` is missing)".to_owned(),
            ));
        }
    }
    let pre = metadata.text("tokenizer.ggml.pre").map_err(unsupported)?.unwrap_or("default");
    let cut = pretokenizer(pre)?;
    let whole_words = matches!(pre, "llama-bpe" | "tekken");
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(tokens),
        "normalizer": if pre == "qwen2" { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": cut,
        "post_processor": post_processor(tokens, special).unwrap_or_else(|| byte_level.clone()),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": whole_words,
            "vocab": Value::Object(tokens.texts.iter().enumerate().map(|(id, text)| (text.clone(), id.into())).collect()),
            "merges": merges(metadata, ids)?,
        },
    });
    Ok(json.to_string())
}

fn added_tokens(tokens: &Tokens<'_>) -> Vec<Value> {
    let entry = |id: usize, special: bool| {
        json!({
            "id": id, "content": tokens.texts[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": special,
        })
    };
    (0..tokens.texts.len())
        .filter_map(|id| match tokens.kind(id) {
            UNKNOWN | CONTROL => Some(entry(id, true)),
            USER_DEFINED => Some(entry(id, false)),
            _ => None,
        })
        .collect()
}

/// Pairs to merge, first come first.
fn merges(metadata: &Metadata, ids: &HashMap<&str, usize>) -> Result<Value> {
    const KEY: &str = "tokenizer.ggml.merges";
    let merges =
        metadata.texts(KEY).map_err(unsupported)?.ok_or_else(|| unsupported(Metadata::missing(KEY)))?;
    let pair = |merge: &String| -> Option<Value> {
        let (left, right) = merge.split_once(' ')?;
        let known = ids.contains_key(left)
            && ids.contains_key(right)
            && ids.contains_key(format!("{left}{right}").as_str());
        known.then(|| json!([left, right]))
    };
    let wrong = |merge: &String| {
        let merge = merge.escape_debug();
        Error::Unsupported(format!("metadata `{KEY}`: `{merge}` is not two tokens that make a third"))
    };
    merges.iter().map(|merge| pair(merge).ok_or_else(|| wrong(merge))).collect()
}

/// How text is cut before merging, for the names that are known (`llama-vocab.cpp`).
fn pretokenizer(pre: &str) -> Result<Value> {
    const CONTRACTIONS: &str = "'s|'t|'re|'ve|'m|'ll|'d";
    let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let words = |numbers: &str| {
        format!(
            r"(?i:{CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
    let cuts = match pre {
        "gpt-2" => vec![byte_level(true)],
        "smollm" => vec![digits, byte_level(true)],
        "llama-bpe" => vec![split(&words(r"\p{N}{1,3}")), byte_level(false)],
        "qwen2" => vec![split(&words(r"\p{N}")), byte_level(false)],
        "tekken" => vec![split(TEKKEN_PATTERN), byte_level(false)],
        "default" => vec![
            split(r"[\p{P}\$\+<=>\^~\|]+"),
            split(&format!(r"{CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)")),
            split(r"\p{N}+"),
            split("[0-9][0-9][0-9]"),
            byte_level(false),
        ],
        other => {
            let other = other.escape_debug();
            let known = "`smollm`, `llama-bpe`, `tekken`, `gpt-2`, `qwen2` and `default` are";
            return Err(Error::Unsupported(format!(
                "pre-tokenizer `{other}` (`tokenizer.ggml.pre`) is not known; {known}"
            )));
        }
    };
    Ok(json!({"type": "Sequence", "pretokenizers": cuts}))
}

/// Puts the first token before a bare prompt, where the model wants it.
fn post_processor(tokens: &Tokens<'_>, special: &SpecialTokens) -> Option<Value> {
    let id = special.bos.filter(|_| special.add_bos)?;
    let text = &tokens.texts[id as usize];
    let first = json!({"SpecialToken": {"id": text, "type_id": 0}});
    let sequence = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    Some(json!({
        "type": "TemplateProcessing",
        "single": [first, sequence("A", 0)],
        "pair": [first, sequence("A", 0), first, sequence("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
    }))
}

fn config_json(tokens: &Tokens<'_>, special: &SpecialTokens, context: usize) -> String {
    let text = |id: Option<u32>| id.map(|id| tokens.texts[id as usize].clone());
    let added: serde_json::Map<String, Value> = added_tokens(tokens)
        .into_iter()
        .map(|mut token| {
            let id = token.as_object_mut().and_then(|t| t.shift_remove("id")).unwrap_or_default();
            (id.to_string(), token)
        })
        .collect();
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": special.add_bos,
        "bos_token": text(special.bos),
        "eos_token": text(special.eos),
        "unk_token": text(special.unknown),
        "pad_token": text(special.padding.or(special.eos)),
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
        "added_tokens_decoder": added,
    });
    format!("{config:#}\n")
}
