//! `outpost config check` and `outpost config show`

use std::io;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Exit, Failure, Global, out, show_problems};
use crate::config::{Config, Key, Layered, List, Origin};

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
    let problems = global.try_tasks().err().unwrap_or_default();
    if problems.is_empty() && !global.json {
        out::line("The configuration is sound.")?;
    }
    show_problems(global, &problems)?;
    match problems.len() {
        0 => Ok(()),
        n => Err(Failure::new(Exit::Configuration, format!("{n} problem{}", if n == 1 { "" } else { "s" }))),
    }
}

fn show(global: &Global) -> Result<(), Failure> {
    let layered = global.layered();
    if global.json {
        return Ok(out::json(&json_of(&layered))?);
    }
    let mut section = "";
    for key in Config::KEYS {
        let (name, entry) = key.path.split_once('.').unwrap_or(("", key.path));
        if name != section {
            out::line(format_args!("{}[{name}]", if section.is_empty() { "" } else { "\n" }))?;
            section = name;
        }
        show_doc(key.doc)?;
        show_value(entry, layered.config.get(key.path), Some(&layered.origin(key.path)))?;
    }
    for list in Config::LISTS {
        show_list(&layered, list)?;
    }
    for problem in &layered.problems {
        out::note(problem);
    }
    Ok(())
}

/// Each entry with all its keys; without entries, what one could hold, as comments.
fn show_list(layered: &Layered, list: &List) -> io::Result<()> {
    let name = list.name;
    out::line("")?;
    show_doc(list.doc)?;
    if layered.config.entries(name) == 0 {
        out::line(format_args!("# [[{name}]]"))?;
        for key in list.keys {
            let required = if list.required.contains(&key.path) { " (required)" } else { "" };
            out::line(format_args!("# {}{required}: {}", key.path, key.doc.trim().replace('\n', "\n#  ")))?;
        }
    }
    for index in 0..layered.config.entries(name) {
        out::line(format_args!("[[{name}]]    # {}", layered.entry_origin(name, index, "")))?;
        for key in list.keys {
            if index == 0 {
                show_doc(key.doc)?;
            }
            let origin = layered.set_entry_origin(name, index, key.path);
            show_value(key.path, layered.config.get_entry(name, index, key.path), origin)?;
        }
    }
    Ok(())
}

fn show_doc(doc: &str) -> io::Result<()> {
    doc.trim().lines().try_for_each(|line| out::line(format_args!("# {}", line.trim())))
}

fn show_value(key: &str, value: Option<toml::Value>, origin: Option<&Origin>) -> io::Result<()> {
    let value = value.map(|v| v.to_string()).unwrap_or_default();
    match origin {
        None | Some(Origin::Default) => out::line(format_args!("{key} = {value}")),
        Some(origin) => out::line(format_args!("{key} = {value}    # {origin}")),
    }
}

/// Keys by their path; a list by its name, with its entries.
fn json_of(layered: &Layered) -> Value {
    let shown = |value: Option<toml::Value>, origin: Option<&Origin>| {
        let origin = origin.unwrap_or(&Origin::Default).to_string();
        json!({"value": value.and_then(|v| serde_json::to_value(v).ok()), "from": origin})
    };
    let keys = Config::KEYS.iter().map(|key| {
        (key.path.to_owned(), shown(layered.config.get(key.path), Some(&layered.origin(key.path))))
    });
    let lists = Config::LISTS.iter().map(|list| {
        let entry = |index| -> Value {
            let key = |key: &Key| {
                let value = layered.config.get_entry(list.name, index, key.path);
                (key.path.to_owned(), shown(value, layered.set_entry_origin(list.name, index, key.path)))
            };
            list.keys.iter().map(key).collect::<serde_json::Map<_, _>>().into()
        };
        (list.name.to_owned(), (0..layered.config.entries(list.name)).map(entry).collect())
    });
    keys.chain(lists).collect::<serde_json::Map<_, _>>().into()
}
