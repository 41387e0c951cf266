//! The end of a pull: the record, and one rename.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    disk::{make_dir, sync_dir},
    error::PullError,
    layout::Wanted,
    partial::{Partial, State},
    proof::{Proof, Sums},
};
use crate::{
    domain::limits,
    model::{FileEntry, PULLED_FILE, Pulled},
};

/// Makes the models' folder. What root makes belongs to whom the folder above belongs, so that the daemon
/// can go back to the former package by itself.
pub(super) fn make_models(models: &Path) -> Result<(), PullError> {
    if models.is_dir() {
        return Ok(());
    }
    make_dir(models)?;
    let above = models.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if rustix::process::geteuid().is_root()
        && let Ok(owner) = fs::metadata(above)
    {
        let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid()), rustix::fs::Gid::from_raw(owner.gid()));
        // Where it fails, the daemon says that it cannot write there.
        let _ = rustix::fs::chown(models, Some(uid), Some(gid));
    }
    Ok(())
}

/// What is at the package's place already.
pub(super) enum Place {
    Free,
    /// The same, whole.
    Same(Box<Pulled>),
}

/// Looks at the place of a package. Something else there is an error: nothing that may be in use is replaced.
pub(super) fn look(dir: &Path, state: &State) -> Result<Place, PullError> {
    if fs::symlink_metadata(dir).is_err() {
        return Ok(Place::Free);
    }
    let same = |record: &Pulled| {
        let files = |file: &Wanted| {
            record.files.iter().any(|entry| {
                let sum = !matches!(&file.proof, Some(Proof::Sha256(sum)) if *sum != entry.sha256);
                entry.path == file.to.as_str() && entry.bytes == file.bytes && sum
            })
        };
        let origin = |a: Option<&str>, b: Option<&str>| a == b || b.is_none();
        record.is_whole(dir)
            && record.layout == state.layout
            && record.variant == state.variant
            && origin(record.commit.as_deref(), state.commit.as_ref().map(super::name::Commit::as_str))
            && state.files.iter().all(files)
            // What is not signed does not become so by being there.
            && (state.signed_by.is_none() || record.signed_by == state.signed_by)
    };
    match Pulled::read(dir) {
        Ok(Some(record)) if same(&record) => Ok(Place::Same(Box::new(record))),
        _ => Err(PullError::Exists { dir: dir.to_owned() }),
    }
}

/// Writes the record and gives the package its place, in one step.
pub(super) fn install(partial: Partial, state: &State, dir: &Path) -> Result<Pulled, PullError> {
    let done = partial.done();
    let files = state.files.iter().map(|file| entry(&done, file)).collect::<Result<Vec<_>, _>>()?;
    let record = Pulled {
        variant: state.variant.clone(),
        repo: state.repo.as_ref().map(ToString::to_string),
        commit: state.commit.as_ref().map(ToString::to_string),
        signed_by: state.signed_by.clone(),
        comment: state.comment.clone(),
        ..Pulled::new(state.layout, state.vouched, files)
    };
    let text = record.to_toml().map_err(|e| PullError::Given(e.to_string()))?;
    partial.put(&PULLED_FILE.parse().map_err(PullError::Given)?, text.as_bytes())?;
    // Whatever the umask was: the daemon is another user than the one who pulls.
    open_up(&done)?;
    sync_dir(&done);
    let moved = match renameat_with(CWD, &done, CWD, dir, RenameFlags::NOREPLACE) {
        // A file system that knows no such flag: a folder replaces an empty one at most.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(&done, dir),
        moved => moved.map_err(io::Error::from),
    };
    moved.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
            PullError::Exists { dir: dir.to_owned() }
        }
        _ => PullError::io(dir, e),
    })?;
    sync_dir(dir.parent().unwrap_or(dir));
    partial.close();
    Ok(record)
}

/// What the record says of a file. Its SHA-256 is the one it was verified by, or is taken now.
fn entry(done: &Path, file: &Wanted) -> Result<FileEntry, PullError> {
    let sha256 = match &file.proof {
        Some(Proof::Sha256(sum)) => sum.clone(),
        _ => sha256(&file.to.below(done))?,
    };
    Ok(FileEntry { path: file.to.to_string(), bytes: file.bytes, sha256 })
}

fn sha256(path: &Path) -> Result<String, PullError> {
    let io = |e| PullError::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut sums = Sums::new(0, None);
    let mut piece = vec![0; limits::HASH_CHUNK_BYTES];
    loop {
        match io::Read::read(&mut file, &mut piece).map_err(io)? {
            0 => return Ok(sums.finish().sha256),
            n => sums.update(&piece[..n]),
        }
    }
}

fn open_up(dir: &Path) -> Result<(), PullError> {
    let set = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| PullError::io(path, e))
    };
    set(dir, 0o755)?;
    let entries = fs::read_dir(dir).map_err(|e| PullError::io(dir, e))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()).collect::<Vec<PathBuf>>() {
        if path.is_dir() { open_up(&path)? } else { set(&path, 0o644)? }
    }
    Ok(())
}
