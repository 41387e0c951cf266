//! The shelf: which package is used, and which was before it.
//!
//! ```text
//! <models>/<name>/      packages
//! <models>/current      → <name>, the one that is loaded
//! <models>/previous     → <name>, the one to go back to
//! <models>/.shelf.toml  whether `current` has proved itself, and what happened to the last one that did not
//! ```
//! A package that is activated is on trial. It is over when it has been loaded once and has passed its
//! self-test. A failure, or a process that ends while it is loaded, brings the one before it back.
//!
//! What decides is where `current` points: everything else is written before that link is replaced, in one step,
//! and means nothing until then. So a power cut at any moment leaves one of the two.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Layout, MANIFEST_FILE, PackageName, Pulled, package::read_text};
use crate::domain::limits;

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const STATE: &str = ".shelf.toml";
const LOCK: &str = ".shelf.lock";

/// Why the shelf does not change.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says in its words what it is")]
pub enum ShelfError {
    #[error("there is no package `{name}` in {}; `outpost models installed` shows what there is", dir.display())]
    NotThere { name: PackageName, dir: PathBuf },
    #[error(
        "`{0}` holds a GGUF file, which is not run itself: make a package of it with `outpost-forge import`, and activate \
         that"
    )]
    Gguf(PackageName),
    #[error("`{0}` is no package: it has neither `outpost-model.toml` nor a record of a pull")]
    NoPackage(PackageName),
    #[error("there is no package to go back to")]
    NoPrevious,
    #[error("`{name}` is {what}: activate another one first")]
    InUse { name: PackageName, what: &'static str },
    #[error("{}: {source}. The daemon's user must be able to write there", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What is known beside the links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned: Option<Returned>,
}

/// A package that has not proved itself yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub package: PackageName,
    /// Times that its loading has begun.
    pub loads: u32,
    /// Why it could not be loaded, when there was none to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A package that did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// Which.
    pub from: PackageName,
    /// Why.
    pub why: String,
}

/// How the shelf is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The package that is used.
    pub current: Option<PackageName>,
    /// The one to go back to.
    pub previous: Option<PackageName>,
    /// Whether `current` has still to prove itself.
    pub trial: Option<Trial>,
    /// The last one that did not.
    pub returned: Option<Returned>,
}

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its name.
    pub name: PackageName,
    /// Where it is.
    pub dir: PathBuf,
}

/// A package in the models' folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub name: PackageName,
    /// How it is laid out; `None`: it is no package.
    pub layout: Option<Layout>,
    /// Bytes of its files, as it says itself.
    pub bytes: u64,
}

/// The models' folder.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
}

/// What is to be done before a package is loaded.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Load(PackageName),
    /// Count this attempt first.
    Try(PackageName),
    /// It was given up; go back first.
    GoBack {
        why: String,
    },
    /// Going back was interrupted.
    FinishReturn,
}

/// The decision. `current` counts: a trial of another package was never begun, or is over.
fn step(view: &View) -> Step {
    let Some(current) = &view.current else { return Step::Nothing };
    if view.previous.is_some() && view.returned.as_ref().is_some_and(|returned| returned.from == *current) {
        return Step::FinishReturn;
    }
    match &view.trial {
        None => Step::Load(current.clone()),
        Some(trial) if trial.loads >= limits::TRIAL_LOADS_MAX && view.previous.is_some() => Step::GoBack {
            why: format!(
                "the daemon ended {} times while it was loaded; was there too little memory?",
                trial.loads
            ),
        },
        Some(_) => Step::Try(current.clone()),
    }
}

impl Shelf {
    /// That of a models' folder, which need not be there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// How it is.
    pub fn view(&self) -> View {
        let current = self.link(CURRENT);
        let previous = self.link(PREVIOUS).filter(|previous| Some(previous) != current.as_ref());
        let state = self.state();
        let trial = state.trial.filter(|trial| Some(&trial.package) == current.as_ref());
        View { current, previous, trial, returned: state.returned }
    }

