//! `outpost pull`: fetches a model, without the daemon.

mod meter;
mod show;
mod way;

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure, Global, client, out};
use crate::{
    config::Config,
    domain::{SystemClock, limits},
    hub::{self, Asked, Blame, Key, Known, Outcome, Planned, Pull, PullError, RepoId, Revision, Wish},
    model::PackageName,
};
use meter::Meter;

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// A name of the catalogue, or a repository `org/name`
    #[arg(required_unless_present_any = ["from_dir", "list", "list_partial", "discard"])]
    model: Option<String>,
    /// Branch, tag or commit [default: what was begun goes on, else the newest]
    #[arg(long, value_name = "REVISION", conflicts_with = "from_dir")]
    revision: Option<Revision>,
    /// Precision of the graphs or quantisation of the GGUF, such as `q4`; `q4,embed_tokens=fp16` for single parts
    #[arg(long, value_name = "PRECISION")]
    precision: Option<String>,
    /// The file to take of several GGUF files, or the folder to take of several with a `genai_config.json`
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    /// What to call the package
    #[arg(long, value_name = "NAME")]
    name: Option<PackageName>,
    /// Take it from this folder, such as a USB stick, instead of a Hub
    #[arg(long, value_name = "DIR")]
    from_dir: Option<PathBuf>,
    /// Hub or mirror of it [default: `HF_ENDPOINT`, else `cloud.hub_url`]
    #[arg(long, value_name = "URL", conflicts_with = "from_dir")]
    endpoint: Option<String>,
    /// Failures in a row without progress that are borne
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::PULL_RETRIES_MAX)))]
    retries: u32,
    /// Show what would be fetched, and whether there is room
    #[arg(long)]
    dry_run: bool,
    /// Show the catalogue
    #[arg(long)]
    list: bool,
    /// Show unfinished pulls
    #[arg(long)]
    list_partial: bool,
    /// Remove what is there of an unfinished pull, by its name in `--list-partial`
    #[arg(long, value_name = "NAME")]
    discard: Option<String>,
}

pub(super) fn run(global: &Global, args: &PullArgs) -> Result<(), Failure> {
    if args.list {
        return show::catalogue(global, &catalogue()?);
    }
    let config = global.configuration()?;
    let models = config.models_dir();
    if args.list_partial {
        return show::unfinished(global, &hub::unfinished(&models));
    }
    if let Some(name) = &args.discard {
        return discard(global, &models, name);
    }
    let key = config.pull.public_key.as_deref().map(Key::parse).transpose();
    let key = key.map_err(|why| Failure::new(Exit::Configuration, format!("`pull.public_key` {why}")))?;
    let known = match &args.model {
        Some(name) => catalogue()?.into_iter().find(|known| known.name.as_str() == name),
        None => None,
    };
    let mut meter = Meter::new(global.json);
    let done = client::block_on(async {
        let mut hear = |news: hub::News<'_>| meter.hear(&news);
        let pull = Pull {
            models: &models,
            reserve: config.store.free_min_mb as u64 * 1_000_000,
            key: key.as_ref(),
            retries: args.retries,
            clock: &SystemClock::new(),
            hear: &mut hear,
        };
        go(&config, args, known.as_ref(), pull).await
    });
    meter.finish();
    match done? {
        Done::Planned(planned) => show::plan(global, &planned.plan),
        Done::Pulled(outcome) => {
            show::outcome(global, &outcome, &meter.counts, known.as_ref(), args.from_dir.is_some())
        }
    }
}

fn discard(global: &Global, models: &Path, name: &str) -> Result<(), Failure> {
    if hub::discard(models, name).map_err(|e| failure(&e))? {
        return show::discarded(global, name);
    }
    let why = format!("there is no unfinished pull `{name}`; `outpost pull --list-partial` shows them");
    Err(Failure::new(Exit::BadData, why))
}

enum Done {
    Planned(Box<Planned>),
    Pulled(Box<Outcome>),
}

async fn go(
    config: &Config,
    args: &PullArgs,
    known: Option<&Known>,
    mut pull: Pull<'_>,
) -> Result<Done, Failure> {
    let wish = wish(args, known)?;
    let name = args.name.clone().or_else(|| known.filter(|_| !chooses(args)).map(|known| known.name.clone()));
    if let Some(dir) = &args.from_dir {
        if let Some(other) = args.model.as_ref().filter(|_| known.is_none()) {
            let why = format!(
                "`{other}` is no name of the catalogue; `--from-dir` takes no repository, only `--name`"
            );
            return Err(Failure::new(Exit::BadData, why));
        }
        let planned = pull.plan_folder(dir, &wish, name).map_err(|e| failure(&e))?;
        if args.dry_run {
            return Ok(Done::Planned(Box::new(planned)));
        }
        (pull.hear)(hub::News::Plan(&planned.plan));
        let outcome = pull.run_folder(dir, planned).await.map_err(|e| failure(&e))?;
        return Ok(Done::Pulled(Box::new(outcome)));
    }
    let (way, note) = way::way(config, args.endpoint.as_deref())?;
    if let Some(note) = note {
        out::note(note);
    }
    let planned = pull.plan(&way, &asked(args, known, wish, name)?).await.map_err(|e| failure(&e))?;
    if args.dry_run {
        return Ok(Done::Planned(Box::new(planned)));
    }
    (pull.hear)(hub::News::Plan(&planned.plan));
    let outcome = pull.run(&way, planned).await.map_err(|e| failure(&e))?;
    Ok(Done::Pulled(Box::new(outcome)))
}

fn chooses(args: &PullArgs) -> bool {
    args.precision.is_some() || args.file.is_some()
}

fn wish(args: &PullArgs, known: Option<&Known>) -> Result<Wish, Failure> {
    let wish = match known {
        Some(known) if !chooses(args) => known.wish(),
        _ => Wish::new(args.precision.as_deref(), args.file.clone()),
    };
    wish.map_err(|why| Failure::new(Exit::BadData, why))
}

fn asked(
    args: &PullArgs,
    known: Option<&Known>,
    wish: Wish,
    name: Option<PackageName>,
) -> Result<Asked, Failure> {
    let repo: RepoId = match (known, &args.model) {
        (Some(known), _) => known.repo.clone(),
        (None, text) => {
            text.as_deref().unwrap_or_default().parse().map_err(|why| Failure::new(Exit::BadData, why))?
        }
    };
    // A branch of the catalogue is what is meant when nobody says; anything else there is pinned.
    let pinned = known.map(|known| known.revision.clone()).filter(|revision| *revision != Revision::main());
    Ok(Asked { repo, revision: args.revision.clone().or(pinned), wish, name })
}

fn catalogue() -> Result<Vec<Known>, Failure> {
    hub::catalogue().map_err(|why| Failure::new(Exit::Bug, why))
}

/// Who has to do something decides the exit code.
fn failure(error: &PullError) -> Failure {
    let exit = match error.blame() {
        Blame::Elsewhere => Exit::Unavailable,
        Blame::Given => Exit::BadData,
        Blame::Setup => Exit::Configuration,
    };
    Failure::new(exit, error)
}
