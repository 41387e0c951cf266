//! What can be wrong with a GGUF file.

use crate::limits;

/// Why a GGUF file is refused. Names from the file are shown escaped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum GgufError {
    #[error("not a GGUF file: it begins with {found:02x?} and not with `GGUF`")]
    Magic { found: [u8; 4] },
    #[error("a big-endian GGUF file; only little-endian files are read")]
    BigEndian,
    #[error("GGUF version {version}; versions 2 and 3 are read")]
    Version { version: u32 },
    #[error("{what} ends at byte {end} but the file has {len}: the file is truncated, download it again")]
    Truncated { what: String, end: u64, len: u64 },
    #[error("{what}: {found} is more than the limit of {limit}: the file is damaged")]
    TooMuch { what: String, found: u64, limit: u64 },
    #[error("the header is longer than {} bytes: the file is damaged", limits::HEADER_BYTES_MAX)]
    HeaderTooLong,
    #[error("{what} is not UTF-8: the file is damaged")]
    NotUtf8 { what: String },
    #[error("metadata `{key}`: {reason}")]
    Metadata { key: String, reason: String },
    #[error("tensor `{tensor}`: {reason}")]
    Tensor { tensor: String, reason: String },
    #[error("tensors `{first}` and `{second}` overlap: the file is damaged")]
    Overlap { first: String, second: String },
    #[error("cannot read {what}: {reason}")]
    Read { what: String, reason: String },
}

impl GgufError {
    pub(crate) fn metadata(key: &str, reason: impl Into<String>) -> Self {
        Self::Metadata { key: shown(key), reason: reason.into() }
    }

    pub(crate) fn tensor(tensor: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { tensor: shown(tensor), reason: reason.into() }
    }
}

/// A name out of a file, safe for a terminal: control characters escaped.
pub(super) fn shown(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
