//! What is made of a model once for this board, and kept on the disk.
//!
//! - The weights as ONNX Runtime packs them for the processor. It packs them when a model is
//!   loaded, which takes time and as much memory again, and that memory cannot be given back.
//!   Written down they are mapped like any file: the kernel may drop them and read them again,
//!   a restart finds them in memory, and two processes share them.
//! - The graph as an accelerator's compiler leaves it (a context binary). Compiling can take
//!   minutes.
//!
//! What is written holds for one package, one version of the library, and one processor or
//! accelerator with its driver; for any other it is made anew.

mod key;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use serde::{Deserialize, Serialize};

use super::{Graph, GraphError, GraphOptions, Provider};
use crate::{
    domain::limits,
    model::{Package, Variant},
};

/// Says what lies beside it. It is written last.
const NOTE: &str = "prepared.toml";
/// The graph among packed weights.
pub(super) const PACKED_GRAPH: &str = "model.onnx";
const PART: &str = "part";

/// Where what was prepared is kept, and what is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Directory; one below it for each thing.
    pub dir: PathBuf,
    /// Disk that stays free, bytes.
    pub keep_free: u64,
    /// The processors, in words that differ where their abilities do.
    pub processors: String,
    /// The kernel's release, and with it that of its drivers.
    pub kernel: String,
    /// Packages of so many bytes have their weights packed; `None`: none has.
    pub pack_from: Option<u64>,
    /// What accelerators' compilers leave.
    pub compiled: bool,
}

/// Files as they were when they were written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(default)]
    file: Vec<Noted>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    name: String,
    bytes: u64,
    /// Nanoseconds since 1970.
    changed: u64,
}

/// Why something is not kept. The model runs without it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotKept {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Graph(#[from] GraphError),
    #[error("it takes {} MB of disk, of which {} can be had", .needed / 1_000_000, .free / 1_000_000)]
    NoRoom { needed: u64, free: u64 },
}

impl NotKept {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl Prepared {
    /// Name of the packed weights of `variant`, where it is worth having them.
    pub(super) fn packed_name(&self, package: &Package, variant: &Variant, runtime: &str) -> Option<String> {
        let is_worth_it = self.pack_from.is_some_and(|least| package.weights_bytes(variant) >= least);
        // Without a list of its files nobody would notice that a package has changed.
        let can_be = variant.shapes.is_none() && !package.manifest.files.is_empty();
        (is_worth_it && can_be).then(|| key::packed(package, variant, runtime, &self.processors))
    }

    /// Packs weights and keeps them under `name`.
    pub(super) fn pack(
        &self,
        name: &str,
        package: &Package,
        variant: &Variant,
        threads: usize,
    ) -> Result<(), NotKept> {
        let needed = package.weights_bytes(variant) / 2 * limits::PACKED_WEIGHTS_SIZE_HALVES;
        let part = self.begin(name, needed)?;
        let packed =
            Graph::pack(&package.dir, (&package.manifest, variant), threads, &part.join(PACKED_GRAPH));
        if packed.is_err() {
            Self::discard(&part);
        }
        packed?;
        self.finish(name).map(drop)
    }

    /// Name of what `provider` compiles of `variant`, where that is kept.
    pub(super) fn compiled_name(
        &self,
        package: &Package,
        variant: &Variant,
        (runtime, sizes): (&str, &GraphOptions),
        provider: &Provider,
    ) -> Option<String> {
        let is_kept = self.compiled && !provider.is_cpu() && !package.manifest.files.is_empty();
        is_kept.then(|| key::compiled(package, variant, (runtime, &self.kernel), sizes, provider))
    }

    /// What was kept under this name, if it is as it was then.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        let dir = self.dir.join(name);
        if !is_whole(&dir) {
            return None;
        }
        // The sweep takes the one that was not used for longest.
        let _ = File::open(dir.join(NOTE)).map(|note| rustix::fs::futimens(note, &used_now()));
        Some(dir)
    }