    /// What is to be loaded now; `None` when nothing was ever activated. An attempt at a package on trial is
    /// counted on disk before this returns.
    pub fn begin(&self) -> Result<Option<Load>, ShelfError> {
        if self.chosen().is_none() {
            return Ok(None);
        }
        let _lock = self.lock()?;
        loop {
            let view = self.view();
            let load = |name: PackageName| Some(Load { dir: self.dir.join(name.as_str()), name });
            match step(&view) {
                Step::Nothing => return Ok(None),
                Step::Load(name) => return Ok(load(name)),
                Step::Try(name) => {
                    let loads = view.trial.map_or(0, |trial| trial.loads) + 1;
                    let trial = Trial { package: name.clone(), loads, failed: None };
                    self.write(&State { trial: Some(trial), returned: view.returned })?;
                    return Ok(load(name));
                }
                Step::GoBack { why } => self.go_back(&view, why)?,
                Step::FinishReturn => self.point_back(&view)?,
            }
        }
    }

    /// What `current` points to, without counting.
    pub fn chosen(&self) -> Option<Load> {
        self.link(CURRENT).map(|name| Load { dir: self.dir.join(name.as_str()), name })
    }

    /// `name` was loaded and has passed its self-test.
    pub fn passed(&self, name: &PackageName) -> Result<(), ShelfError> {
        let on_trial = |view: &View| view.trial.as_ref().is_some_and(|trial| trial.package == *name);
        if !on_trial(&self.view()) {
            return Ok(());
        }
        let _lock = self.lock()?;
        let view = self.view();
        if on_trial(&view) { self.write(&State { trial: None, returned: view.returned }) } else { Ok(()) }
    }

    /// `name` could not be loaded, or failed its self-test. Whether another package is to be loaded instead.
    pub fn failed(&self, name: &PackageName, why: &str) -> Result<bool, ShelfError> {
        let _lock = self.lock()?;
        let view = self.view();
        let Some(trial) = view.trial.clone().filter(|trial| trial.package == *name) else { return Ok(false) };
        if view.previous.is_none() {
            let trial = Trial { failed: Some(why.to_owned()), ..trial };
            self.write(&State { trial: Some(trial), returned: view.returned })?;
            return Ok(false);
        }
        self.go_back(&view, why.to_owned())?;
        Ok(true)
    }

    /// Makes `name` the one that is used, on trial. Whether anything changed.
    pub fn activate(&self, name: &PackageName) -> Result<bool, ShelfError> {
        self.check(name)?;
        let _lock = self.lock()?;
        let view = self.view();
        if view.current.as_ref() == Some(name) {
            let trial = view.trial.map(|_| Trial { package: name.clone(), loads: 0, failed: None });
            let anew = trial.is_some();
            if anew {
                self.write(&State { trial, returned: None })?;
            }
            return Ok(anew);
        }
        let trial = Trial { package: name.clone(), loads: 0, failed: None };
        self.write(&State { trial: Some(trial), returned: None })?;
        // One that has not proved itself is none to go back to.
        if let Some(proved) = view.current.filter(|_| view.trial.is_none()) {
            self.point(PREVIOUS, &proved)?;
        }
        self.point(CURRENT, name)?;
        Ok(true)
    }

    /// Removes a package that is not used.
    pub fn remove(&self, name: &PackageName) -> Result<(), ShelfError> {
        let _lock = self.lock()?;
        let view = self.view();
        for (used, what) in
            [(&view.current, "the one that is used"), (&view.previous, "the one to go back to")]
        {
            if used.as_ref() == Some(name) {
                return Err(ShelfError::InUse { name: name.clone(), what });
            }
        }
        let dir = self.dir.join(name.as_str());
        if !dir.is_dir() {
            return Err(ShelfError::NotThere { name: name.clone(), dir: self.dir.clone() });
        }
        // Under another name first: half a package is none.
        let going = self.dir.join(format!(".removed-{name}"));
        let io = |source| ShelfError::Io { path: dir.clone(), source };
        if going.exists() {
            fs::remove_dir_all(&going).map_err(io)?;
        }
        fs::rename(&dir, &going).map_err(io)?;
        fs::remove_dir_all(&going).map_err(io)
    }

