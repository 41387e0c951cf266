//! `outpost-model.toml`: what a package says of itself.
//!
//! The manifest is small and read whole; everything in it is checked before anything else
//! of the package is touched. Paths are plain file names below the package's directory, so
//! a package can never reach outside itself.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::PackageError;
use crate::domain::limits;

/// File name of the manifest within a package.
pub const MANIFEST_FILE: &str = "outpost-model.toml";
/// The format this code writes and reads.
pub const FORMAT: u32 = 1;

/// A package's description of itself. Key order in the file follows the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of this file; another number is refused.
    pub format: u32,
    /// Name by which requests ask for the model, such as `smollm2-135m-instruct`.
    pub name: String,
    /// Version of the package, free text.
    pub version: String,
    /// Architecture as GGUF names it, such as `llama`.
    pub architecture: String,
    /// SPDX expression of the weights' licence, or `unknown`.
    pub licence: String,
    /// Tokens of prompt and answer together for which the graph is exact.
    pub context: usize,
    /// Rows of the token table; every token id is below it.
    pub vocabulary: usize,
    /// Token ids that end an answer.
    pub eos: Vec<u32>,
    /// Token id that a bare text prompt begins with, where the model wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos: Option<u32>,
    /// Shape of the KV cache.
    pub cache: CacheShape,
    /// Where the weights came from.
    pub source: Source,
    /// A prompt and what a sound package answers to it. Every manifest that was written has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    /// Ways to run the model, best first.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
    /// Every file of the package but this one.
    #[serde(rename = "file")]
    pub files: Vec<FileEntry>,
}

/// Shape of the KV cache: per layer two tensors `[slots, heads, tokens, head_width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheShape {
    /// Layers, each with a key and a value tensor.
    pub layers: usize,
    /// Key/value heads.
    pub heads: usize,
    /// Width of one head.
    pub head_width: usize,
}

/// Origin of the weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// File name that was imported.
    pub file: String,
    /// SHA-256 of that file, lower-case hex.
    pub sha256: String,
    /// Number formats found in it, such as `Q4_1, Q6_K, F32`.
    pub quantization: String,
    /// Program and version that wrote the package.
    pub made_by: String,
}

/// Greedy decoding of `prompt` must begin with `tokens`, and the first logit must be close.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// Token ids fed in one chunk at position 0.
    pub prompt: Vec<u32>,
    /// Token ids that greedy decoding gives.
    pub tokens: Vec<u32>,
    /// Logit of `tokens[0]` at the prompt's last position.
    pub first_logit: f32,
    /// Allowed absolute difference of that logit; covers other CPUs' rounding.
    pub tolerance: f32,
}

/// Number format of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE 754 binary16).
    F16,
    /// 8-bit integers with scales held in the graph.
    Int8,
}

impl KvType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Int8 => 1,
        }
    }

    /// The name in manifests, flags and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

/// One graph, and where it can run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// File name of the graph; its external data is beside it.
    pub graph: String,
    /// Execution providers it is made for, by their configuration names; none: for any.
    pub providers: Vec<String>,
    /// Number format of its KV cache.
    pub kv: KvType,
    /// Number format of its weights, such as `mixed`.
    pub weights: String,
    /// Weights that share one scale; 0 where weights are not quantised.
    pub block: usize,
    /// What it needs around it.
    #[serde(default)]
    pub requires: Requires,
    /// Sizes of its runs, where they are always the same; `None`: as many tokens as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapes: Option<FixedShapes>,
    /// What a sound copy of this variant answers; `None`: what the package's own says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    /// What its border looks like. A manifest that was written tells of the forge's graphs only.
    #[serde(skip)]
    pub convention: Convention,
}

impl Variant {
    /// Whether it is made for this execution provider.
    pub fn is_for(&self, provider: &str) -> bool {
        self.providers.is_empty() || self.providers.iter().any(|name| name == provider)
    }
}

/// Sizes of a graph whose dimensions are fixed when it is loaded, as compilers for NPUs want them. What is fewer
/// is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedShapes {
    /// Tokens of a run over a prompt.
    pub prefill: usize,
    /// Tokens of a run over an answer: 1.
    pub decode: usize,
}

