//! What is asked for: a repository, at a revision.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// `org/name`, as the Hub allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoId(String);

impl RepoId {
    /// `org/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the `/`.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl FromStr for RepoId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            (1..=limits::REPO_NAME_BYTES_MAX).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !part.starts_with(['.', '-'])
                && !part.ends_with(['.', '-'])
                && !part.contains("..")
                && !part.contains("--")
        };
        let sound = text.split_once('/').is_some_and(|(org, name)| part(org) && part(name));
        sound.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!(
                "`{}` is no repository: expected `org/name`, or a name of the catalogue",
                text.escape_default()
            )
        })
    }
}

/// A branch, a tag, a commit, or `refs/pr/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl Revision {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is meant when nobody says: the newest.
    pub fn main() -> Self {
        Self("main".into())
    }
}

impl FromStr for Revision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sound = (1..=limits::REVISION_BYTES_MAX).contains(&text.len())
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./+@".contains(&b))
            && !text.starts_with('-');
        let shown = text.escape_default();
        sound
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| format!("`{shown}` is no revision: expected a branch, a tag or a commit"))
    }
}

/// The 40 hexadecimal digits of a commit: what is under it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commit(String);

impl Commit {
    /// All 40 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for Commit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sound =
            text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let shown: String = text.escape_default().take(60).collect();
        sound.then(|| Self(text.to_owned())).ok_or_else(|| format!("`{shown}` is no commit"))
    }
}

macro_rules! as_text {
    ($($Type:ident)*) => {$(
        impl TryFrom<String> for $Type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$Type> for String {
            fn from(name: $Type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $Type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

as_text!(RepoId Revision Commit);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_hub_allows_is_a_repository() {
        let repo: RepoId = "mistralai/Ministral-3-3B-Instruct-2512-ONNX".parse().unwrap();
        assert_eq!(repo.name(), "Ministral-3-3B-Instruct-2512-ONNX");
        for bad in ["", "a", "a/", "/a", "a/b/c", "../b", "a/..", "a/b c", "a/b?x", "a/b--c", "a/.b", "a/b."]
        {
            assert!(bad.parse::<RepoId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_revision_is_no_way_out_of_its_path() {
        for good in ["main", "v1.0", "refs/pr/1", &"a".repeat(40)] {
            good.parse::<Revision>().unwrap();
        }
        for bad in ["", "..", "a/../b", "a//b", "a b", "a?b", "a#b", "-x", &"x".repeat(256)] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
        assert!("A".repeat(40).parse::<Commit>().is_err() && "a".repeat(39).parse::<Commit>().is_err());
        assert_eq!("0123456789abcdef".repeat(3)[..40].parse::<Commit>().unwrap().short(), "0123456789ab");
    }
}
