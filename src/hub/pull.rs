//! A pull, from what is asked for to a package in its place.

use std::path::{Path, PathBuf};

use super::{
    error::PullError,
    fault::Fault,
    fetch::{Fetch, News, Source},
    folder,
    install::{self, Place},
    layout::{Choice, Wanted, Wish, choose},
    listing::Listing,
    name::{RepoId, Revision},
    partial::{self, Partial, State},
    patience::Patience,
    plan::Plan,
    proof::{Proof, sums_of},
    signature::{Key, SIGNATURE_FILE, SUMS_FILE},
    way::Way,
};
use crate::{
    domain::Clock,
    model::{Layout, MANIFEST_FILE, Manifest, PackageName, Pulled, RelPath, Vouched},
};

/// What is asked for of a Hub.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where it is.
    pub repo: RepoId,
    /// At which revision; `None`: what was begun goes on, else the newest.
    pub revision: Option<Revision>,
    /// What of several.
    pub wish: Wish,
    /// What the package is to be called.
    pub name: Option<PackageName>,
}

/// How it is done.
pub struct Pull<'a> {
    /// Where packages are.
    pub models: &'a Path,
    /// Bytes that have to stay free on its disk.
    pub reserve: u64,
    /// Whose signature is wanted.
    pub key: Option<&'a Key>,
    /// Failures in a row that are borne.
    pub retries: u32,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Hears what happens.
    pub hear: &'a mut dyn FnMut(News<'_>),
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where the package is.
    pub dir: PathBuf,
    /// What it is.
    pub record: Pulled,
    /// Whether it was there, whole, before.
    pub was_there: bool,
}

/// Small files that came with the plan and go into the package as they are.
type Texts = Vec<(RelPath, Vec<u8>)>;

/// A plan, and what has come with it.
pub struct Planned {
    /// For people, and for whether there is room.
    pub plan: Plan,
    texts: Texts,
}

