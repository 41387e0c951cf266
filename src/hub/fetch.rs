//! One file after the other: what is there is hashed, the rest is fetched, hashed and written, and only what
//! meets its proof gets its place.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use super::{
    error::{Kept, PullError, is_full},
    fault::{Cure, Fault},
    layout::Wanted,
    name::{Commit, RepoId},
    partial::{Part, Partial},
    patience::{Flow, Patience},
    proof::{Found, Proof, Sums},
    way::{Flowing, Way},
};
use crate::domain::{Clock, limits};

/// What happens meanwhile.
#[derive(Debug)]
pub enum News<'a> {
    /// This is going to be done.
    Plan(&'a super::plan::Plan),
    /// This file is next; so many bytes of it are there.
    File(&'a Wanted, u64),
    /// So many bytes that were there have been hashed.
    Checked(u64),
    /// So many bytes have come and are written.
    Got(u64),
    /// Something went wrong; it is tried again after a while.
    Again(&'a Fault, Duration),
    /// So many bytes of this file are not to be trusted and were thrown away.
    Anew(&'a Wanted, u64),
}

/// Where files come from.
pub(super) enum Source<'a> {
    Hub { way: &'a Way, repo: &'a RepoId, commit: &'a Commit },
    Folder(&'a Path),
}

enum Flowings {
    Hub(Flowing),
    File(PathBuf, File),
}

impl Source<'_> {
    async fn open(&self, file: &Wanted, from: u64) -> Result<Flowings, Fault> {
        match self {
            Self::Hub { way, repo, commit } => {
                let about = (&file.from, file.proof.as_ref());
                way.open(repo, commit, about, from, file.bytes).await.map(Flowings::Hub)
            }
            Self::Folder(dir) => {
                let path = file.from.below(dir);
                let open = || {
                    let mut source = File::open(&path)?;
                    let bytes = source.metadata()?.len();
                    if bytes != file.bytes {
                        let why = format!("it has {bytes} bytes instead of {}", file.bytes);
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                    source.seek(SeekFrom::Start(from))?;
                    Ok(source)
                };
                open().map(|source| Flowings::File(path.clone(), source)).map_err(|e| unreadable(&path, &e))
            }
        }
    }
}

impl Flowings {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Hub(flowing) => flowing.next().await,
            Self::File(path, source) => {
                let mut piece = vec![0; limits::HASH_CHUNK_BYTES];
                let n = source.read(&mut piece).map_err(|e| unreadable(path, &e))?;
                piece.truncate(n);
                Ok((n > 0).then(|| piece.into()))
            }
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    Fault::Unreadable(format!("{} cannot be read: {error}", path.display()))
}

/// Everything that fetching needs.
pub(super) struct Fetch<'a> {
    pub(super) source: Source<'a>,
    pub(super) partial: &'a Partial,
    pub(super) clock: &'a dyn Clock,
    pub(super) patience: Patience,
    pub(super) hear: &'a mut dyn FnMut(News<'_>),
}

/// Why the filling of a part ended without a whole file.
enum Stop {
    Fault(Fault),
    Error(PullError),
}

impl From<PullError> for Stop {
    fn from(error: PullError) -> Self {
        Self::Error(error)
    }
}

impl Fetch<'_> {
    /// Fetches a file, verifies it and gives it its place.
    pub(super) async fn file(&mut self, file: &Wanted) -> Result<(), PullError> {
        if self.partial.is_done(file) {
            (self.hear)(News::File(file, file.bytes));
            (self.hear)(News::Checked(file.bytes));
            return Ok(());
        }
        if file.proof.is_none()
            && file.bytes > limits::PULL_UNVOUCHED_BYTES_MAX
            && matches!(self.source, Source::Hub { .. })
        {
            return Err(PullError::NothingVouches { path: file.from.clone(), bytes: file.bytes });
        }
        let mut anew = 0;
        let mut part = self.partial.part(file)?;
        (self.hear)(News::File(file, part.len));
        let mut sums = Sums::new(file.bytes, file.proof.as_ref());
        part.read(|piece| {
            sums.update(piece);
            (self.hear)(News::Checked(piece.len() as u64));
        })?;
        loop {
            let ended = match self.fill(file, &mut part, sums).await {
                Ok(found) => match found.meets(file.proof.as_ref()) {
                    Ok(()) => {
                        self.patience.whole(self.clock.boot());
                        return self.partial.keep(part, file);
                    }
                    Err(found) => digest(file, found),
                },
                Err(Stop::Fault(fault)) => kept(file, &part, fault),
                Err(Stop::Error(error)) => return Err(error),
            };
            (self.hear)(News::Anew(file, part.len));
            part.empty()?;
            anew += 1;
            if anew > limits::PULL_ANEW_MAX {
                return Err(ended);
            }
            sums = Sums::new(file.bytes, file.proof.as_ref());
        }
    }

    /// Writes behind what is there until the file is whole.
    async fn fill(&mut self, file: &Wanted, part: &mut Part, mut sums: Sums) -> Result<Found, Stop> {
        while part.len < file.bytes {
            if file.proof.is_none() && part.len > 0 {
                // Nobody could tell a file that was made of two.
                (self.hear)(News::Anew(file, part.len));
                part.empty()?;
                sums = Sums::new(file.bytes, None);
            }
            let fault = match self.flow(file, part, &mut sums).await {
                Ok(()) => continue,
                Err(Stop::Fault(fault)) => fault,
                Err(error) => return Err(error),
            };
            if fault.cure() == Cure::Anew {
                return Err(Stop::Fault(fault));
            }
            let Some(wait) = self.patience.after(&fault, self.clock.boot()) else {
                return Err(Stop::Error(kept(file, part, fault)));
            };
            (self.hear)(News::Again(&fault, wait));
            tokio::time::sleep(wait).await;
        }
        Ok(sums.finish())
    }

    /// One answer, as far as it comes. What is to be done about a fault is not decided here.
    async fn flow(&mut self, file: &Wanted, part: &mut Part, sums: &mut Sums) -> Result<(), Stop> {
        let mut flowing = self.source.open(file, part.len).await.map_err(Stop::Fault)?;
        let mut flow = Flow::new(self.clock.boot());
        while let Some(piece) = flowing.next().await.map_err(Stop::Fault)? {
            if part.len + piece.len() as u64 > file.bytes {
                let why = format!("more than the {} bytes of the file", file.bytes);
                return Err(Stop::Fault(Fault::WrongRange(why)));
            }
            part.write(&piece).map_err(|error| Stop::Error(unwritten(file, part, error)))?;
            sums.update(&piece);
            let (bytes, now) = (piece.len() as u64, self.clock.boot());
            (self.hear)(News::Got(bytes));
            self.patience.got(bytes, now);
            part.sync_sometimes()?;
            if flow.trickles(bytes, now) {
                return Err(Stop::Fault(Fault::Broke("next to nothing comes".into())));
            }
        }
        if part.len < file.bytes {
            return Err(Stop::Fault(Fault::Broke(format!(
                "it ended after {} of {} bytes",
                part.len, file.bytes
            ))));
        }
        Ok(())
    }
}

fn kept(file: &Wanted, part: &Part, fault: Fault) -> PullError {
    PullError::File { path: file.from.clone(), fault, kept: Kept { there: part.len, bytes: file.bytes } }
}

fn unwritten(file: &Wanted, part: &Part, error: io::Error) -> PullError {
    if is_full(&error) {
        let kept = Kept { there: part.len, bytes: file.bytes };
        return PullError::DiskFull { path: part.path.clone(), kept };
    }
    PullError::io(&part.path, error)
}

fn digest(file: &Wanted, found: String) -> PullError {
    let expected = file.proof.as_ref().map(Proof::to_string).unwrap_or_default();
    PullError::Digest { path: file.from.clone(), expected, found }
}
