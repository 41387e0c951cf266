//! `outpost config check` and `outpost config show`

use clap::Subcommand;
use serde_json::json;

use super::{Exit, Failure, Global, out};
use crate::config::{Config, Origin};

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say everything that is wrong, with file and line
    Check,
    /// Show every key, its value and where it comes from
    Show,
}

pub(super) fn run(global: &Global, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => check(global),
        ConfigCommand::Show => show(global),
    }
}

fn check(global: &Global) -> Result<(), Failure> {
    let problems = global.layered().checked().err().unwrap_or_default();
    if global.json {
        let list: Vec<_> =
            problems.iter().map(|p| json!({"where": p.origin.to_string(), "message": p.message})).collect();
        out::json(&json!({"ok": list.is_empty(), "problems": list}))?;
    } else if problems.is_empty() {
        out::line("The configuration is sound.")?;
    } else {
        problems.iter().try_for_each(out::line)?;
    }
    match problems.len() {
        0 => Ok(()),
        n => Err(Failure::new(Exit::Configuration, format!("{n} problem{}", if n == 1 { "" } else { "s" }))),
    }
}

fn show(global: &Global) -> Result<(), Failure> {
    let layered = global.layered();
    if global.json {
        let keys: serde_json::Map<_, _> = Config::KEYS
            .iter()
            .map(|key| {
                let value = layered.config.get(key.path).and_then(|v| serde_json::to_value(v).ok());
                (key.path.to_owned(), json!({"value": value, "from": layered.origin(key.path).to_string()}))
            })
            .collect();
        return Ok(out::json(&keys.into())?);
    }
    let mut section = "";
    for key in Config::KEYS {
        let (name, entry) = key.path.split_once('.').unwrap_or(("", key.path));
        if name != section {
            out::line(format_args!("{}[{name}]", if section.is_empty() { "" } else { "\n" }))?;
            section = name;
        }
        for line in key.doc.trim().lines() {
            out::line(format_args!("# {}", line.trim()))?;
        }
        let value = layered.config.get(key.path).map(|v| v.to_string()).unwrap_or_default();
        match layered.origin(key.path) {
            Origin::Default => out::line(format_args!("{entry} = {value}"))?,
            origin => out::line(format_args!("{entry} = {value}    # {origin}"))?,
        }
    }
    for problem in &layered.problems {
        out::note(problem);
    }
    Ok(())
}
