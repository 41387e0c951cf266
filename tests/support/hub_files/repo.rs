//! What the repository holds.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Files from this size on are kept in the storage (Git LFS).
const LARGE: usize = 1_000;

/// A repository at a commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repo {
    pub(crate) name: String,
    pub(crate) commit: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What it was called before.
    pub(crate) formerly: Option<String>,
    /// Gives no digests and no blobs.
    pub(crate) silent: bool,
}

impl Repo {
    pub(crate) fn new(name: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), content.clone())).collect();
        Self { name: name.into(), commit: "c0ffee".repeat(7)[..40].to_owned(), files, ..Self::default() }
    }

    /// A small language model as transformers.js lays it out, with `bytes` of weights.
    pub(crate) fn tiny(bytes: usize) -> Self {
        Self::new(
            "acme/tiny-ONNX",
            &[
                ("README.md", b"# Tiny".to_vec()),
                ("LICENSE", b"Apache-2.0".to_vec()),
                ("banner.png", noise(2_000, 9)),
                ("pytorch_model.bin", noise(2_000, 8)),
                ("config.json", b"{}".to_vec()),
                ("tokenizer.json", noise(500, 1)),
                ("tokenizer_config.json", b"{\"a\": 1}".to_vec()),
                ("onnx/model_q4.onnx", noise(30_000, 2)),
                ("onnx/model_q4.onnx_data", noise(bytes, 3)),
                ("onnx/model_fp16.onnx", noise(40_000, 4)),
            ],
        )
    }

    /// Files of it that make the package in `q4`.
    pub(crate) fn q4(&self) -> Vec<(&str, &[u8])> {
        let left = ["README.md", "banner.png", "pytorch_model.bin", "onnx/model_fp16.onnx"];
        let files = self.files.iter().filter(|(path, _)| !left.contains(&path.as_str()));
        files.map(|(path, content)| (path.as_str(), content.as_slice())).collect()
    }

    pub(super) fn is_large(content: &[u8]) -> bool {
        content.len() >= LARGE
    }

    pub(super) fn listing(&self) -> Value {
        let sibling = |(path, content): (&String, &Vec<u8>)| {
            let mut sibling = json!({"rfilename": path, "size": content.len(), "blobId": git_blob(content)});
            if Self::is_large(content) {
                sibling["lfs"] =
                    json!({"sha256": sha256(content), "size": content.len(), "pointerSize": 134});
                sibling["blobId"] = "1".repeat(40).into();
            }
            if self.silent {
                sibling
                    .as_object_mut()
                    .unwrap()
                    .retain(|key, _| matches!(key.as_str(), "rfilename" | "size"));
            }
            sibling
        };
        json!({
            "_id": "x", "id": self.name, "modelId": self.name, "sha": self.commit, "private": false, "gated": false,
            "siblings": self.files.iter().map(sibling).collect::<Vec<_>>(),
        })
    }
}

/// Bytes without a pattern that are the same at each run.
pub(crate) fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    std::iter::repeat_with(step).take(n).collect()
}

pub(crate) fn sha256(content: &[u8]) -> String {
    outpost::domain::hex(&Sha256::digest(content))
}

pub(crate) fn git_blob(content: &[u8]) -> String {
    let mut whole = format!("blob {}\0", content.len()).into_bytes();
    whole.extend_from_slice(content);
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &whole);
    outpost::domain::hex(digest.as_ref())
}
