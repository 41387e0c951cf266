//! What nobody may see: a token, a password.

use std::{fmt, fs, os::unix::fs::PermissionsExt, path::Path};

use super::limits;

/// Bytes that show themselves only to who asks for them on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// As it is.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into().into())
    }

    /// Reads it from a file that nobody but owner and group can read or change. White space around
    /// it is cut. `key`: what the file is called in the configuration.
    pub fn read(key: &str, path: &Path) -> Result<Self, String> {
        let say = |why: &dyn fmt::Display| format!("`{key}` {}: {why}", path.display());
        let meta = fs::metadata(path).map_err(|e| say(&e))?;
        if meta.permissions().mode() & 0o007 != 0 {
            return Err(say(&"anybody can read or change it; chmod 0640 it"));
        }
        if meta.len() > limits::TOKEN_FILE_BYTES_MAX {
            return Err(say(&format_args!("has more than {} bytes", limits::TOKEN_FILE_BYTES_MAX)));
        }
        let text = fs::read(path).map_err(|e| say(&e))?;
        match text.trim_ascii() {
            [] => Err(say(&"is empty")),
            secret => Ok(Self::new(secret)),
        }
    }

    /// The bytes themselves.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_a_file_that_others_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, " hf_abc\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Secret::read("cloud.token_file", &path).unwrap_err().contains("chmod 0640"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let secret = Secret::read("cloud.token_file", &path).unwrap();
        assert_eq!(secret.reveal(), b"hf_abc");
        assert!(!format!("{secret:?}").contains("abc"));
        fs::write(&path, "\n").unwrap();
        assert!(Secret::read("cloud.token_file", &path).unwrap_err().ends_with("is empty"));
    }
}
