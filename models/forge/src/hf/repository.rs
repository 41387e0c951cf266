//! One model directory.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Shards;
use crate::{
    Error, Result,
    arch::{self, Decoder},
    limits, package,
    progress::Progress,
    text::read_text,
    tokenizer::{self, Tokenizer},
};

const CONFIG: &str = "config.json";

/// A directory with `config.json` and safetensors.
pub struct Repository {
    dir: PathBuf,
    config: String,
    /// The weights.
    pub shards: Shards,
}

impl Repository {
    /// Opens `dir` and checks the headers of its files.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        if !path.is_file() {
            let shown = dir.display();
            return Err(Error::Usage(format!("`{shown}` holds no `{CONFIG}`: it is no model's directory")));
        }
        let config = read_text(&path, limits::STRING_BYTES_MAX)?;
        let value: Value =
            serde_json::from_str(&config).map_err(|e| Error::Unsupported(format!("`{CONFIG}`: {e}")))?;
        let block = value.pointer("/quantization_config/weight_block_size").and_then(|block| {
            let side = |i: usize| usize::try_from(block[i].as_u64()?).ok();
            Some([side(0)?, side(1)?])
        });
        Ok(Self { dir: dir.to_owned(), shards: Shards::open(dir, block)?, config })
    }

    /// What the model is.
    pub fn describe(&self) -> Result<Decoder> {
        let shape = arch::huggingface_shape(&self.config, &self.shards)?;
        self.shards.check_read(arch::is_beside)?;
        shape.decoder(&self.shards)
    }

    /// Its tokenizer.
    pub fn tokenizer(&self, vocabulary: usize, context: usize) -> Result<Tokenizer> {
        tokenizer::read(&self.dir, vocabulary, context)
    }

    /// Every entry of `config.json` that is no list and no object.
    pub fn metadata(&self) -> Vec<(String, String)> {
        fn walk(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
            let name = || prefix.strip_prefix('.').unwrap_or(prefix).to_owned();
            match value {
                Value::Object(entries) => {
                    for (key, value) in entries {
                        // A long key would be repeated by everything in it.
                        let key: String = key.chars().take(limits::NAME_BYTES_MAX as usize).collect();
                        walk(&format!("{prefix}.{key}"), value, out);
                    }
                }
                Value::Array(items) => out.push((name(), format!("{} items", items.len()))),
                Value::String(text) => out.push((name(), text.clone())),
                other => out.push((name(), other.to_string())),
            }
        }
        let mut out = Vec::new();
        walk("", &serde_json::from_str(&self.config).unwrap_or_default(), &mut out);
        out
    }

    /// SHA-256 of the list of the weights' own digests, as `sha256sum` writes it.
    pub fn digest(&self, progress: &dyn Progress) -> Result<String> {
        let mut list = String::new();
        let size = |path: &Path| path.metadata().map_or(0, |m| m.len());
        progress.begin("digest of the source", self.shards.files().map(size).sum());
        for path in self.shards.files() {
            let (_, sha256) = package::digest(path, progress)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            list.extend([sha256.as_str(), "  ", &*name, "\n"]);
        }
        Ok(package::digest_of(list.as_bytes()))
    }
}
