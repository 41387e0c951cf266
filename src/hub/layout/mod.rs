//! Which files of a repository make a package. Pure: a listing in, a choice out.
//!
//! Taken are graphs and weights of one layout in one precision, and always tokenizer, configuration, chat
//! template and licence. Never pickles (they run code when they are opened), never other frameworks' weights,
//! pictures or readmes.

mod gguf;
mod graphs;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{listing::Listed, proof::Proof};
use crate::{
    domain::limits,
    model::{GENAI_FILE, Layout, MANIFEST_FILE, Manifest, RelPath},
};

/// What is wanted of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Precision of the graphs or quantisation of the GGUF, such as `q4`.
    pub precision: Option<String>,
    /// Another precision for single parts, such as `embed_tokens`; `none` leaves one out.
    pub parts: BTreeMap<String, String>,
    /// A file by its path, or a folder with a `genai_config.json`.
    pub file: Option<String>,
}

impl Wish {
    /// From `--precision q4,embed_tokens=fp16` and `--file`.
    pub fn new(precision: Option<&str>, file: Option<String>) -> Result<Self, String> {
        let mut wish = Self { file, ..Self::default() };
        for word in precision.into_iter().flat_map(|words| words.split(',')) {
            let sound = |word: &str| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
            };
            match word.split_once('=') {
                Some((part, of)) if sound(part) && sound(of) => {
                    wish.parts.insert(part.into(), of.to_ascii_lowercase());
                }
                None if sound(word) && wish.precision.is_none() => wish.precision = Some(word.into()),
                _ => {
                    let why = "expected one precision, and behind it perhaps others for single parts";
                    return Err(format!(
                        "`--precision {word}`: {why}: `q4,embed_tokens=fp16,vision_encoder=none`"
                    ));
                }
            }
        }
        Ok(wish)
    }
}

/// A file that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Where it is in the repository or folder.
    pub from: RelPath,
    /// Where it goes in the package.
    pub to: RelPath,
    /// Its size.
    pub bytes: u64,
    /// What vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What makes the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How it is laid out.
    pub layout: Layout,
    /// What was chosen of several.
    pub variant: Option<String>,
    /// Its files.
    pub files: Vec<Wanted>,
}

/// Why there is no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// No layout that is known.
    #[error(
        "there is no model in a layout that is known: neither `outpost-model.toml`, nor `genai_config.json`, nor ONNX \
         graphs of a language model, nor a GGUF file. {0}"
    )]
    Unknown(String),
    /// Several that are as good.
    #[error("there is more than one to choose from; name one with `{flag}`:\n  {}", choices.join("\n  "))]
    Ambiguous {
        /// By what it is named.
        flag: &'static str,
        /// What there is.
        choices: Vec<String>,
    },
    /// What was asked for is not there.
    #[error("there is no {what}; there is:\n  {}", choices.join("\n  "))]
    NotThere {
        /// What was asked for.
        what: String,
        /// What there is instead.
        choices: Vec<String>,
    },
    /// The manifest and the files do not fit.
    #[error("`outpost-model.toml` and the files beside it do not fit: {0}")]
    Manifest(String),
    /// More than a package may have.
    #[error("{0}")]
    TooMany(String),
}

/// Chooses. `manifest`: the parsed `outpost-model.toml`, where the listing has one.
pub(in crate::hub) fn choose(
    files: &[Listed],
    manifest: Option<&Manifest>,
    wish: &Wish,
) -> Result<Choice, NoChoice> {
    let named_gguf = wish.file.as_deref().is_some_and(is_gguf);
    let choice = match manifest {
        Some(manifest) if !named_gguf => ours(files, manifest),
        _ if named_gguf => gguf::choose(files, wish),
        _ if files.iter().any(|f| f.path.file_name() == GENAI_FILE) => graphs::genai(files, wish),
        _ => match graphs::choose(files, wish)? {
            Some(choice) => Ok(choice),
            None => gguf::choose(files, wish),
        },
    }?;
    sound(&choice)?;
    Ok(choice)
}

/// That the files can lie beside one another.
fn sound(choice: &Choice) -> Result<(), NoChoice> {
    let n = choice.files.len();
    if n > limits::PACKAGE_FILES_MAX {
        return Err(NoChoice::TooMany(format!(
            "{n} files, more than the {} of a package",
            limits::PACKAGE_FILES_MAX
        )));
    }
    let mut places: Vec<&str> = choice.files.iter().map(|file| file.to.as_str()).collect();
    places.sort_unstable();
    for pair in places.windows(2) {
        let inside =
            pair[1].strip_prefix(pair[0]).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if inside {
            return Err(NoChoice::TooMany(format!("`{}` and `{}` cannot both be there", pair[0], pair[1])));
        }
    }
    Ok(())
}

fn is_gguf(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".gguf")
}

/// A package of Outpost's own: what its manifest names, with the digests that it gives.
fn ours(files: &[Listed], manifest: &Manifest) -> Result<Choice, NoChoice> {
    let find = |path: &str| files.iter().find(|file| file.path.as_str() == path);
    let wrong = |why: String| NoChoice::Manifest(why);
    let itself = find(MANIFEST_FILE).ok_or_else(|| wrong("it is not among them".into()))?;
    let mut wanted = vec![as_it_is(itself)];
    for entry in &manifest.files {
        let file = find(&entry.path).ok_or_else(|| wrong(format!("`{}` is not there", entry.path)))?;
        if file.bytes != entry.bytes {
            return Err(wrong(format!(
                "`{}` has {} bytes instead of {}",
                entry.path, file.bytes, entry.bytes
            )));
        }
        let proof = Proof::sha256(&entry.sha256)
            .ok_or_else(|| wrong(format!("the SHA-256 of `{}` is none", entry.path)))?;
        if matches!(&file.proof, Some(Proof::Sha256(_))) && file.proof.as_ref() != Some(&proof) {
            return Err(wrong(format!("they give two SHA-256 for `{}`", entry.path)));
        }
        wanted.push(Wanted { proof: Some(proof), ..as_it_is(file) });
    }
    Ok(Choice { layout: Layout::Outpost, variant: None, files: wanted })
}

fn as_it_is(file: &Listed) -> Wanted {
    Wanted { from: file.path.clone(), to: file.path.clone(), bytes: file.bytes, proof: file.proof.clone() }
}

/// Tokenizer, configuration, chat template: wherever the graphs are.
const ALWAYS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "genai_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    "preprocessor_config.json",
];
/// Beginnings of files that say under which terms the model may be used.
const TERMS: &[&str] = &["license", "licence", "notice", "use_policy", "copying"];

fn is_always(name: &str) -> bool {
    ALWAYS.contains(&name) || is_terms(name)
}

fn is_terms(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let text = !lower.contains('.') || [".txt", ".md"].iter().any(|end| lower.ends_with(end));
    text && TERMS.iter().any(|word| lower.starts_with(word))
}

#[cfg(test)]
mod tests;