impl Pull<'_> {
    /// What is to come from a Hub.
    pub async fn plan(&mut self, way: &Way, asked: &Asked) -> Result<Planned, PullError> {
        let wish = format!("{:?}", asked.wish);
        let begun = match asked.revision {
            None => partial::begun(self.models, &asked.repo, &wish),
            Some(_) => None,
        };
        if let Some(mut state) = begun {
            if state.signed_by.as_deref() == self.key.map(Key::id) {
                // It names commit, sizes and digests: nobody need be asked.
                state.name = asked.name.clone().unwrap_or(state.name);
                return self.planned(state, Vec::new());
            }
            let commit = state.commit.map(|c| c.as_str().to_owned()).unwrap_or_default();
            let revision = Some(commit.parse().map_err(PullError::Given)?);
            return self.plan_anew(way, &Asked { revision, ..asked.clone() }, wish).await;
        }
        self.plan_anew(way, asked, wish).await
    }

    async fn plan_anew(&mut self, way: &Way, asked: &Asked, wish: String) -> Result<Planned, PullError> {
        let revision = asked.revision.clone().unwrap_or_else(Revision::main);
        let listing = patiently(self, async || way.listing(&asked.repo, &revision).await).await?;
        let manifest = self.manifest(way, &listing).await?;
        let mut choice = choose(&listing.files, manifest.as_ref(), &asked.wish)?;
        let mut texts = Texts::new();
        let (mut signed_by, mut comment, mut vouched) = (None, None, Vouched::Listing);
        if choice.files.iter().any(|file| file.proof.is_none()) {
            vouched = Vouched::Nothing;
        }
        if let Some(key) = self.key {
            let sums = self.text(way, &listing, SUMS_FILE).await?;
            let signature = self.text(way, &listing, SIGNATURE_FILE).await?;
            comment = Some(signed(key, &sums, &signature, &mut choice.files)?);
            (signed_by, vouched) = (Some(key.id().to_owned()), Vouched::Signature);
            texts = with_signature(sums, signature, &mut choice.files)?;
        }
        let name = match &asked.name {
            Some(name) => name.clone(),
            None => name_of(listing.repo.name(), &choice, manifest.as_ref())?,
        };
        let (repo, commit) = (Some(asked.repo.clone()), Some(listing.commit));
        let state = State::new(name, choice, wish, vouched);
        self.planned(State { repo, commit, revision: Some(revision), signed_by, comment, ..state }, texts)
    }

    /// What is to come from a folder.
    pub fn plan_folder(
        &mut self,
        dir: &Path,
        wish: &Wish,
        name: Option<PackageName>,
    ) -> Result<Planned, PullError> {
        let folder::Folder { files, record, mut vouched } = folder::look(dir)?;
        let manifest = match folder::text(dir, MANIFEST_FILE)? {
            Some(text) => Some(Manifest::parse(&String::from_utf8_lossy(&text))?),
            None => None,
        };
        let mut choice = choose(&files, manifest.as_ref(), wish)?;
        if manifest.is_some() && choice.layout == Layout::Outpost && vouched == Vouched::Nothing {
            vouched = Vouched::Manifest;
        }
        let mut texts = Texts::new();
        let (mut signed_by, mut comment) = (None, None);
        if let Some(key) = self.key {
            let read = |name: &str| folder::text(dir, name)?.ok_or_else(|| unsigned(name));
            let (sums, signature) = (read(SUMS_FILE)?, read(SIGNATURE_FILE)?);
            comment = Some(signed(key, &sums, &signature, &mut choice.files)?);
            (signed_by, vouched) = (Some(key.id().to_owned()), Vouched::Signature);
            texts = with_signature(sums, signature, &mut choice.files)?;
        }
        let last = record.as_ref().and_then(|r| r.repo.as_deref()).and_then(|repo| repo.rsplit('/').next());
        let folder_name = dir.canonicalize().ok();
        let folder_name = folder_name.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        let name = match name {
            Some(name) => name,
            None if record.is_some() => {
                PackageName::near(folder_name.unwrap_or_default()).map_err(PullError::Given)?
            }
            None => name_of(last.or(folder_name).unwrap_or_default(), &choice, manifest.as_ref())?,
        };
        let state = State::new(name, choice, format!("{wish:?}"), vouched);
        // An earlier record knows what its files cannot say.
        let (repo, commit, variant) = match record {
            Some(r) => {
                (r.repo.and_then(|t| t.parse().ok()), r.commit.and_then(|t| t.parse().ok()), r.variant)
            }
            None => (None, None, state.variant.clone()),
        };
        self.planned(State { repo, commit, variant, signed_by, comment, ..state }, texts)
    }

    fn planned(&self, state: State, texts: Texts) -> Result<Planned, PullError> {
        let dir = self.models.join(state.name.as_str());
        let there = partial::bytes_there(self.models, &state);
        let plan =
            Plan { bytes: state.bytes(), there, free: free(self.models)?, reserve: self.reserve, dir, state };
        Ok(Planned { plan, texts })
    }

    /// Fetches from a Hub what is planned.
    pub async fn run(&mut self, way: &Way, planned: Planned) -> Result<Outcome, PullError> {
        let (Some(repo), Some(commit)) = (planned.plan.state.repo.clone(), planned.plan.state.commit.clone())
        else {
            return Err(PullError::Given("a pull from a Hub names repository and commit".into()));
        };
        self.carry_out(Source::Hub { way, repo: &repo, commit: &commit }, planned).await
    }

    /// Copies from a folder what is planned.
    pub async fn run_folder(&mut self, dir: &Path, planned: Planned) -> Result<Outcome, PullError> {
        self.carry_out(Source::Folder(dir), planned).await
    }

    async fn carry_out(&mut self, source: Source<'_>, planned: Planned) -> Result<Outcome, PullError> {
        let Planned { plan, texts } = planned;
        let (state, dir) = (&plan.state, &plan.dir);
        if let Place::Same(record) = install::look(dir, state)? {
            // Of a pull that was killed between its last two steps.
            let _ = partial::discard(self.models, &state.key());
            return Ok(Outcome { dir: dir.clone(), record: *record, was_there: true });
        }
        plan.check(self.models)?;
        install::make_models(self.models)?;
        let partial = Partial::take(self.models, state, &self.clock.stamp().boot_id)?;
        for (path, content) in &texts {
            partial.put(path, content)?;
        }
        let patience = Patience::new(self.retries, self.clock.boot());
        let mut fetch =
            Fetch { source, partial: &partial, clock: self.clock, patience, hear: &mut *self.hear };
        for file in &state.files {
            fetch.file(file).await?;
        }
        let record = install::install(partial, state, dir)?;
        Ok(Outcome { dir: dir.clone(), record, was_there: false })
    }

    async fn manifest(&mut self, way: &Way, listing: &Listing) -> Result<Option<Manifest>, PullError> {
        if !listing.files.iter().any(|file| file.path.as_str() == MANIFEST_FILE) {
            return Ok(None);
        }
        let text = self.text(way, listing, MANIFEST_FILE).await?;
        Ok(Some(Manifest::parse(&String::from_utf8_lossy(&text))?))
    }

    /// A small file of a repository, held against what the listing says of it.
    async fn text(&mut self, way: &Way, listing: &Listing, name: &str) -> Result<Vec<u8>, PullError> {
        let listed =
            listing.files.iter().find(|file| file.path.as_str() == name).ok_or_else(|| unsigned(name))?;
        let text =
            patiently(self, async || way.text(&listing.repo, &listing.commit, &listed.path).await).await?;
        let proof = listed.proof.as_ref();
        sums_of(&text, proof).meets(proof).map_err(|found| PullError::Digest {
            path: listed.path.clone(),
            expected: proof.map(Proof::to_string).unwrap_or_default(),
            found,
        })?;
        Ok(text)
    }
}

