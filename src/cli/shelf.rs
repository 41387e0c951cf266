//! `outpost models installed`, `activate`, `return`, `remove`: the packages of this board.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Exit, Failure, Global,
    client::{self, Daemon},
    out,
};
use crate::{
    config::Config,
    domain::limits,
    model::{PackageName, Shelf, ShelfError, View},
};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ShelfCommand {
    /// List the packages of this board, which of them is used, and what happened to the last one that was tried
    Installed,
    /// Use this package from now on; if it does not pass its self-test, the one before it comes back
    Activate(ActivateArgs),
    /// Go back to the package before
    Return(Waiting),
    /// Remove a package that is not used
    Remove {
        /// Its name
        name: PackageName,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct ActivateArgs {
    /// Its name in `outpost models installed`
    name: PackageName,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Waiting {
    /// Do not wait until the daemon has loaded it
    #[arg(long)]
    no_wait: bool,
}

pub(super) fn run(global: &Global, command: &ShelfCommand) -> Result<(), Failure> {
    let config = global.configuration()?;
    let shelf = Shelf::new(config.models_dir());
    match command {
        ShelfCommand::Installed => installed(global, &config, &shelf),
        ShelfCommand::Activate(args) => activate(global, &config, &shelf, &args.name, args.waiting),
        ShelfCommand::Return(waiting) => {
            let previous = shelf.view().previous.ok_or_else(|| failure(&ShelfError::NoPrevious))?;
            activate(global, &config, &shelf, &previous, *waiting)
        }
        ShelfCommand::Remove { name } => remove(global, &config, &shelf, name),
    }
}

fn failure(error: &ShelfError) -> Failure {
    let exit = if matches!(error, ShelfError::Io { .. }) { Exit::Unavailable } else { Exit::BadData };
    Failure::new(exit, error)
}

fn installed(global: &Global, config: &Config, shelf: &Shelf) -> Result<(), Failure> {
    let (all, view) = (shelf.installed(), shelf.view());
    let mark = |name: &PackageName| mark(&view, name);
    if global.json {
        let one = |i: &crate::model::Installed| json!({"name": i.name.as_str(), "layout": i.layout, "bytes": i.bytes, "mark": mark(&i.name)});
        let returned = view.returned.as_ref().map(|r| json!({"from": r.from.as_str(), "why": r.why}));
        let failed = view.trial.as_ref().and_then(|trial| trial.failed.clone());
        return Ok(out::json(&json!({
            "models": all.iter().map(one).collect::<Vec<_>>(), "dir": config.models_dir(),
            "pinned": config.model.package, "returned": returned, "failed": failed,
        }))?);
    }
    if all.is_empty() {
        out::note(format_args!(
            "There is none in {}; `outpost pull` fetches one.",
            config.models_dir().display()
        ));
    }
    for one in &all {
        let layout = one.layout.map_or("no package".into(), |layout| layout.to_string());
        let mark = mark(&one.name).unwrap_or_default();
        let line =
            format!("{:<40} {:>9.1} MB  {layout:<17} {mark}", one.name.as_str(), one.bytes as f64 / 1e6);
        out::line(line.trim_end())?;
    }
    if let Some(returned) = &view.returned {
        out::line(format_args!("`{}` was activated and did not pass: {}", returned.from, returned.why))?;
    }
    if let Some(why) = view.trial.as_ref().and_then(|trial| trial.failed.as_ref()) {
        out::line(format_args!("It does not pass, and there is none to go back to: {why}"))?;
    }
    if let Some(package) = &config.model.package {
        out::note(format_args!(
            "`model.package` pins {}: that is used, whatever is active.",
            package.display()
        ));
    }
    Ok(())
}

fn mark(view: &View, name: &PackageName) -> Option<&'static str> {
    if view.current.as_ref() == Some(name) {
        return Some(if view.trial.is_some() { "active, on trial" } else { "active" });
    }
    (view.previous.as_ref() == Some(name)).then_some("previous")
}

fn activate(
    global: &Global,
    config: &Config,
    shelf: &Shelf,
    name: &PackageName,
    waiting: Waiting,
) -> Result<(), Failure> {
    let changed = shelf.activate(name).map_err(|e| failure(&e))?;
    if let Some(package) = &config.model.package {
        let words = format!(
            "`model.package` pins {}: the daemon goes on with that. Take the key out of the configuration and restart it",
            package.display()
        );
        return say(global, name, "pinned", &words);
    }
    if !changed {
        return say(global, name, "in use", "It is active already.");
    }
    let told =
        client::block_on(async { Daemon::of(global)?.post("/v1/reload", &Value::Null).await.map(drop) });
    if told.is_err() {
        return say(
            global,
            name,
            "next start",
            "The daemon does not run here: it is loaded at its next start.",
        );
    }
    if waiting.no_wait {
        return say(
            global,
            name,
            "loading",
            "The daemon loads it once what runs has ended; `outpost status` shows it.",
        );
    }
    match client::block_on(verdict(shelf, name))? {
        Verdict::Passed => say(global, name, "in use", "It has passed its self-test and is used."),
        Verdict::Failed(words) => Err(Failure::new(Exit::BadData, words)),
        Verdict::Unknown => say(
            global,
            name,
            "loading",
            "It is still being loaded; `outpost models installed` shows what comes of it.",
        ),
    }
}

enum Verdict {
    Passed,
    Failed(String),
    Unknown,
}

/// Waits until its trial is over.
async fn verdict(shelf: &Shelf, name: &PackageName) -> Result<Verdict, Failure> {
    let look = async {
        loop {
            let view = shelf.view();
            if let Some(returned) = view.returned.filter(|returned| returned.from == *name) {
                let back =
                    view.current.map(|current| format!(". `{current}` is used again")).unwrap_or_default();
                return Verdict::Failed(format!("`{name}` did not pass: {}{back}", returned.why));
            }
            match view.trial {
                None => return Verdict::Passed,
                Some(trial) => {
                    if let Some(why) = trial.failed {
                        let words = format!("`{name}` did not pass, and there is none to go back to: {why}");
                        return Verdict::Failed(words);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    Ok(tokio::time::timeout(limits::CLIENT_PATIENCE, look).await.unwrap_or(Verdict::Unknown))
}

fn say(global: &Global, name: &PackageName, state: &str, words: &str) -> Result<(), Failure> {
    if global.json {
        return Ok(out::json(&json!({"name": name.as_str(), "state": state, "message": words}))?);
    }
    Ok(out::line(format_args!("{name}: {words}"))?)
}

fn remove(global: &Global, config: &Config, shelf: &Shelf, name: &PackageName) -> Result<(), Failure> {
    let dir = config.models_dir().join(name.as_str()).canonicalize().ok();
    let pinned = config.model.package.as_ref().and_then(|package| package.canonicalize().ok());
    if dir.is_some() && dir == pinned {
        return Err(Failure::new(Exit::BadData, format!("`{name}` is the one that `model.package` pins")));
    }
    shelf.remove(name).map_err(|e| failure(&e))?;
    say(global, name, "removed", "It is removed.")
}
