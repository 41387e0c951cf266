//! What vouches for the content of a file, and the sums that are held against it.

use std::fmt;

use ring::digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::hex;

/// What vouches for a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// SHA-256 of its content, lower-case hexadecimal.
    Sha256(String),
    /// The id that git gives to its content: the SHA-1 of `blob LENGTH\0` and the content. The Hub gives no
    /// other for small files. It finds damage and chance; against malice there are signatures.
    GitBlob(String),
}

impl Proof {
    /// A SHA-256, when it looks like one.
    pub fn sha256(text: &str) -> Option<Self> {
        is_hex(text, 64).then(|| Self::Sha256(text.to_ascii_lowercase()))
    }

    /// A blob of git, when it looks like one.
    pub fn git_blob(text: &str) -> Option<Self> {
        is_hex(text, 40).then(|| Self::GitBlob(text.to_ascii_lowercase()))
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(sum) => write!(f, "SHA-256 {sum}"),
            Self::GitBlob(id) => write!(f, "git blob {id}"),
        }
    }
}

/// Sums of a content that comes piece by piece.
pub(super) struct Sums {
    sha256: Sha256,
    git: Option<digest::Context>,
}

/// They, at the end.
pub(super) struct Found {
    /// Lower-case hexadecimal.
    pub(super) sha256: String,
    git: Option<String>,
}

impl Sums {
    /// Of a file of `bytes` that is to be held against `proof`.
    pub(super) fn new(bytes: u64, proof: Option<&Proof>) -> Self {
        let git = matches!(proof, Some(Proof::GitBlob(_))).then(|| {
            let mut git = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
            git.update(format!("blob {bytes}\0").as_bytes());
            git
        });
        Self { sha256: Sha256::new(), git }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        if let Some(git) = &mut self.git {
            git.update(piece);
        }
    }

    pub(super) fn finish(self) -> Found {
        Found { sha256: hex(&self.sha256.finalize()), git: self.git.map(|git| hex(git.finish().as_ref())) }
    }
}

impl Found {
    /// Holds them against `proof`; the error is what was found instead.
    pub(super) fn meets(&self, proof: Option<&Proof>) -> Result<(), String> {
        let (wanted, found) = match proof {
            None => return Ok(()),
            Some(Proof::Sha256(wanted)) => (wanted, &self.sha256),
            Some(Proof::GitBlob(wanted)) => (wanted, self.git.as_ref().unwrap_or(&self.sha256)),
        };
        if wanted == found { Ok(()) } else { Err(found.clone()) }
    }
}

/// The sums of a content that is there.
pub(super) fn sums_of(content: &[u8], proof: Option<&Proof>) -> Found {
    let mut sums = Sums::new(content.len() as u64, proof);
    sums.update(content);
    sums.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_known_by_its_sha256_or_by_what_git_calls_it() {
        // `printf 'hello\n' | git hash-object --stdin`, and `| sha256sum`.
        let git = Proof::git_blob("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        let sha = Proof::sha256("5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03").unwrap();
        for proof in [&git, &sha] {
            assert_eq!(sums_of(b"hello\n", Some(proof)).meets(Some(proof)), Ok(()));
            assert!(sums_of(b"hellO\n", Some(proof)).meets(Some(proof)).is_err());
        }
        assert_eq!(Proof::sha256("ce01"), None);
        assert_eq!(Proof::git_blob(&"g".repeat(40)), None);
    }
}