impl FixedShapes {
    fn check(self) -> Result<(), String> {
        let Self { prefill, decode } = self;
        let (least, most) = (limits::FIXED_PREFILL_TOKENS_MIN, limits::FIXED_PREFILL_TOKENS_MAX);
        if decode != 1 {
            return Err(format!("shapes.decode is {decode}; an answer is written token by token: 1"));
        }
        if !(least..=most).contains(&prefill) {
            return Err(format!("shapes.prefill is {prefill}; {least} to {most} are possible"));
        }
        Ok(())
    }
}

/// Whose idea of a graph's inputs and outputs it follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Convention {
    /// The forge's.
    #[default]
    Forge,
    /// That of onnxruntime-genai, transformers.js or Optimum.
    Published {
        /// Graph that turns token ids into embeddings, where the decoder does not.
        table: Option<String>,
    },
}

/// Conditions of a variant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// Lowest version of ONNX Runtime, such as `1.22`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<String>,
}

/// One file of the package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path below the package's directory, `/` between its parts.
    pub path: String,
    /// Size, bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Parses and checks the manifest's text.
    pub fn parse(text: &str) -> Result<Self, PackageError> {
        let manifest: Self =
            toml::from_str(text).map_err(|e| PackageError::Manifest { reason: e.to_string() })?;
        let checked = manifest.check_written().and_then(|()| manifest.check());
        checked.map_err(|reason| PackageError::Manifest { reason })?;
        Ok(manifest)
    }

    /// The best variant for an execution provider.
    pub fn variant_for(&self, provider: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.is_for(provider))
    }

    /// The manifest's text, as [`parse`](Self::parse) reads it.
    pub fn to_toml(&self) -> Result<String, PackageError> {
        toml::to_string(self).map_err(|e| PackageError::Manifest { reason: e.to_string() })
    }

    /// What only a manifest that was written promises.
    fn check_written(&self) -> Result<(), String> {
        if self.self_test.is_none() {
            return Err("it has no self_test".into());
        }
        match self.variants.iter().find(|v| !self.files.iter().any(|f| f.path == v.graph)) {
            Some(variant) => Err(format!("variant: its graph `{}` is not among the files", variant.graph)),
            None => Ok(()),
        }
    }

    /// That its parts are possible and go together.
    pub(super) fn check(&self) -> Result<(), String> {
        let token = |what: &str, id: u32| {
            ((id as usize) < self.vocabulary)
                .then_some(())
                .ok_or(format!("{what}: token {id} is not below the vocabulary of {}", self.vocabulary))
        };
        let positive = |what: &str, n: usize| (n > 0).then_some(()).ok_or(format!("{what} is 0"));

        if self.format != FORMAT {
            return Err(format!("format {} is not known here, only format {FORMAT}", self.format));
        }
        positive("context", self.context)?;
        positive("vocabulary", self.vocabulary)?;
        positive("cache.layers", self.cache.layers)?;
        positive("cache.heads", self.cache.heads)?;
        positive("cache.head_width", self.cache.head_width)?;
        positive("the number of variants", self.variants.len())?;
        self.eos.iter().try_for_each(|id| token("eos", *id))?;
        self.variants.iter().filter_map(|variant| variant.shapes).try_for_each(FixedShapes::check)?;
        let own = self.variants.iter().filter_map(|variant| variant.self_test.as_ref());
        for SelfTest { prompt, tokens, .. } in self.self_test.iter().chain(own) {
            for (what, ids) in [("self_test.prompt", prompt), ("self_test.tokens", tokens)] {
                positive(&format!("the length of {what}"), ids.len())?;
                ids.iter().try_for_each(|id| token(what, *id))?;
            }
        }
        self.bos.map_or(Ok(()), |id| token("bos", id))?;
        if self.files.len() > limits::PACKAGE_FILES_MAX {
            return Err(format!("{} files, more than {}", self.files.len(), limits::PACKAGE_FILES_MAX));
        }
        for file in &self.files {
            check_path(&file.path)?;
        }
        Ok(())
    }
}

/// Only plain names below the package: no `..`, no absolute path, no drive, no empty part.
fn check_path(path: &str) -> Result<(), String> {
    let plain = !path.is_empty()
        && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
        && !path.contains(['\\', '\0']);
    plain.then_some(()).ok_or(format!("file `{path}` is not a plain path below the package"))
}
