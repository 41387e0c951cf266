//! The catalogue: short names for models that are known, with what they need.

use serde::Deserialize;

use super::{
    layout::Wish,
    name::{RepoId, Revision},
};
use crate::model::PackageName;

const TEXT: &str = include_str!("../../models/catalogue.toml");

/// A model of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its short name, which the package gets.
    pub name: PackageName,
    /// What it is.
    pub about: String,
    /// Where it is.
    pub repo: RepoId,
    /// At which revision.
    pub revision: Revision,
    /// What of several is taken.
    pub precision: Option<String>,
    /// The file, where there are several.
    pub file: Option<String>,
    /// Bytes on disk; nobody has counted where this is missing.
    pub bytes: Option<u64>,
    /// Memory that a board needs for it, bytes, as the file itself explains.
    pub memory: Option<u64>,
    /// SPDX expression of its licence.
    pub licence: String,
    /// Tokens of context for which it is exact.
    pub context: usize,
}

impl Known {
    /// What of several is taken.
    pub fn wish(&self) -> Result<Wish, String> {
        Wish::new(self.precision.as_deref(), self.file.clone())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Known>,
}

/// All of them.
pub fn catalogue() -> Result<Vec<Known>, String> {
    let file: File = toml::from_str(TEXT).map_err(|e| format!("the catalogue: {e}"))?;
    Ok(file.model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sound_and_no_name_stands_for_two() {
        let all = catalogue().unwrap();
        let mut names: Vec<_> = all.iter().map(|known| known.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert!(names.contains(&"ministral-3-3b"));
        for known in &all {
            known.wish().unwrap();
            assert!(known.memory >= known.bytes, "{}", known.name);
        }
    }
}
