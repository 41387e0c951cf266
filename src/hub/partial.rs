//! An unfinished pull on disk.
//!
//! ```text
//! <models>/.pull/<repo>@<commit>+<variant>.lock    held by whoever works on it
//! <models>/.pull/<repo>@<commit>+<variant>/state.toml   what is to come
//!                                          mark         what of the part is on the disk itself
//!                                          part/…       files that are not whole
//!                                          done/…       files that are, and were verified: the package to be
//! ```
//! Nothing here is ever removed but by the end of the pull, or by `outpost pull --discard`.

mod part;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub(super) use part::Part;

use super::{
    disk::{is_file, make_dir, make_parents, replace, sync_dir},
    error::PullError,
    layout::Wanted,
    name::{Commit, RepoId, Revision},
};
use crate::{
    domain::limits,
    model::{Layout, PackageName, RelPath, Vouched},
};

/// Folder of unfinished pulls in the models' folder.
const FOLDER: &str = ".pull";
const STATE: &str = "state.toml";
const FORMAT: u32 = 1;

/// What is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub(super) format: u32,
    /// What the package is to be called.
    pub name: PackageName,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoId>,
    /// At which commit: pinned, wherever its branch goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// What was asked for by the name of `commit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// What was asked for of several, in words that are only compared.
    pub wish: String,
    /// How it is laid out.
    pub layout: Layout,
    /// What was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What vouches for it.
    pub vouched: Vouched,
    /// The key that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Its trusted comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The files.
    #[serde(rename = "file")]
    pub files: Vec<Wanted>,
}

