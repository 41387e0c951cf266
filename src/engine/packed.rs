//! Weights as ONNX Runtime packs them for this processor, kept on the disk.
//!
//! It packs them when a model is loaded, which takes time and as much memory again, and that
//! memory cannot be given back. Packed once and written down, they are mapped like any file:
//! the kernel may drop them and read them again, a restart finds them in memory, and two
//! processes share them. What is written holds for one package, one version of the library
//! and one kind of processor; for any other it is made anew.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Graph, GraphError};
use crate::{
    domain::{hex, limits},
    model::{Package, Variant},
};

/// Says what lies beside it. It is written last.
const NOTE: &str = "packed.toml";
const GRAPH: &str = "model.onnx";
/// Part of the key: another number when packing or loading change.
const FORMAT: u32 = 1;

/// Where packed weights are kept.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    /// Directory; one below it for each package.
    pub dir: PathBuf,
    /// Small packages, too.
    pub always: bool,
    /// The processor, in words that differ where its abilities do.
    pub processor: String,
    /// Disk that stays free, bytes.
    pub keep_free: u64,
}

/// Files as they were when they were written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
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

/// Why there are no packed weights. The model runs without them.
#[derive(Debug, thiserror::Error)]
enum NotPacked {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Graph(#[from] GraphError),
    #[error("they take {} MB of disk, of which {} can be had", .needed / 1_000_000, .free / 1_000_000)]
    NoRoom { needed: u64, free: u64 },
}

impl NotPacked {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { path: path.to_owned(), source }
    }
}

impl PackedWeights {
    /// The graph with packed weights for `variant` of `package`; `making` is told before they are made. `None`: it is
    /// not worth it, or cannot be done.
    pub(super) fn prepare(
        &self,
        package: &Package,
        variant: &Variant,
        (runtime, threads): (&str, usize),
        making: &mut dyn FnMut(),
    ) -> Option<PathBuf> {
        let bytes = package.weights_bytes(variant);
        let is_worth_it = self.always || bytes >= limits::PACKED_WEIGHTS_BYTES_MIN;
        // Without a list of its files nobody would notice that a package has changed.
        if !is_worth_it || variant.shapes.is_some() || package.manifest.files.is_empty() {
            return None;
        }
        let dir = self.dir.join(self.name(package, variant, runtime));
        if is_whole(&dir) {
            // The sweep takes the one that was not used for longest.
            let _ = File::open(dir.join(NOTE)).and_then(|note| note.set_modified(SystemTime::now()));
            return Some(dir.join(GRAPH));
        }
        making();
        match self.make(package, variant, threads, bytes, &dir) {
            Ok(()) => Some(dir.join(GRAPH)),
            Err(error) => {
                tracing::warn!(%error, "packed weights cannot be kept: the model takes more memory and loads more slowly");
                None
            }
        }
    }

    /// Takes away what did not hold what it promised.
    pub(super) fn discard(graph: &Path) {
        if let Some(dir) = graph.parent() {
            let _ = fs::remove_dir_all(dir);
        }
    }

    fn name(&self, package: &Package, variant: &Variant, runtime: &str) -> String {
        let mut hash = Sha256::new();
        for part in [&FORMAT.to_string(), &variant.graph, runtime, &self.processor] {
            hash.update(part);
            hash.update([0]);
        }
        for file in &package.manifest.files {
            hash.update(format!("{} {} {}\0", file.path, file.bytes, file.sha256));
        }
        format!("{}-{}", package.manifest.name.replace('/', "_"), &hex(&hash.finalize())[..16])
    }

    fn make(
        &self,
        package: &Package,
        variant: &Variant,
        threads: usize,
        bytes: u64,
        dir: &Path,
    ) -> Result<(), NotPacked> {
        let io = NotPacked::io;
        fs::create_dir_all(&self.dir).map_err(io(&self.dir))?;
        self.sweep(dir)?;
        let disk = rustix::fs::statvfs(&self.dir).map_err(|e| io(&self.dir)(e.into()))?;
        let free = (disk.f_bavail * disk.f_frsize).saturating_sub(self.keep_free);
        let needed = bytes / 2 * limits::PACKED_WEIGHTS_SIZE_HALVES;
        if needed > free {
            return Err(NotPacked::NoRoom { needed, free });
        }
        tracing::info!(megabytes = needed / 1_000_000, "packing the weights for this processor, once");
        let part = part_of(dir);
        fs::create_dir(&part).map_err(io(&part))?;
        Graph::pack(&package.dir, (&package.manifest, variant), threads, &part.join(GRAPH))?;
        let note = toml::to_string(&note(&part, true).map_err(io(&part))?).unwrap_or_default();
        fs::write(part.join(NOTE), note).map_err(io(&part))?;
        sync(&part.join(NOTE)).and_then(|()| sync(&part)).map_err(io(&part))?;
        fs::rename(&part, dir).map_err(io(dir))?;
        sync(&self.dir).map_err(io(&self.dir))
    }

    /// Removes what was begun and what is old: of the others only the one that was used last stays, to which a board
    /// may come back.
    fn sweep(&self, dir: &Path) -> Result<(), NotPacked> {
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(NotPacked::io(&self.dir))? {
            let path = entry.map_err(NotPacked::io(&self.dir))?.path();
            let used = fs::metadata(path.join(NOTE)).and_then(|note| note.modified()).ok();
            others.push((used.filter(|_| path != dir), path));
        }
        others.sort();
        let whole = others.iter().rposition(|(used, _)| used.is_some());
        for (at, (_, path)) in others.iter().enumerate() {
            if Some(at) != whole {
                fs::remove_dir_all(path).map_err(NotPacked::io(path))?;
            }
        }
        Ok(())
    }
}

/// Where `dir` is made.
fn part_of(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    dir.with_file_name(name)
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

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
