//! Which filters the broker may still have of us: it keeps them as long as our session, over
//! restarts and changes of the configuration. What is no longer wanted must be taken back, or
//! requests of a pool that this node has left would come here and end.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use crate::domain::limits;

/// The filters of the last connection, in a small file.
#[derive(Clone, Debug, Default)]
pub struct Remembered(Option<PathBuf>);

impl Remembered {
    /// In this file. What is not in it is not known, which harms only when the configuration changes.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self(Some(path.into()))
    }

    /// What the broker may have. A file that cannot be read is as none.
    pub(super) fn load(&self) -> Vec<String> {
        let Some(path) = &self.0 else { return Vec::new() };
        let bounded = fs::metadata(path).is_ok_and(|m| m.len() <= limits::MQTT_REMEMBERED_BYTES_MAX);
        let text = if bounded { fs::read(path).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Remembers these.
    pub(super) fn save(&self, filters: &[String]) {
        if let Some(path) = &self.0
            && let Err(error) = write(path, filters)
        {
            tracing::warn!(%error, path = %path.display(), "the subscriptions could not be noted");
        }
    }
}

fn write(path: &Path, filters: &[String]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = fs::File::create(&draft)?;
    file.write_all(serde_json::json!(filters).to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_and_nonsense_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subscriptions.json");
        let remembered = Remembered::in_file(&path);
        assert_eq!(remembered.load(), Vec::<String>::new());
        remembered.save(&["a/+".into(), "b".into()]);
        assert_eq!(remembered.load(), ["a/+", "b"]);
        fs::write(&path, "{").unwrap();
        assert_eq!(remembered.load(), Vec::<String>::new());
        assert_eq!(Remembered::default().load(), Vec::<String>::new());
    }
}
