//! A package directory that appears whole or not at all.
//!
//! Everything is written into `.{name}.outpost-forge-{pid}` beside the destination, synced,
//! and moved into place by one `rename`. The working directory is locked as long as its
//! process lives; what a killed forge left behind is unlocked and swept by the next one.

use std::{
    fs::{self, File, TryLockError},
    io::Read,
    path::{Path, PathBuf},
};

use outpost::model::FileEntry;
use rustix::fs::{CWD, RenameFlags};
use sha2::{Digest, Sha256};

use crate::{Error, Result, progress::Progress};

/// Part of the working directory's name that marks it as ours.
const MARK: &str = ".outpost-forge-";

/// The working directory of one import.
pub struct Staging {
    dir: PathBuf,
    destination: PathBuf,
    /// Held for its lock.
    lock: File,
}

impl Staging {
    /// Makes the working directory for `destination`, after sweeping leftovers of dead forges.
    pub fn create(destination: &Path, force: bool) -> Result<Self> {
        let (parent, name) = split(destination)?;
        fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        if destination.symlink_metadata().is_ok() && !force {
            let shown = destination.display();
            return Err(Error::Usage(format!("`{shown}` exists already; --force replaces it")));
        }
        check_replaceable(destination)?;
        sweep(&parent, &name)?;
        let dir = parent.join(format!(".{name}{MARK}{}", std::process::id()));
        fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        let lock = File::open(&dir).map_err(Error::io("read", &dir))?;
        lock.lock().map_err(Error::io("lock", &dir))?;
        Ok(Self { dir, destination: parent.join(name), lock })
    }

    /// Where files are written for now.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes one small file.
    pub fn write(&self, name: &str, contents: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, contents).map_err(Error::io("write", &path))
    }

    /// Puts the finished directory into place, replacing what is there.
    pub fn commit(self) -> Result<()> {
        for entry in self.dir.read_dir().map_err(Error::io("read", &self.dir))? {
            let path = entry.map_err(Error::io("read", &self.dir))?.path();
            sync(&path)?;
        }
        sync(&self.dir)?;
        let old = self.destination.symlink_metadata().is_ok();
        let flags = if old { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        rustix::fs::renameat_with(CWD, &self.dir, CWD, &self.destination, flags)
            .map_err(|e| Error::io("create", &self.destination)(e.into()))?;
        if let Some(parent) = self.destination.parent() {
            sync(parent)?;
        }
        // After an exchange our name holds the old package, without one it is gone; `drop` removes it.
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Best effort: what stays is swept by the next import.
        let _ = fs::remove_dir_all(&self.dir);
        let _ = self.lock.unlock();
    }
}

fn split(destination: &Path) -> Result<(PathBuf, String)> {
    let absolute = std::path::absolute(destination).map_err(Error::io("read", destination))?;
    let name = absolute.file_name().and_then(|n| n.to_str()).filter(|n| !n.starts_with('.'));
    match (absolute.parent(), name) {
        (Some(parent), Some(name)) => Ok((parent.to_owned(), name.to_owned())),
        _ => Err(Error::Usage(format!("`{}` is no name for a package's directory", destination.display()))),
    }
}

/// `--force` replaces packages, not somebody's home.
fn check_replaceable(destination: &Path) -> Result<()> {
    let Ok(about) = destination.symlink_metadata() else { return Ok(()) };
    let is_package = about.is_dir() && destination.join(outpost::model::MANIFEST_FILE).is_file();
    let is_empty = about.is_dir() && destination.read_dir().is_ok_and(|mut d| d.next().is_none());
    if is_package || is_empty {
        return Ok(());
    }
    Err(Error::Usage(format!("`{}` is not a model package; it is left alone", destination.display())))
}

/// Removes working directories for `name` whose process is gone.
fn sweep(parent: &Path, name: &str) -> Result<()> {
    for entry in parent.read_dir().map_err(Error::io("read", parent))? {
        let path = entry.map_err(Error::io("read", parent))?.path();
        let prefix = format!(".{name}{MARK}");
        if !path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix)) {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        match lock.try_lock() {
            Ok(()) => fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::io("write", path))
}

