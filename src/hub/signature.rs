//! `SHA256SUMS`, and the minisign signature over it.
//!
//! With a key, `SHA256SUMS` and `SHA256SUMS.minisig` must lie beside the files, and every file that is used must
//! be named in it. The trusted comment may say anything; it is shown and kept in the record. Made with
//! `sha256sum FILE… >SHA256SUMS` and `minisign -S -m SHA256SUMS`.

use std::{collections::BTreeMap, fmt};

use minisign_verify::{PublicKey, Signature};

use super::{error::PullError, layout::Wanted, proof::Proof};

/// File with the digests, as `sha256sum` writes it.
pub const SUMS_FILE: &str = "SHA256SUMS";
/// Its signature.
pub const SIGNATURE_FILE: &str = "SHA256SUMS.minisig";

/// The operator's key.
#[derive(Clone)]
pub struct Key {
    key: PublicKey,
    id: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}

impl Key {
    /// From the text of a public key: the line of letters and digits, or the whole `minisign.pub`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        let key = PublicKey::from_base64(line).map_err(|e| {
            format!("is no public key of minisign ({e}); it is the last line of `minisign.pub` and begins with `RW`")
        })?;
        Ok(Self { key, id: line.to_owned() })
    }

    /// The key itself, as one line: it is public.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Checks the signature; the digests, and the trusted comment.
    pub(super) fn open(&self, sums: &[u8], signature: &[u8]) -> Result<(Digests, String), PullError> {
        let wrong = |why: String| PullError::Signature(format!("`{SIGNATURE_FILE}`: {why}"));
        let text = std::str::from_utf8(signature).map_err(|_| wrong("is no signature of minisign".into()))?;
        let signature =
            Signature::decode(text).map_err(|e| wrong(format!("is no signature of minisign: {e}")))?;
        self.key.verify(sums, &signature, true).map_err(|e| {
            wrong(format!(
                "the signature over `{SUMS_FILE}` is not one of the key {} ({e}). Somebody else has signed it, or it was \
                 changed since: do not use it",
                self.id
            ))
        })?;
        Ok((Digests::parse(sums)?, signature.trusted_comment().to_owned()))
    }
}

/// Path → SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digests(BTreeMap<String, Proof>);

impl Digests {
    /// From what `sha256sum` writes: digest, a space, a space or `*`, and the path.
    pub(super) fn parse(text: &[u8]) -> Result<Self, PullError> {
        let wrong =
            |line: usize, why: &str| PullError::Signature(format!("`{SUMS_FILE}`, line {line}: {why}"));
        let text = std::str::from_utf8(text).map_err(|_| wrong(1, "is no text"))?;
        let mut digests = BTreeMap::new();
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (sum, path) =
                line.split_once(' ').ok_or_else(|| wrong(n + 1, "expected a digest and a path"))?;
            let proof = Proof::sha256(sum).ok_or_else(|| wrong(n + 1, "expected 64 hexadecimal digits"))?;
            let path = path.strip_prefix([' ', '*']).unwrap_or(path).trim_end();
            let path = path.strip_prefix("./").unwrap_or(path);
            if digests.insert(path.to_owned(), proof.clone()).is_some_and(|before| before != proof) {
                return Err(wrong(n + 1, "names a file a second time with another digest"));
            }
        }
        Ok(Self(digests))
    }

    /// What it says of a file.
    pub(super) fn of(&self, path: &str) -> Option<&Proof> {
        self.0.get(path)
    }

    /// Holds `files` against it: from now on it is what vouches for them. With `all`, for every one.
    pub(super) fn vouch(&self, files: &mut [Wanted], all: bool) -> Result<(), PullError> {
        for file in files {
            let Some(proof) = self.of(file.from.as_str()) else {
                if all {
                    let why = format!("`{}` is not named in the signed `{SUMS_FILE}`", file.from);
                    return Err(PullError::Signature(format!(
                        "{why}: whoever signs must name every file that is used"
                    )));
                }
                continue;
            };
            if matches!(&file.proof, Some(Proof::Sha256(_))) && file.proof.as_ref() != Some(proof) {
                return Err(PullError::Signature(format!(
                    "`{}` is not what `{SUMS_FILE}` names: that says {proof}, the source has another",
                    file.from
                )));
            }
            file.proof = Some(proof.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // tests/data/signed holds what `tests/data/signed/README` says how it was made.
    const PUBLIC: &str = include_str!("../../tests/data/signed/minisign.pub");
    const OTHER: &str = include_str!("../../tests/data/signed/other.pub");
    const SUMS: &[u8] = include_bytes!("../../tests/data/signed/repo/SHA256SUMS");
    const SIGNATURE: &[u8] = include_bytes!("../../tests/data/signed/repo/SHA256SUMS.minisig");

    #[test]
    fn what_the_key_has_signed_is_opened_and_nothing_else_is() {
        let key = Key::parse(PUBLIC).unwrap();
        let (digests, comment) = key.open(SUMS, SIGNATURE).unwrap();
        assert!(digests.of("tokenizer.json").is_some());
        assert_eq!(comment, "outpost test model, 2026-11-23");
        assert!(PUBLIC.contains(key.id()), "{key:?} is what minisign calls it");
        let refused =
            |key: &Key, sums: &[u8], signature: &[u8]| key.open(sums, signature).unwrap_err().to_string();
        assert!(refused(&Key::parse(OTHER).unwrap(), SUMS, SIGNATURE).contains("not one of the key"));
        let mut changed = SUMS.to_vec();
        changed[0] ^= 1;
        assert!(refused(&key, &changed, SIGNATURE).contains("changed since"));
        let comment = String::from_utf8(SIGNATURE.to_vec()).unwrap().replace("2026-11-23", "2027-11-23");
        assert!(
            refused(&key, SUMS, comment.as_bytes()).contains("changed since"),
            "the comment is signed, too"
        );
        assert!(refused(&key, SUMS, b"nonsense").contains("no signature"));
        assert!(Key::parse("RWnonsense").unwrap_err().contains("minisign.pub"));
    }

    #[test]
    fn every_file_that_is_used_must_be_named_with_its_digest() {
        let digests =
            Digests::parse(format!("{}  a b\n{} *./c/d\n\n", "a".repeat(64), "b".repeat(64)).as_bytes())
                .unwrap();
        let file = |path: &str, proof: Option<Proof>| Wanted {
            from: path.parse().unwrap(),
            to: path.parse().unwrap(),
            bytes: 1,
            proof,
        };
        let mut files = [file("a b", None), file("c/d", Proof::git_blob(&"1".repeat(40)))];
        digests.vouch(&mut files, true).unwrap();
        assert_eq!(files[1].proof, Proof::sha256(&"b".repeat(64)), "the stronger one counts");
        let mut unnamed = [file("e", Proof::sha256(&"e".repeat(64)))];
        assert!(digests.vouch(&mut unnamed, true).unwrap_err().to_string().contains("not named"));
        digests.vouch(&mut unnamed, false).unwrap();
        let mut other = [file("a b", Proof::sha256(&"e".repeat(64)))];
        assert!(digests.vouch(&mut other, false).unwrap_err().to_string().contains("the source has another"));
        for bad in ["nonsense", "abc  x", &format!("{}  x\n{}  x", "a".repeat(64), "b".repeat(64))] {
            assert!(Digests::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
