//! Where a package keeps its chat template, and the names it gives to special tokens.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Package, PackageError, Tokenizer, package::read_bytes, package::read_text};
use crate::domain::limits;

const TEMPLATE_FILE: &str = "chat_template.jinja";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// Templates, and what they are rendered with.
#[derive(Debug)]
pub(super) struct Source {
    /// The file that the templates stand in.
    pub(super) path: PathBuf,
    /// The template.
    pub(super) default: String,
    /// Another one for conversations with tools, where there is one.
    pub(super) with_tools: Option<String>,
    /// Variables such as `bos_token`.
    pub(super) special_tokens: BTreeMap<String, String>,
}

/// `tokenizer_config.json`, as far as it matters.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    chat_template: Option<Templates>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// Finds the package's templates.
pub(super) fn read(package: &Package, tokenizer: &Tokenizer) -> Result<Source, PackageError> {
    let (template_path, config_path) = (package.dir.join(TEMPLATE_FILE), package.dir.join(CONFIG_FILE));
    let config: Option<Config> = match read_bytes(&config_path, limits::TOKENIZER_CONFIG_BYTES_MAX) {
        Err(PackageError::Missing { .. }) => None,
        read => Some(serde_json::from_slice(&read?).map_err(|error| PackageError::Tokenizer {
            path: config_path.clone(),
            reason: format!("not a tokenizer's configuration: {error}. Import the model again"),
        })?),
    };
    let special_tokens = match &config {
        Some(config) => named_tokens(config),
        None => manifest_tokens(package, tokenizer),
    };
    let (path, default, with_tools) = match (
        read_text(&template_path, limits::TEMPLATE_BYTES_MAX as u64),
        config.and_then(|c| c.chat_template),
    ) {
        (Ok(text), _) => (template_path, text, None),
        (Err(PackageError::Missing { .. }), Some(templates)) => {
            let (default, with_tools) = pick(templates);
            let default = default.filter(|text| text.len() <= limits::TEMPLATE_BYTES_MAX);
            let default = default.ok_or_else(|| PackageError::Template {
                path: config_path.clone(),
                reason: "its `chat_template` names no template `default`, or one that is too long".to_owned(),
            })?;
            (config_path, default, with_tools)
        }
        (Err(error), _) => return Err(error),
    };
    let [default, with_tools] =
        [Some(default), with_tools].map(|text| text.map(|text| without_generation_marks(&text)));
    Ok(Source { path, default: default.unwrap_or_default(), with_tools, special_tokens })
}

fn pick(templates: Templates) -> (Option<String>, Option<String>) {
    match templates {
        Templates::One(text) => (Some(text), None),
        Templates::Named(mut named) => {
            let mut take = |name| {
                let at = named.iter().position(|template| template.name == name)?;
                Some(named.swap_remove(at).template)
            };
            (take("default"), take("tool_use"))
        }
    }
}

/// `bos_token` and its like: texts, or added tokens with a `content`.
fn named_tokens(config: &Config) -> BTreeMap<String, String> {
    let named = config.rest.iter().filter(|(name, _)| name.ends_with("_token"));
    named
        .filter_map(|(name, token)| {
            let text = token.as_str().or_else(|| token["content"].as_str())?;
            Some((name.clone(), text.to_owned()))
        })
        .collect()
}

/// What a package without `tokenizer_config.json` says.
fn manifest_tokens(package: &Package, tokenizer: &Tokenizer) -> BTreeMap<String, String> {
    let ids = [("bos_token", package.manifest.bos), ("eos_token", package.manifest.eos.first().copied())];
    ids.into_iter()
        .filter_map(|(name, id)| Some((name.to_owned(), tokenizer.special_text(id?)?.to_owned())))
        .collect()
}

/// transformers' `{% generation %}` marks what the assistant said, for training. Here it is a
/// block without effect; its white space control stays.
fn without_generation_marks(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inner = &tag[2..end];
        let (open, name) = inner.strip_prefix(['-', '+']).map_or(("", inner), |name| (&inner[..1], name));
        let (close, name) =
            name.strip_suffix(['-', '+']).map_or(("", name), |name| (&inner[inner.len() - 1..], name));
        match name.trim() {
            "generation" => out.extend(["{%", open, " if true ", close, "%}"]),
            "endgeneration" => out.extend(["{%", open, " endif ", close, "%}"]),
            _ => out.push_str(&tag[..end + 2]),
        }
        rest = &tag[end + 2..];
    }
    out.push_str(rest);
    out.replace("\r\n", "\n").replace('\r', "\n")
}