/// Size and SHA-256 of every file in `dir`, by name.
pub fn digest_all(dir: &Path, progress: &dyn Progress) -> Result<Vec<FileEntry>> {
    let mut names = Vec::new();
    for entry in dir.read_dir().map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        names.extend(entry.file_name().to_str().map(str::to_owned));
    }
    names.sort();
    let size = |name: &String| dir.join(name).metadata().map_or(0, |m| m.len());
    progress.begin("digests", names.iter().map(size).sum());
    let entry = |path: String| {
        let (bytes, sha256) = digest(&dir.join(&path), progress)?;
        Ok(FileEntry { path, bytes, sha256 })
    };
    names.into_iter().map(entry).collect()
}

/// Size and SHA-256 (lower-case hex) of one file.
pub fn digest(path: &Path, progress: &dyn Progress) -> Result<(u64, String)> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
        progress.advance(count as u64);
    }
    Ok((bytes, outpost::domain::hex(&hash.finalize())))
}

/// SHA-256 of `bytes`, lower-case hex.
pub fn digest_of(bytes: &[u8]) -> String {
    outpost::domain::hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dir: &Path, words: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(outpost::model::MANIFEST_FILE), words).unwrap();
    }

    fn manifest_of(dir: &Path) -> String {
        fs::read_to_string(dir.join(outpost::model::MANIFEST_FILE)).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            dir.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_package_appears_only_at_commit() {
        let home = tempfile::tempdir().unwrap();
        let destination = home.path().join("deep/model");
        let staging = Staging::create(&destination, false).unwrap();
        staging.write("outpost-model.toml", "new").unwrap();
        assert!(!destination.exists());
        staging.commit().unwrap();
        assert_eq!(manifest_of(&destination), "new");
        assert_eq!(names(destination.parent().unwrap()), ["model"]);
    }

    #[test]
    fn an_import_that_fails_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        drop(Staging::create(&home.path().join("model"), false).unwrap());
        assert!(names(home.path()).is_empty());
    }

    #[test]
    fn an_existing_package_is_replaced_only_by_force() {
        let home = tempfile::tempdir().unwrap();
        let destination = home.path().join("model");
        package(&destination, "old");
        assert!(matches!(Staging::create(&destination, false), Err(Error::Usage(_))));
        let staging = Staging::create(&destination, true).unwrap();
        staging.write("outpost-model.toml", "new").unwrap();
        assert_eq!(manifest_of(&destination), "old", "until the new one is whole");
        staging.commit().unwrap();
        assert_eq!(manifest_of(&destination), "new");
        assert_eq!(names(home.path()), ["model"]);
    }

    #[test]
    fn force_does_not_touch_what_is_not_a_package() {
        let home = tempfile::tempdir().unwrap();
        let destination = home.path().join("documents");
        fs::create_dir(&destination).unwrap();
        fs::write(destination.join("letter.txt"), "dear").unwrap();
        assert!(matches!(Staging::create(&destination, true), Err(Error::Usage(_))));
        assert!(destination.join("letter.txt").exists());
    }

    #[test]
    fn leftovers_of_a_killed_forge_are_swept_and_a_living_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let dead = home.path().join(format!(".model{MARK}1"));
        let alive = home.path().join(format!(".model{MARK}2"));
        let other = home.path().join(format!(".other{MARK}3"));
        for dir in [&dead, &alive, &other] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("model.onnx.data"), "half").unwrap();
        }
        let lock = File::open(&alive).unwrap();
        lock.lock().unwrap();
        drop(Staging::create(&home.path().join("model"), false).unwrap());
        assert_eq!((dead.exists(), alive.exists(), other.exists()), (false, true, true));
    }

    #[test]
    fn the_digest_is_sha_256() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a"), "abc").unwrap();
        let files = digest_all(home.path(), &crate::progress::Silent).unwrap();
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((files[0].bytes, files[0].sha256.as_str()), (3, wanted));
    }
}