    /// Every folder with a name that a package can have.
    pub fn installed(&self) -> Vec<Installed> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let dirs = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
        let one = |entry: fs::DirEntry| {
            let name: PackageName = entry.file_name().to_str()?.parse().ok()?;
            let (layout, bytes) = what(&entry.path());
            Some(Installed { name, layout, bytes })
        };
        let mut all: Vec<_> = dirs.filter_map(one).take(limits::MODELS_LISTED_MAX).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn check(&self, name: &PackageName) -> Result<(), ShelfError> {
        let dir = self.dir.join(name.as_str());
        if !dir.is_dir() {
            return Err(ShelfError::NotThere { name: name.clone(), dir: self.dir.clone() });
        }
        match what(&dir).0 {
            Some(Layout::Gguf) => Err(ShelfError::Gguf(name.clone())),
            None => Err(ShelfError::NoPackage(name.clone())),
            Some(_) => Ok(()),
        }
    }

    /// Notes why, and points back.
    fn go_back(&self, view: &View, why: String) -> Result<(), ShelfError> {
        if let Some(from) = view.current.clone() {
            self.write(&State { trial: None, returned: Some(Returned { from, why }) })?;
        }
        self.point_back(view)
    }

    fn point_back(&self, view: &View) -> Result<(), ShelfError> {
        let Some(previous) = &view.previous else { return Ok(()) };
        self.point(CURRENT, previous)?;
        // There is none before it any more; a link that stays means the same.
        let _ = fs::remove_file(self.dir.join(PREVIOUS));
        Ok(())
    }

    /// Where a link points, when that is a package's name.
    fn link(&self, link: &str) -> Option<PackageName> {
        fs::read_link(self.dir.join(link)).ok()?.to_str()?.parse().ok()
    }

    /// Replaces a link in one step.
    fn point(&self, link: &str, to: &PackageName) -> Result<(), ShelfError> {
        let (path, fresh) = (self.dir.join(link), self.dir.join(format!(".{link}.new")));
        let replace = || {
            let _ = fs::remove_file(&fresh);
            symlink(to.as_str(), &fresh)?;
            fs::rename(&fresh, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        replace().map_err(|source| ShelfError::Io { path: path.clone(), source })
    }

    /// A state that cannot be read says nothing: the links are what counts.
    fn state(&self) -> State {
        let text = read_text(&self.dir.join(STATE), limits::PULL_RECORD_BYTES_MAX).unwrap_or_default();
        toml::from_str(&text).unwrap_or_default()
    }

    fn write(&self, state: &State) -> Result<(), ShelfError> {
        let (path, fresh) = (self.dir.join(STATE), self.dir.join(".shelf.toml.new"));
        let text = toml::to_string(state).unwrap_or_default();
        let write = || {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| ShelfError::Io { path: path.clone(), source })
    }

    /// Daemon and command line change the shelf one after the other.
    fn lock(&self) -> Result<File, ShelfError> {
        let path = self.dir.join(LOCK);
        let io = |source| ShelfError::Io { path: path.clone(), source };
        // Opened for reading, so that root's lock is no bar to the daemon's user.
        let open = OpenOptions::new().read(true).open(&path);
        let open = open.or_else(|_| {
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o644).open(&path)
        });
        let file = open.map_err(io)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| io(e.into()))?;
        Ok(file)
    }
}

/// How the package in `dir` is laid out, and its bytes.
fn what(dir: &Path) -> (Option<Layout>, u64) {
    if let Ok(Some(record)) = Pulled::read(dir) {
        return (Some(record.layout), record.bytes());
    }
    match read_text(&dir.join(MANIFEST_FILE), limits::MANIFEST_BYTES_MAX) {
        Ok(text) => {
            let bytes = super::Manifest::parse(&text).map(|m| m.files.iter().map(|f| f.bytes).sum());
            (Some(Layout::Outpost), bytes.unwrap_or(0))
        }
        Err(_) => (None, 0),
    }
}

#[cfg(test)]
mod tests;
