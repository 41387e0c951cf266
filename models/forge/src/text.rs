//! Text files, and tokens of text.

use std::{fs::File, io::Read, path::Path};

use crate::{Error, Result};

/// A text file, cut to `bytes_max` at a character's border.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(bytes_max).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let valid = match std::str::from_utf8(&bytes) {
        Ok(_) => bytes.len(),
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        Err(_) => return Err(Error::Unsupported(format!("`{}` is not UTF-8 text", path.display()))),
    };
    bytes.truncate(valid);
    String::from_utf8(bytes).map_err(|e| Error::Bug(e.to_string()))
}

/// Tokens of a text, without a first token of the model's own.
pub fn encode(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
    let failed = |e| Error::Unsupported(format!("the tokenizer fails on the text: {e}"));
    tokenizer.encode_fast(text, false).map(|e| e.get_ids().to_vec()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_and_binary_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.txt");
        std::fs::write(&path, "Öl").unwrap();
        assert_eq!(read_text(&path, 1).unwrap(), "");
        assert_eq!(read_text(&path, 100).unwrap(), "Öl");
        std::fs::write(&path, [b'a', 0xff, b'b']).unwrap();
        assert!(read_text(&path, 100).is_err());
    }
}