    /// A directory to write into, if there is room.
    fn begin(&self, name: &str, needed: u64) -> Result<PathBuf, NotKept> {
        let io = NotKept::io;
        fs::create_dir_all(&self.dir).map_err(io(&self.dir))?;
        self.sweep(name)?;
        let disk = rustix::fs::statvfs(&self.dir).map_err(|e| io(&self.dir)(e.into()))?;
        let free = (disk.f_bavail * disk.f_frsize).saturating_sub(self.keep_free);
        if needed > free {
            return Err(NotKept::NoRoom { needed, free });
        }
        let part = self.part(name);
        fs::create_dir(&part).map_err(io(&part))?;
        Ok(part)
    }

    /// The same for what is compiled, of which nobody knows how large it gets: as large as the weights is likely.
    pub(super) fn begin_compiling(&self, name: &str, weights: u64) -> Option<PathBuf> {
        let begun = self.begin(name, weights.saturating_mul(2));
        begun.map_err(|error| tracing::warn!(%error, "what is compiled is not kept")).ok()
    }

    /// Ends what [`begin_compiling`](Self::begin_compiling) began.
    pub(super) fn finish_compiling(&self, name: &str) -> Option<PathBuf> {
        let finished = self.finish(name);
        finished.map_err(|error| tracing::warn!(%error, "what is compiled is not kept")).ok()
    }

    /// Keeps nothing under this name: the provider writes nothing that it could read again, and nobody tries once more.
    pub(super) fn mark_useless(&self, name: &str) {
        Self::discard(&self.dir.join(name));
        if self.begin(name, 0).and_then(|_| self.finish(name)).is_err() {
            tracing::debug!(name, "it cannot be remembered that there is nothing to keep");
        }
    }

    /// What was written is whole from now on.
    fn finish(&self, name: &str) -> Result<PathBuf, NotKept> {
        let (io, part, dir) = (NotKept::io, self.part(name), self.dir.join(name));
        let note = toml::to_string(&note(&part, true).map_err(io(&part))?).unwrap_or_default();
        fs::write(part.join(NOTE), note).map_err(io(&part))?;
        sync(&part.join(NOTE)).and_then(|()| sync(&part)).map_err(io(&part))?;
        fs::rename(&part, &dir).map_err(io(&dir))?;
        sync(&self.dir).map_err(io(&self.dir))?;
        Ok(dir)
    }

    /// Takes away what did not hold what it promised.
    pub(super) fn discard(dir: &Path) {
        let _ = fs::remove_dir_all(dir);
    }

    /// Each process has its own: one that outlives its daemon finishes nothing that another has begun.
    fn part(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{}.{PART}", std::process::id()))
    }

    /// Makes room for `name`: what was begun goes, and of the others of its kind all but the one that was used last, to
    /// which a board may come back.
    fn sweep(&self, name: &str) -> Result<(), NotKept> {
        let kind = name.split_once('-').map_or(name, |(kind, _)| kind);
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(NotKept::io(&self.dir))? {
            let path = entry.map_err(NotKept::io(&self.dir))?.path();
            let found = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if found.split_once('-').map_or(found, |(kind, _)| kind) == kind {
                let used = fs::metadata(path.join(NOTE)).and_then(|note| note.modified()).ok();
                let is_other = found != name && !found.ends_with(PART);
                others.push((used.filter(|_| is_other), path));
            }
        }
        others.sort();
        let kept = others.iter().rposition(|(used, _)| used.is_some());
        for (at, (_, path)) in others.iter().enumerate() {
            if Some(at) != kept {
                fs::remove_dir_all(path).map_err(NotKept::io(path))?;
            }
        }
        Ok(())
    }
}

/// Whether it was written to its end and is as it was then.
fn is_whole(dir: &Path) -> bool {
    let noted = fs::read_to_string(dir.join(NOTE)).ok().and_then(|text| toml::from_str::<Note>(&text).ok());
    noted.is_some_and(|noted| note(dir, false).is_ok_and(|found| found == noted))
}

/// What lies in `dir`, written out to the disk if `synced`.
fn note(dir: &Path, synced: bool) -> io::Result<Note> {
    let mut file = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name == NOTE {
            continue;
        }
        if synced {
            sync(&entry.path())?;
        }
        let about = entry.metadata()?;
        let since = about.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        file.push(Noted { name, bytes: about.len(), changed: since.as_nanos() as u64 });
    }
    file.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Note { file })
}

/// The kernel's time, for a file that is used.
fn used_now() -> Timestamps {
    let only = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    Timestamps { last_access: only(UTIME_OMIT), last_modification: only(UTIME_NOW) }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
