//! The tokenizer of a repository: `tokenizer.json` as it is there, or made of `tekken.json`.

use std::path::Path;

use outpost::domain::limits;
use serde_json::{Value, json};

use super::{ENDS, Tokenizer, tekken};

use crate::{Error, Result, text::read_text};

/// Reads the tokenizer of the repository in `dir`, whose model has `vocabulary` rows.
pub fn read(dir: &Path, vocabulary: usize, context: usize) -> Result<Tokenizer> {
    let json = if let Some(json) = text(dir, "tokenizer.json")? {
        json
    } else {
        let reason = "holds neither `tokenizer.json` nor `tekken.json`";
        let neither = || Error::Unsupported(format!("`{}` {reason}", dir.display()));
        tekken::convert(&text(dir, "tekken.json")?.ok_or_else(neither)?)?
    };
    let unreadable = |e| Error::Unsupported(format!("`tokenizer.json` cannot be read: {e}"));
    let mut model = tokenizers::Tokenizer::from_bytes(&json).map_err(unreadable)?;
    // Neither is asked for here, nor by the daemon.
    model.with_truncation(None).map_err(unreadable)?.with_padding(None);
    let largest = model.get_vocab(true).values().copied().max().unwrap_or(0) as usize;
    if largest >= vocabulary {
        let rows = format!("token {largest} for a table of {vocabulary} rows");
        return Err(Error::Unsupported(format!("the tokenizer does not fit the model: {rows}")));
    }
    let [config, about, generation] =
        ["tokenizer_config.json", "config.json", "generation_config.json"].map(|name| object(dir, name));
    let (config, about, generation) = (config?, about?, generation?);
    let eos = ends(&model, [&generation, &about, &about["text_config"]], &config);
    if eos.is_empty() {
        let reason = "no token ends an answer: `eos_token_id` is missing in `generation_config.json` and `config.json`";
        return Err(Error::Unsupported(reason.to_owned()));
    }
    let template = template(dir, &config)?;
    let begins = model.encode_fast("a", true).ok().and_then(|ids| ids.get_ids().first().copied());
    let special = |id: &u32| model.get_added_tokens_decoder().get(id).is_some_and(|token| token.special);
    let bos = begins.filter(special);
    let named = name(&config, "bos_token").and_then(|text| model.token_to_id(text));
    let first = named.or_else(|| id(&about["bos_token_id"])).or(bos);
    let config = if config.is_null() { made_config(&model, &eos, first, context) } else { config };
    Ok(Tokenizer { json, config: format!("{config:#}\n"), template, eos, bos, first, model })
}

/// A text file of `dir`, where it is there.
fn text(dir: &Path, name: &str) -> Result<Option<String>> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let size = path.metadata().map_err(Error::io("read", &path))?.len();
    if size > limits::TOKENIZER_BYTES_MAX {
        let limit = limits::TOKENIZER_BYTES_MAX;
        let reason = format!("`{}` has {size} bytes, more than the limit of {limit}", path.display());
        return Err(Error::Unsupported(reason));
    }
    read_text(&path, limits::TOKENIZER_BYTES_MAX).map(Some)
}

/// A JSON file of `dir`; null where it is not there.
fn object(dir: &Path, name: &str) -> Result<Value> {
    let wrong = |e: serde_json::Error| Error::Unsupported(format!("`{name}`: {e}"));
    text(dir, name)?.map_or(Ok(Value::Null), |text| serde_json::from_str(&text).map_err(wrong))
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// A token named in `tokenizer_config.json`: its text, or an object with its `content`.
fn name<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    config[key].as_str().or_else(|| config[key]["content"].as_str())
}

/// Tokens that end an answer, the model's own first.
fn ends(model: &tokenizers::Tokenizer, descriptions: [&Value; 3], config: &Value) -> Vec<u32> {
    let own = descriptions.iter().map(|d| &d["eos_token_id"]).find(|ids| !ids.is_null());
    let own = own.into_iter().flat_map(|ids| match ids.as_array() {
        Some(ids) => ids.iter().filter_map(id).collect(),
        None => Vec::from_iter(id(ids)),
    });
    let special = |text: &str| {
        let id = model.token_to_id(text)?;
        model.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special).then_some(id)
    };
    let named = name(config, "eos_token").into_iter().chain(ENDS).filter_map(special);
    let known = |id: &u32| model.id_to_token(*id).is_some();
    let mut ends = Vec::new();
    for id in own.filter(known).chain(named) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    ends
}

fn template(dir: &Path, config: &Value) -> Result<Option<String>> {
    if let Some(template) = text(dir, "chat_template.jinja")? {
        return Ok(Some(template));
    }
    // Several templates by name stay in `tokenizer_config.json`, where the daemon finds them.
    Ok(config["chat_template"].as_str().map(str::to_owned))
}

fn made_config(model: &tokenizers::Tokenizer, eos: &[u32], first: Option<u32>, context: usize) -> Value {
    let text = |id: Option<u32>| id.and_then(|id| model.id_to_token(id));
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": text(first),
        "eos_token": text(eos.first().copied()),
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    })
}
