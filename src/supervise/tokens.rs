//! The tokens for servers off the device: read at start, read again when somebody asks for it.

use std::path::{Path, PathBuf};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::StartError;
use crate::{cloud::Credential, domain::Secret};

/// Every token that is in use, and where it came from.
#[derive(Default)]
pub(super) struct Tokens(Vec<Known>);

struct Known {
    key: String,
    file: PathBuf,
    credential: Credential,
}

impl Tokens {
    /// Reads the token of a file; none without a file. `key`: what the file is called in the configuration.
    pub(super) fn read(&mut self, key: &str, file: Option<&Path>) -> Result<Option<Credential>, StartError> {
        let Some(file) = file else { return Ok(None) };
        let read = Secret::read(key, file).and_then(|token| {
            Credential::new(&token).map_err(|why| format!("`{key}` {}: {why}", file.display()))
        });
        let credential = read.map_err(StartError::Configuration)?;
        // A core dump would hold it.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let known = Known { key: key.into(), file: file.into(), credential: credential.clone() };
        self.0.push(known);
        Ok(Some(credential))
    }

    /// Reads them again. What cannot be read stays as it is; this is why.
    pub(super) fn renew(&self) -> Vec<String> {
        let renew = |known: &Known| {
            let token = Secret::read(&known.key, &known.file)?;
            known
                .credential
                .renew(&token)
                .map_err(|why| format!("`{}` {}: {why}", known.key, known.file.display()))
        };
        self.0.iter().filter_map(|known| renew(known).err()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn who_holds_a_token_leaves_no_core_dump_and_takes_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut tokens = Tokens::default();
        assert!(tokens.read("cloud.token_file", None).unwrap().is_none());
        fs::write(&file, "hf_one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(tokens.read("cloud.token_file", Some(&file)).is_err(), "anybody could read it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        tokens.read("cloud.token_file", Some(&file)).unwrap().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(tokens.renew(), [""; 0]);
        fs::write(&file, "hf two\nlines").unwrap();
        assert!(tokens.renew()[0].contains("holds characters that no token has"));
        fs::remove_file(&file).unwrap();
        assert!(tokens.renew()[0].starts_with("`cloud.token_file`"));
    }
}