/// Asks until there is an answer or it is enough.
async fn patiently<T>(
    pull: &mut Pull<'_>,
    mut ask: impl AsyncFnMut() -> Result<T, Fault>,
) -> Result<T, PullError> {
    let mut patience = Patience::new(pull.retries, pull.clock.boot());
    loop {
        let fault = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        let Some(wait) = patience.after(&fault, pull.clock.boot()) else { return Err(fault.into()) };
        (pull.hear)(News::Again(&fault, wait));
        tokio::time::sleep(wait).await;
    }
}

fn unsigned(name: &str) -> PullError {
    PullError::Signature(format!(
        "`pull.public_key` is configured, so the source must hold `{SUMS_FILE}` and `{SIGNATURE_FILE}`; there is no \
         `{name}`. Take a source that is signed, or take the key out of the configuration"
    ))
}

/// Makes the signed list what vouches for the files; its trusted comment.
fn signed(key: &Key, sums: &[u8], signature: &[u8], files: &mut [Wanted]) -> Result<String, PullError> {
    let (digests, comment) = key.open(sums, signature)?;
    digests.vouch(files, true)?;
    Ok(comment)
}

/// The signed list goes into the package, so that it can be verified there again.
fn with_signature(sums: Vec<u8>, signature: Vec<u8>, files: &mut Vec<Wanted>) -> Result<Texts, PullError> {
    let mut texts = Texts::new();
    for (name, content) in [(SUMS_FILE, sums), (SIGNATURE_FILE, signature)] {
        let path: RelPath = name.parse().map_err(PullError::Given)?;
        let proof = Proof::sha256(&sums_of(&content, None).sha256);
        let wanted = Wanted { from: path.clone(), to: path.clone(), bytes: content.len() as u64, proof };
        files.retain(|file| file.to != path);
        files.push(wanted);
        texts.push((path, content));
    }
    Ok(texts)
}

/// What a package is called when nobody says.
fn name_of(from: &str, choice: &Choice, manifest: Option<&Manifest>) -> Result<PackageName, PullError> {
    let name = match (choice.layout, &choice.variant, manifest) {
        (Layout::Outpost, _, Some(manifest)) => manifest.name.clone(),
        // Its own name is left to the package that is made of it.
        (Layout::Gguf, Some(file), _) => format!("{file}.gguf"),
        (_, Some(variant), _) => format!("{from}-{variant}"),
        _ => from.to_owned(),
    };
    PackageName::near(&name).map_err(|why| PullError::Given(format!("{why}; name it with `--name`")))
}

/// Bytes that are free on the disk of a folder that need not be there yet.
fn free(dir: &Path) -> Result<u64, PullError> {
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let stat = rustix::fs::statvfs(there).map_err(|e| PullError::io(there, e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
