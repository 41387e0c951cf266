//! A folder, such as a USB stick, instead of a Hub.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    error::PullError,
    listing::Listed,
    proof::Proof,
    signature::{Digests, SUMS_FILE},
};
use crate::{
    domain::limits,
    model::{Pulled, RelPath, Vouched},
};

/// What a folder holds, and what it says of that.
pub(super) struct Folder {
    pub(super) files: Vec<Listed>,
    pub(super) record: Option<Pulled>,
    pub(super) vouched: Vouched,
}

/// Looks into it. Links are followed: a cache of the Hub's own client is made of them.
pub(super) fn look(dir: &Path) -> Result<Folder, PullError> {
    let mut files = Vec::new();
    walk(dir, dir, 0, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let record = Pulled::read(dir)?;
    let mut vouched = Vouched::Nothing;
    for entry in record.iter().flat_map(|record| &record.files) {
        vouched = Vouched::Sums;
        for file in files.iter_mut().filter(|file| file.path.as_str() == entry.path) {
            if file.bytes != entry.bytes {
                let why = format!("{} has {} bytes instead of {}", file.path, file.bytes, entry.bytes);
                return Err(PullError::Given(format!("{}: {why}: the copy is not whole", dir.display())));
            }
            file.proof = Proof::sha256(&entry.sha256);
        }
    }
    if let Some(sums) = text(dir, SUMS_FILE)? {
        vouched = Vouched::Sums;
        let digests = Digests::parse(&sums)?;
        for file in &mut files {
            file.proof = digests.of(file.path.as_str()).cloned().or_else(|| file.proof.take());
        }
    }
    Ok(Folder { files, record, vouched })
}

/// A small file of the folder.
pub(super) fn text(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, PullError> {
    let path = dir.join(name);
    match fs::metadata(&path) {
        Ok(meta) if meta.len() > limits::HUB_TEXT_BYTES_MAX as u64 => {
            let why = format!("{} has more than {} bytes", path.display(), limits::HUB_TEXT_BYTES_MAX);
            Err(PullError::Given(why))
        }
        Ok(_) => fs::read(&path).map(Some).map_err(|e| PullError::io(&path, e)),
        Err(_) => Ok(None),
    }
}

fn walk(top: &Path, dir: &Path, depth: usize, files: &mut Vec<Listed>) -> Result<(), PullError> {
    let given = |why: &str| PullError::Given(format!("{}: {why}", dir.display()));
    if depth > limits::FROM_DIR_DEPTH_MAX {
        return Err(given("has folders in one another without end"));
    }
    for entry in fs::read_dir(dir).map_err(|e| PullError::io(dir, e))? {
        let path: PathBuf = entry.map_err(|e| PullError::io(dir, e))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // A link that leads nowhere is no file.
        let Ok(meta) = fs::metadata(&path) else { continue };
        if hidden {
            continue;
        }
        if meta.is_dir() {
            walk(top, &path, depth + 1, files)?;
            continue;
        }
        let rel = path.strip_prefix(top).ok().and_then(Path::to_str);
        let Some(Ok(rel)) = rel.map(str::parse::<RelPath>) else { continue };
        if meta.is_file() {
            files.push(Listed { path: rel, bytes: meta.len(), proof: None });
        }
        if files.len() > limits::HUB_LISTING_FILES_MAX {
            return Err(given("holds more files than any model: name the model's own folder"));
        }
    }
    Ok(())
}