impl State {
    /// Of a choice whose origin and vouchers are still to be filled in.
    pub(super) fn new(
        name: PackageName,
        choice: super::layout::Choice,
        wish: String,
        vouched: Vouched,
    ) -> Self {
        let super::layout::Choice { layout, variant, files } = choice;
        let (repo, commit, revision, signed_by, comment) = (None, None, None, None, None);
        Self {
            format: FORMAT,
            name,
            repo,
            commit,
            revision,
            wish,
            layout,
            variant,
            vouched,
            signed_by,
            comment,
            files,
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    /// The name of its folder.
    pub(super) fn key(&self) -> String {
        let clean = |text: &str, max: usize| -> String {
            let sound = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
            text.chars().map(sound).take(max).collect()
        };
        let from = match (&self.repo, &self.commit) {
            (Some(repo), Some(commit)) => {
                format!("{}@{commit}", clean(&repo.as_str().replace('/', "--"), 130))
            }
            _ => format!("{}@folder", self.name),
        };
        match &self.variant {
            Some(variant) => format!("{from}+{}", clean(variant, 60)),
            None => from,
        }
    }
}

/// An unfinished pull that nobody else works on.
#[derive(Debug)]
pub(super) struct Partial {
    dir: PathBuf,
    lock_path: PathBuf,
    _lock: File,
    boot_id: String,
}

impl Partial {
    /// Takes the one for `state`, or begins it. What is there of another plan for the same is looked at anew.
    pub(super) fn take(models: &Path, state: &State, boot_id: &str) -> Result<Self, PullError> {
        let folder = models.join(FOLDER);
        make_dir(&folder)?;
        let key = state.key();
        let (lock_path, lock) = lock(&folder, &key)?;
        let dir = folder.join(key);
        for dir in [&dir, &dir.join("part"), &dir.join("done")] {
            make_dir(dir)?;
        }
        let partial = Self { dir, lock_path, _lock: lock, boot_id: boot_id.to_owned() };
        let before = read_state(&partial.dir);
        if before.as_ref().is_some_and(|before| before.files != state.files) {
            // What vouched for them then is not what does now: they are to be verified once more.
            for file in before.into_iter().flat_map(|before| before.files) {
                if partial.done_path(&file.to).exists() {
                    let part = partial.part_path(&file.to);
                    make_parents(&part)?;
                    fs::rename(partial.done_path(&file.to), &part).map_err(|e| PullError::io(&part, e))?;
                }
            }
        }
        let text = toml::to_string(state).map_err(|e| PullError::Given(e.to_string()))?;
        replace(&partial.dir.join(STATE), text.as_bytes()).map_err(|e| PullError::io(&partial.dir, e))?;
        Ok(partial)
    }

    /// The package to be.
    pub(super) fn done(&self) -> PathBuf {
        self.dir.join("done")
    }

    /// Where a file of it is, or will be.
    pub(super) fn done_path(&self, path: &RelPath) -> PathBuf {
        path.below(&self.done())
    }

    fn part_path(&self, path: &RelPath) -> PathBuf {
        path.below(&self.dir.join("part"))
    }

    /// Whether a file is whole and was verified.
    pub(super) fn is_done(&self, file: &Wanted) -> bool {
        is_file(&self.done_path(&file.to), file.bytes)
    }

    /// The part of a file that is there, behind which the rest is written.
    pub(super) fn part(&self, file: &Wanted) -> Result<Part, PullError> {
        let path = self.part_path(&file.to);
        make_parents(&path)?;
        let io = |e| PullError::io(&path, e);
        let mut options = OpenOptions::new();
        let part = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o644)
            .open(&path)
            .map_err(io)?;
        let there = part.metadata().map_err(io)?.len();
        let sound = self.on_disk(&file.to, there);
        let sound = if sound > file.bytes || file.proof.is_none() { 0 } else { sound };
        part.set_len(sound).map_err(io)?;
        let head = format!("{}\n{}\n", self.boot_id, file.to);
        let mut part = Part::new(part, path, sound, self.dir.join("mark"), head);
        part.sync()?;
        Ok(part)
    }

    /// How much of a part is certain: all that was written in this boot; after another one, what was put on
    /// the disk itself. Behind that there may be nothing but zeros.
    fn on_disk(&self, path: &RelPath, there: u64) -> u64 {
        let mark = fs::read_to_string(self.dir.join("mark")).unwrap_or_default();
        let mut lines = mark.lines();
        let (boot, marked) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let synced = lines.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        // Only one is written at a time, and it is on the disk before the next one begins.
        if marked == path.as_str() && boot != self.boot_id { there.min(synced) } else { there }
    }

    /// Gives a whole and verified part its place in the package.
    pub(super) fn keep(&self, part: Part, file: &Wanted) -> Result<(), PullError> {
        let to = self.done_path(&file.to);
        part.file.sync_all().map_err(|e| PullError::io(&part.path, e))?;
        make_parents(&to)?;
        fs::rename(&part.path, &to).map_err(|e| PullError::io(&to, e))?;
        sync_dir(to.parent().unwrap_or(&to));
        Ok(())
    }

    /// Writes a small file of the package as a whole.
    pub(super) fn put(&self, path: &RelPath, content: &[u8]) -> Result<(), PullError> {
        let to = self.done_path(path);
        make_parents(&to)?;
        replace(&to, content).map_err(|e| PullError::io(&to, e))
    }

    /// Removes what is left after the package has gone to its place.
    pub(super) fn close(self) {
        remove_dir(&self.dir);
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// An unfinished pull in a list.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// By which it is discarded.
    pub key: String,
    /// What it is; `None` when that cannot be read any more.
    pub state: Option<State>,
    /// Bytes that are there.
    pub there: u64,
    changed: Option<SystemTime>,
}

/// All that are there.
pub fn unfinished(models: &Path) -> Vec<Unfinished> {
    let Ok(entries) = fs::read_dir(models.join(FOLDER)) else { return Vec::new() };
    let dirs = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    let one = |entry: fs::DirEntry| {
        let dir = entry.path();
        let state = read_state(&dir);
        let there = state.iter().flat_map(|s| &s.files).map(|file| there(&dir, file)).sum();
        let changed = fs::metadata(dir.join(STATE)).and_then(|m| m.modified()).ok();
        Some(Unfinished { key: entry.file_name().into_string().ok()?, state, there, changed })
    };
    let mut all: Vec<_> = dirs.filter_map(one).take(limits::MODELS_LISTED_MAX).collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

/// The one that goes on when this is asked for without a revision: the last that was begun.
pub(super) fn begun(models: &Path, repo: &RepoId, wish: &str) -> Option<State> {
    let mut all: Vec<_> = unfinished(models);
    all.retain(|one| one.state.as_ref().is_some_and(|s| s.repo.as_ref() == Some(repo) && s.wish == wish));
    all.into_iter().max_by_key(|one| one.changed)?.state
}

/// Removes one; whether there was one.
pub fn discard(models: &Path, key: &str) -> Result<bool, PullError> {
    let folder = models.join(FOLDER);
    let plain = key.parse::<RelPath>().is_ok_and(|path| path.folder().is_empty());
    if !plain || !folder.join(key).is_dir() {
        return Ok(false);
    }
    let (path, _lock) = lock(&folder, key)?;
    let dir = folder.join(key);
    fs::remove_dir_all(&dir).map_err(|e| PullError::io(&dir, e))?;
    let _ = fs::remove_file(path);
    Ok(true)
}

/// Bytes that are there of what `state` wants, before its lock is taken.
pub(super) fn bytes_there(models: &Path, state: &State) -> u64 {
    let dir = models.join(FOLDER).join(state.key());
    state.files.iter().map(|file| there(&dir, file)).sum()
}

fn there(dir: &Path, file: &Wanted) -> u64 {
    let size = |folder: &str| fs::metadata(file.to.below(&dir.join(folder))).map_or(0, |m| m.len());
    size("done").max(size("part")).min(file.bytes)
}

fn read_state(dir: &Path) -> Option<State> {
    let path = dir.join(STATE);
    fs::metadata(&path).ok().filter(|m| m.is_file() && m.len() <= limits::PULL_RECORD_BYTES_MAX)?;
    let state: State = toml::from_str(&fs::read_to_string(path).ok()?).ok()?;
    (state.format == FORMAT).then_some(state)
}

/// A lock of the kernel's: it goes with the process. The file is removed at the end, so whoever gets the
/// lock of a file that is no longer the one of that name tries again.
fn lock(folder: &Path, key: &str) -> Result<(PathBuf, File), PullError> {
    let path = folder.join(format!("{key}.lock"));
    loop {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o644).open(&path);
        let file = file.map_err(|e| PullError::io(&path, e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(PullError::Busy { lock: path }),
            Err(e) => return Err(PullError::io(&path, e.into())),
        }
        let inode = |m: io::Result<fs::Metadata>| m.map(|m| (m.dev(), m.ino())).ok();
        if inode(file.metadata()) == inode(fs::metadata(&path)) {
            return Ok((path, file));
        }
    }
}

fn remove_dir(dir: &Path) {
    if let Err(error) = fs::remove_dir_all(dir) {
        tracing::warn!(dir = %dir.display(), %error, "what is left of a finished pull could not be removed");
    }
}

#[cfg(test)]
mod tests;
