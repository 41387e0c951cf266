//! The store's files: where they are, whose they are, and where corrupt ones go.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, FlockOperation};

use super::error::OpenError;
use crate::domain::limits;

const NAME: &str = "outpost.db";
/// What SQLite puts beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The folder of the store, held by this process alone.
pub(super) struct Home {
    dir: PathBuf,
    /// The database.
    pub(super) path: PathBuf,
    /// Locked for as long as it is open. The kernel lets go of it when the process dies.
    _lock: File,
}

impl Home {
    /// Makes the folder when it is missing, and takes it.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(NAME);
        DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(|e| OpenError::io(dir, e))?;
        rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|e| OpenError::io(dir, e.into()))?;
        let lock = dir.join("outpost.lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(|e| OpenError::io(&lock, e))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { path }),
            Err(e) => Err(OpenError::io(&path, e.into())),
        }
    }

    /// Where a new database is made before it gets its name.
    pub(super) fn draft(&self) -> PathBuf {
        self.dir.join("outpost.db.new")
    }

    /// An empty file for the draft, in place of what an interrupted start may have left.
    pub(super) fn clear_draft(&self) -> io::Result<()> {
        let draft = self.draft();
        for path in BESIDE.iter().map(|end| with_end(&draft, end)).chain([draft.clone()]) {
            remove(&path)?;
        }
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft).map(drop)
    }

    /// Gives the draft its name: from now on, a file of that name is a whole database.
    pub(super) fn publish_draft(&self) -> io::Result<()> {
        File::open(self.draft())?.sync_all()?;
        fs::rename(self.draft(), &self.path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Notes that the database was found wrong at work: the next start looks at all of it.
    pub(super) fn suspect(&self) -> io::Result<()> {
        File::create(self.suspicion())?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    /// It was looked at, and is sound or gone.
    pub(super) fn cleared(&self) -> io::Result<()> {
        remove(&self.suspicion())
    }

    fn suspicion(&self) -> PathBuf {
        self.dir.join("outpost.db.suspect")
    }

    /// What is there before SQLite looks: `None` is nothing at all.
    pub(super) fn found(&self) -> Result<Option<Found>, OpenError> {
        let io = |e| OpenError::io(&self.path, e);
        match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => {
                let metadata = file.metadata().map_err(io)?;
                if metadata.permissions().mode() & 0o077 != 0 {
                    file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(io)?;
                }
                Ok(Some(Found { bytes: metadata.len(), suspect: self.suspicion().exists() }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let log = fs::metadata(with_end(&self.path, "-wal")).is_ok_and(|log| log.len() > 0);
                Ok(log.then_some(Found { bytes: 0, suspect: false }))
            }
            Err(e) => Err(io(e)),
        }
    }

    /// Moves the database and what is beside it out of the way, and lets the oldest of too many
    /// such go.
    pub(super) fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.corrupt(self.generations()?.last().map_or(1, |newest| newest + 1));
        for end in BESIDE {
            rename(&with_end(&self.path, end), &with_end(&aside, end))?;
        }
        rename(&self.path, &aside)?;
        File::open(&self.dir)?.sync_all()?;
        let generations = self.generations()?;
        for old in &generations[..generations.len().saturating_sub(limits::STORE_CORRUPT_KEPT)] {
            for end in BESIDE {
                remove(&with_end(&self.corrupt(*old), end))?;
            }
            remove(&self.corrupt(*old))?;
        }
        File::open(&self.dir)?.sync_all()?;
        Ok(aside)
    }

    /// The corrupt database that was moved aside last.
    pub(super) fn last_aside(&self) -> io::Result<Option<PathBuf>> {
        Ok(self.generations()?.last().map(|newest| self.corrupt(*newest)))
    }

    /// Bytes that this user may still write to the store's disk.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Bytes of the database file.
    pub(super) fn file_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    fn corrupt(&self, generation: u32) -> PathBuf {
        with_end(&self.path, &format!(".corrupt-{generation}"))
    }

    /// Numbers of what was moved aside, oldest first. What is left of one counts as well.
    fn generations(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix("outpost.db.corrupt-"));
            let number = rest.map(|rest| rest.split('-').next().unwrap_or(rest));
            found.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// A database, or what is left of one.
pub(super) struct Found {
    /// Its size; 0 when only its log is there.
    pub(super) bytes: u64,
    /// It was found wrong at work.
    pub(super) suspect: bool,
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn remove(path: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_file(path))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    ignore_missing(fs::rename(from, to))
}
