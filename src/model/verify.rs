//! Digest verification: each file is hashed once, then remembered.

use std::{fs::File, io::Read, path::Path};

use sha2::{Digest, Sha256};

use super::{
    FileEntry, Package, PackageError,
    memory::{Memory, Sighting},
    package::{metadata, unreadable},
};
use crate::domain::{hex, limits};

/// How a verification went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files that were read and hashed now.
    pub hashed: usize,
    /// Files that are as they were when they were hashed before.
    pub remembered: usize,
}

impl Package {
    /// Makes sure that every file has the digest which the manifest gives.
    ///
    /// Files that are as they were at an earlier verification are taken as good, unless
    /// `force`. `seen` is the file that remembers; it may be shared by many packages.
    /// `progress` is told the bytes done and the bytes there are in all.
    ///
    /// # Errors
    /// The first file that is not what the manifest says. It is forgotten, so that the
    /// next verification reads it again.
    pub fn verify(
        &self,
        seen: &Path,
        force: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, PackageError> {
        let mut memory = Memory::load(seen);
        let outcome = self.verify_files(&mut memory, force, progress);
        let news = outcome.as_ref().map_or(true, |verified| verified.hashed > 0);
        if news && let Err(error) = memory.store(seen) {
            tracing::warn!(path = %seen.display(), %error, "cannot remember verified files; they will be hashed again");
        }
        outcome
    }

    fn verify_files(
        &self,
        memory: &mut Memory,
        force: bool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, PackageError> {
        let total = self.manifest.files.iter().map(|entry| entry.bytes).sum();
        let dir = self.dir.canonicalize().map_err(|source| unreadable(&self.dir, source))?;
        let mut verified = Verified::default();
        let mut done = 0;
        progress(done, total);
        for entry in &self.manifest.files {
            let path = dir.join(&entry.path);
            let found = metadata(&path)?;
            self.check_size(entry, &found)?;
            if !force && memory.knows(&Sighting::new(&path, &found, &entry.sha256)) {
                verified.remembered += 1;
            } else {
                memory.forget(&path);
                memory.remember(hash(&path, entry, &mut |bytes| progress(done + bytes, total))?);
                verified.hashed += 1;
            }
            done += entry.bytes;
            progress(done, total);
        }
        Ok(verified)
    }
}

/// Hashes the file at `path` and holds it against `entry`.
fn hash(path: &Path, entry: &FileEntry, progress: &mut dyn FnMut(u64)) -> Result<Sighting, PackageError> {
    let unreadable = |source| unreadable(path, source);
    let mut file = File::open(path).map_err(unreadable)?;
    let before = Sighting::new(path, &file.metadata().map_err(unreadable)?, &entry.sha256);

    let mut sha256 = Sha256::new();
    let mut chunk = vec![0; limits::HASH_CHUNK_BYTES];
    let mut done = 0;
    // One byte more than expected is enough to know that the file grew.
    while done <= entry.bytes {
        let read = file.read(&mut chunk).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        sha256.update(&chunk[..read]);
        done += read as u64;
        progress(done.min(entry.bytes));
    }

    let after = Sighting::new(path, &file.metadata().map_err(unreadable)?, &entry.sha256);
    if before != after {
        return Err(PackageError::Changed { path: path.to_owned() });
    }
    let found = hex(&sha256.finalize());
    if !found.eq_ignore_ascii_case(&entry.sha256) {
        return Err(PackageError::Digest { path: path.to_owned(), expected: entry.sha256.clone(), found });
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;
    use crate::model::fixture::write;

    const HASHED: Verified = Verified { hashed: 2, remembered: 0 };
    const REMEMBERED: Verified = Verified { hashed: 0, remembered: 2 };

    fn quiet(_: u64, _: u64) {}

    #[test]
    fn each_file_is_hashed_once_and_again_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let package = write(dir.path(), 10, &[("a.onnx", b"abc"), ("b.data", b"defg")]);
        let seen = dir.path().join("seen.json");
        assert_eq!(package.verify(&seen, false, &mut quiet).unwrap(), HASHED);
        assert_eq!(package.verify(&seen, false, &mut quiet).unwrap(), REMEMBERED);
        assert_eq!(package.verify(&seen, true, &mut quiet).unwrap(), HASHED);
        fs::write(&seen, "nonsense").unwrap();
        assert_eq!(package.verify(&seen, false, &mut quiet).unwrap(), HASHED);
    }

    #[test]
    fn a_touched_or_replaced_file_is_hashed_again() {
        let dir = tempfile::tempdir().unwrap();
        let package = write(dir.path(), 10, &[("a.onnx", b"abc"), ("b.data", b"defg")]);
        let seen = dir.path().join("seen.json");
        let file = dir.path().join("b.data");
        package.verify(&seen, false, &mut quiet).unwrap();
        let mtime = fs::metadata(&file).unwrap().modified().unwrap();

        File::open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(package.verify(&seen, false, &mut quiet).unwrap(), Verified { hashed: 1, remembered: 1 });

        // Same size and time as the original, but another inode.
        fs::write(dir.path().join("new"), b"XXXX").unwrap();
        fs::rename(dir.path().join("new"), &file).unwrap();
        File::open(&file).unwrap().set_modified(mtime).unwrap();
        let error = package.verify(&seen, false, &mut quiet).unwrap_err();
        assert!(matches!(error, PackageError::Digest { .. }), "{error}");
        assert!(error.to_string().contains("b.data"));
    }

    #[test]
    fn a_damaged_file_is_never_remembered_as_good() {
        let dir = tempfile::tempdir().unwrap();
        let package = write(dir.path(), 10, &[("a.onnx", b"abc"), ("b.data", b"defg")]);
        let seen = dir.path().join("seen.json");
        fs::write(dir.path().join("b.data"), b"dXfg").unwrap();
        for _ in 0..2 {
            let error = package.verify(&seen, false, &mut quiet).unwrap_err();
            assert!(matches!(error, PackageError::Digest { .. }), "{error}");
        }
    }

    #[test]
    fn a_memory_that_cannot_be_written_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let package = write(dir.path(), 10, &[("a.onnx", b"abc"), ("b.data", b"defg")]);
        let seen = dir.path().join("a.onnx/seen.json");
        assert_eq!(package.verify(&seen, false, &mut quiet).unwrap(), HASHED);
    }

    #[test]
    fn progress_ends_at_the_total_and_never_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let big = vec![7; limits::HASH_CHUNK_BYTES * 2 + 5];
        let package = write(dir.path(), 10, &[("a.onnx", b"abc"), ("b.data", &big)]);
        let mut steps = Vec::new();
        package
            .verify(&dir.path().join("seen.json"), false, &mut |done, total| steps.push((done, total)))
            .unwrap();
        let total = big.len() as u64 + 3;
        assert_eq!(steps.first(), Some(&(0, total)));
        assert_eq!(steps.last(), Some(&(total, total)));
        assert!(steps.len() > 5 && steps.is_sorted());
    }
}
