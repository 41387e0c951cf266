//! The Hub's answer to what is in a repository.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{
    name::{Commit, RepoId},
    proof::Proof,
};
use crate::{domain::limits, model::RelPath};

/// One file that is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it is in the repository or folder.
    pub path: RelPath,
    /// Its size.
    pub bytes: u64,
    /// What vouches for it.
    pub proof: Option<Proof>,
}

/// What a repository holds at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Whose it is now: a renamed repository answers with its new name.
    pub repo: RepoId,
    /// The commit.
    pub commit: Commit,
    /// Its files.
    pub files: Vec<Listed>,
}

/// `GET /api/models/{repo}/revision/{revision}?blobs=true`, as far as it matters.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<String>,
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

impl Listing {
    /// Reads the answer to a question for `repo`. One bad path makes the whole listing suspect: a Hub does not
    /// hold such files.
    pub fn parse(body: &[u8], repo: &RepoId) -> Result<Self, String> {
        let answer: Answer = serde_json::from_slice(body).map_err(|e| {
            let html = body.trim_ascii_start().starts_with(b"<");
            if html { "it is an HTML page: a portal or proxy answers instead".into() } else { e.to_string() }
        })?;
        if answer.siblings.len() > limits::HUB_LISTING_FILES_MAX {
            let n = answer.siblings.len();
            return Err(format!("{n} files, more than {}", limits::HUB_LISTING_FILES_MAX));
        }
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        for sibling in answer.siblings {
            let path: RelPath = sibling.rfilename.parse()?;
            if !seen.insert(path.clone()) {
                return Err(format!("`{path}` is in it twice"));
            }
            let size = sibling.lfs.as_ref().and_then(|lfs| lfs.size).or(sibling.size);
            let bytes = size.ok_or_else(|| {
                format!("it gives no size for `{path}`: the server does not understand `?blobs=true`")
            })?;
            if bytes > limits::PULL_FILE_BYTES_MAX {
                return Err(format!("`{path}` has {bytes} bytes, more than any model's file"));
            }
            let proof = match sibling.lfs {
                Some(lfs) => lfs.sha256.as_deref().and_then(Proof::sha256),
                None => sibling.blob_id.as_deref().and_then(Proof::git_blob),
            };
            files.push(Listed { path, bytes, proof });
        }
        let repo = answer.id.and_then(|id| id.parse().ok()).unwrap_or_else(|| repo.clone());
        Ok(Self { repo, commit: answer.sha.parse()?, files })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(siblings: &Value) -> Result<Listing, String> {
        let body = json!({"id": "a/b", "sha": "0".repeat(40), "gated": false, "siblings": siblings});
        Listing::parse(body.to_string().as_bytes(), &"a/old".parse().unwrap())
    }

    #[test]
    fn files_come_with_size_and_proof() {
        let listing = parse(&json!([
            {"rfilename": "config.json", "size": 3, "blobId": "a".repeat(40)},
            {"rfilename": "onnx/x.onnx_data", "size": 7, "blobId": "b".repeat(40),
             "lfs": {"sha256": "c".repeat(64), "size": 7, "pointerSize": 134}},
            {"rfilename": "plain", "size": 0},
        ]));
        let listing = listing.unwrap();
        assert_eq!(listing.repo.as_str(), "a/b");
        let proofs: Vec<_> = listing.files.iter().map(|file| file.proof.clone()).collect();
        assert_eq!(proofs, [Proof::git_blob(&"a".repeat(40)), Proof::sha256(&"c".repeat(64)), None]);
    }

    #[test]
    fn a_listing_that_no_hub_would_write_is_refused_as_a_whole() {
        for bad in ["../x", "/etc/cron.d/x", "a/../../x", "a\0b", "", "C:\\x"] {
            let wrong = parse(&json!([{"rfilename": "good", "size": 1}, {"rfilename": bad, "size": 1}]));
            assert!(wrong.unwrap_err().contains("no path below"), "{bad}");
        }
        let twice = parse(&json!([{"rfilename": "a", "size": 1}, {"rfilename": "a", "size": 2}]));
        assert!(twice.unwrap_err().contains("twice"));
        let many: Vec<_> = (0..100_000).map(|n| json!({"rfilename": n.to_string(), "size": 1})).collect();
        assert!(parse(&json!(many)).unwrap_err().contains("100000 files"));
        assert!(parse(&json!([{"rfilename": "a"}])).unwrap_err().contains("no size"));
        assert!(parse(&json!([{"rfilename": "a", "size": u64::MAX}])).unwrap_err().contains("more than any"));
        let page = Listing::parse(b" <html>", &"a/b".parse().unwrap()).unwrap_err();
        assert!(page.contains("portal"), "{page}");
    }
}
