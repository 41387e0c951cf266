//! `outpost-pull.toml`: what a pull says of the package that it has made.
//!
//! ```toml
//! format = 1
//! layout = "transformers-js"     # outpost, onnxruntime-genai, transformers-js, onnx, gguf
//! variant = "q4"                 # precision or file that was chosen; absent: there was no choice
//! repo = "org/name"              # absent: it came from a folder that does not say
//! commit = "<40 hex digits>"     # likewise
//! vouched = "listing"            # signature, listing, sums, manifest, nothing: what the digests were held against
//! signed_by = "RW…"              # with `signature`: the minisign public key, and the trusted comment
//! comment = "…"
//! [[file]]                       # every file of the package but this one
//! path = "onnx/decoder_model_merged_q4.onnx"
//! bytes = 123
//! sha256 = "<64 hex digits>"
//! ```
//! Nothing in it depends on the server or the mirror that it came from: the same commit makes the same record.

use std::{fmt, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{FileEntry, PackageError, package::read_text};
use crate::domain::limits;

/// File name of the record within a package.
pub const PULLED_FILE: &str = "outpost-pull.toml";
const FORMAT: u32 = 1;

/// How a package is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `outpost-model.toml` and what it names.
    Outpost,
    /// `genai_config.json` with its graph.
    OnnxruntimeGenai,
    /// Decoder, embeddings and perhaps a vision encoder as graphs of their own.
    TransformersJs,
    /// One graph with past and present.
    Onnx,
    /// A GGUF file: not run, but imported by `outpost-forge`.
    Gguf,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outpost => "outpost",
            Self::OnnxruntimeGenai => "onnxruntime-genai",
            Self::TransformersJs => "transformers-js",
            Self::Onnx => "onnx",
            Self::Gguf => "gguf",
        })
    }
}

/// What the digests of the files were held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vouched {
    /// A list that is signed by the operator's key.
    Signature,
    /// What the Hub says of the commit.
    Listing,
    /// `SHA256SUMS` beside the files, or the record of an earlier pull.
    Sums,
    /// `outpost-model.toml`.
    Manifest,
    /// Nothing: these are the digests of what was found.
    Nothing,
}

impl fmt::Display for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Listing => "listing",
            Self::Sums => "sums",
            Self::Manifest => "manifest",
            Self::Nothing => "nothing",
        })
    }
}

/// The record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pulled {
    /// Format of this file; another number is refused.
    pub format: u32,
    /// How it is laid out.
    pub layout: Layout,
    /// Precision or file that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Which commit of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What the digests were held against.
    pub vouched: Vouched,
    /// The minisign key that signed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The trusted comment of that signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Every file, with what it was found to be.
    #[serde(rename = "file")]
    pub files: Vec<FileEntry>,
}

impl Pulled {
    /// A record without origin.
    pub fn new(layout: Layout, vouched: Vouched, files: Vec<FileEntry>) -> Self {
        let (variant, repo, commit, signed_by, comment) = (None, None, None, None, None);
        Self { format: FORMAT, layout, variant, repo, commit, vouched, signed_by, comment, files }
    }

    /// Reads that of the package in `dir`; `None` when it has none.
    pub fn read(dir: &Path) -> Result<Option<Self>, PackageError> {
        let path = dir.join(PULLED_FILE);
        let text = match read_text(&path, limits::PULL_RECORD_BYTES_MAX) {
            Err(PackageError::Missing { .. }) => return Ok(None),
            read => read?,
        };
        let wrong = |reason: String| PackageError::Record { path: path.clone(), reason };
        let record: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if record.format != FORMAT {
            return Err(wrong(format!("has format {}, this version reads {FORMAT}", record.format)));
        }
        for file in &record.files {
            file.path.parse::<super::RelPath>().map_err(wrong)?;
        }
        Ok(Some(record))
    }

    /// The text of the file.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Whether every file lies in `dir` with its size. The content is not looked at.
    pub fn is_whole(&self, dir: &Path) -> bool {
        let whole =
            |f: &FileEntry| fs::metadata(dir.join(&f.path)).is_ok_and(|m| m.is_file() && m.len() == f.bytes);
        self.files.iter().all(whole)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went_and_never_names_what_lies_outside() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pulled::read(dir.path()).unwrap(), None);
        let file = |path: &str| FileEntry { path: path.into(), bytes: 2, sha256: "00".repeat(32) };
        let record = Pulled {
            repo: Some("a/b".into()),
            variant: Some("q4".into()),
            ..Pulled::new(Layout::TransformersJs, Vouched::Listing, vec![file("onnx/x.onnx")])
        };
        let write =
            |record: &Pulled| fs::write(dir.path().join(PULLED_FILE), record.to_toml().unwrap()).unwrap();
        write(&record);
        assert_eq!(Pulled::read(dir.path()).unwrap(), Some(record.clone()));
        assert!(!record.is_whole(dir.path()));
        fs::create_dir(dir.path().join("onnx")).unwrap();
        fs::write(dir.path().join("onnx/x.onnx"), "ab").unwrap();
        assert!(record.is_whole(dir.path()) && record.bytes() == 2);
        write(&Pulled { files: vec![file("../x")], ..record.clone() });
        assert!(Pulled::read(dir.path()).unwrap_err().to_string().contains("no path below"));
        write(&Pulled { format: 2, ..record });
        assert!(Pulled::read(dir.path()).unwrap_err().to_string().contains("has format 2"));
    }
}
