//! Where a model comes from.

use std::path::Path;

use super::{Tensors, formats};
use crate::{
    Error, Result,
    arch::{self, Decoder},
    gguf::{Gguf, Value},
    hf::Repository,
    package,
    progress::Progress,
    synth::Synthetic,
    tokenizer::{self, Tokenizer},
};

/// A model as it was published.
pub enum Origin {
    /// One file.
    Gguf(Gguf),
    /// A directory with `config.json` and safetensors.
    Repository(Repository),
    /// Random weights.
    Synthetic(Synthetic),
}

/// What a source begins with that is no path: the name of a shape follows.
const SYNTHETIC: &str = "synth:";

impl Origin {
    /// Opens a GGUF file or a directory and checks what it says of itself. `synth:SHAPE` is a
    /// model of random weights.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(shape) = path.to_str().and_then(|path| path.strip_prefix(SYNTHETIC)) {
            return Synthetic::new(shape, 0).map(Self::Synthetic);
        }
        if path.is_dir() {
            return Repository::open(path).map(Self::Repository);
        }
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            let advice = "give the directory, which holds `config.json` and the tokenizer, too";
            return Err(Error::Usage(format!("`{}` is one file of a model: {advice}", path.display())));
        }
        Gguf::open(path).map(Self::Gguf)
    }

    /// Its weights.
    pub fn tensors(&self) -> &dyn Tensors {
        match self {
            Self::Gguf(gguf) => gguf,
            Self::Repository(repository) => &repository.shards,
            Self::Synthetic(synthetic) => synthetic,
        }
    }

    /// What the model is.
    pub fn describe(&self) -> Result<Decoder> {
        match self {
            Self::Gguf(gguf) => arch::describe(gguf),
            Self::Repository(repository) => repository.describe(),
            Self::Synthetic(synthetic) => synthetic.describe(),
        }
    }

    /// Its tokenizer; the token table has `vocabulary` rows.
    pub fn tokenizer(&self, vocabulary: usize, context: usize) -> Result<Tokenizer> {
        match self {
            Self::Gguf(gguf) => tokenizer::build(gguf, vocabulary, context),
            Self::Repository(repository) => repository.tokenizer(vocabulary, context),
            Self::Synthetic(synthetic) => synthetic.tokenizer(context),
        }
    }

    /// Version of the model, where it has one.
    pub fn version(&self) -> Option<String> {
        self.gguf_text("general.version")
    }

    /// Licence of the weights as it is called there.
    pub fn licence(&self) -> Option<String> {
        self.gguf_text("general.license")
    }

    fn gguf_text(&self, key: &str) -> Option<String> {
        let Self::Gguf(gguf) = self else { return None };
        let text = gguf.metadata().text(key).ok().flatten()?;
        let short = text.chars().filter(|c| !c.is_control()).take(128).collect::<String>();
        (!short.is_empty()).then_some(short)
    }

    /// Number formats in it, the one with the most bytes first.
    pub fn formats(&self) -> String {
        match self {
            Self::Gguf(gguf) => formats(gguf),
            Self::Repository(repository) => repository.shards.formats(),
            Self::Synthetic(_) => "random".to_owned(),
        }
    }

    /// SHA-256 of the file, or of the list of the files' digests; lower-case hex.
    pub fn digest(&self, path: &Path, progress: &dyn Progress) -> Result<String> {
        match self {
            Self::Gguf(_) => {
                progress.begin("digest of the source", path.metadata().map_or(0, |m| m.len()));
                package::digest(path, progress).map(|(_, sha256)| sha256)
            }
            Self::Repository(repository) => repository.digest(progress),
            Self::Synthetic(synthetic) => Ok(package::digest_of(synthetic.config().as_bytes())),
        }
    }

    /// What it says of itself, key by key.
    pub fn metadata(&self) -> Vec<(String, String)> {
        match self {
            Self::Gguf(gguf) => {
                gguf.metadata().iter().map(|(key, value)| (key.to_owned(), brief(value))).collect()
            }
            Self::Repository(repository) => repository.metadata(),
            Self::Synthetic(synthetic) => vec![("config".to_owned(), synthetic.config().to_owned())],
        }
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Integer(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Text(text) => text.clone(),
        Value::Integers(all) => format!("{} integers", all.len()),
        Value::Floats(all) => format!("{} floats", all.len()),
        Value::Bools(all) => format!("{} booleans", all.len()),
        Value::Texts(all) => format!("{} texts", all.len()),
    }
}
