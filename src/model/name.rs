//! Names that are safe to make paths of.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::domain::limits;

/// Path of a file below some folder, `/` between its parts: it cannot lead out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(String);

impl RelPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it is below `dir`.
    pub fn below(&self, dir: &Path) -> PathBuf {
        dir.join(&self.0)
    }

    /// Its last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Everything before its last part, without a `/` at the end.
    pub fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The path without this folder before it; `None` when it is not below it.
    pub fn without(&self, folder: &str) -> Option<Self> {
        let rest = if folder.is_empty() {
            &self.0
        } else {
            self.0.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'))?
        };
        Some(Self(rest.to_owned()))
    }
}

impl FromStr for RelPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255;
        let sound = text.len() <= limits::HUB_PATH_BYTES_MAX
            && text.split('/').all(part)
            && !text.chars().any(|c| c.is_control() || c == '\\');
        let shown: String = text.escape_default().take(100).collect();
        sound.then(|| Self(text.to_owned())).ok_or_else(|| format!("`{shown}` is no path below a folder"))
    }
}

impl TryFrom<String> for RelPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a package in the models' folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

/// Names in the models' folder that are links of our own.
pub(super) const LINKS: [&str; 2] = ["current", "previous"];

impl PackageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest name to any text: what no name may hold becomes `-`.
    pub fn near(text: &str) -> Result<Self, String> {
        let sound = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        text.chars().map(sound).collect::<String>().trim_start_matches(['.', '-']).parse()
    }
}

impl FromStr for PackageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sound = (1..=limits::PACKAGE_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !text.starts_with(['.', '-'])
            && !LINKS.contains(&text);
        sound.then(|| Self(text.to_owned())).ok_or_else(|| {
            format!(
                "`{}` is no name of a package: expected up to {} letters, digits and `-_.`, no dot or dash at the \
                 beginning, and neither `current` nor `previous`",
                text.escape_default(),
                limits::PACKAGE_NAME_BYTES_MAX
            )
        })
    }
}

impl TryFrom<String> for PackageName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_path_leads_out_of_its_folder() {
        let long = "x/".repeat(300);
        for bad in
            ["", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "a\0b", "a\nb", &long]
        {
            assert!(bad.parse::<RelPath>().is_err(), "{bad:?}");
        }
        let path: RelPath = "onnx/decoder model.onnx_data".parse().unwrap();
        assert_eq!((path.folder(), path.file_name()), ("onnx", "decoder model.onnx_data"));
        assert_eq!(path.without("onnx").unwrap().as_str(), "decoder model.onnx_data");
        assert!(path.without("onn").is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_below(text in "[a./\\\\\\x00]{0,12}") {
            if let Ok(path) = text.parse::<RelPath>() {
                let whole = path.below(Path::new("/m"));
                prop_assert!(whole.starts_with("/m") && whole != Path::new("/m"));
                prop_assert!(!whole.components().any(|c| c == std::path::Component::ParentDir));
            }
        }
    }

    #[test]
    fn a_package_is_not_called_like_our_own_files() {
        for bad in ["", ".pull", "current", "previous", "a/b", "..", "-x", "a b", &"x".repeat(97)] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad:?}");
        }
        assert_eq!(PackageName::near("a b/c").unwrap().as_str(), "a-b-c");
        assert!(PackageName::near("...").is_err());
    }
}
