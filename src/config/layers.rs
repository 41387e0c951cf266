//! Where values come from: files, environment, flags, each laid over the one before.
//!
//! Nothing stops at the first mistake: every layer is read to its end and every problem is
//! kept, with the place where it stands and, for a name that does not exist, the nearest
//! one that does.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{entries::EntryOrigins, schema::Config};
use crate::domain::limits;

/// The directories and files that are read when nobody says otherwise, lowest first.
pub(super) const DEFAULT_FILES: [&str; 2] = ["/usr/lib/outpost/outpost.toml", "/etc/outpost/outpost.toml"];
/// Drop-ins, in the order of their names.
pub(super) const DROP_IN_DIR: &str = "/etc/outpost/conf.d";
/// Prefix of environment variables: `OUTPOST_<SECTION>__<KEY>`.
pub(super) const ENV_PREFIX: &str = "OUTPOST_";

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// A configuration with the origin of each value, and what was wrong on the way.
#[derive(Clone, Debug, Default)]
pub struct Layered {
    /// The values.
    pub config: Config,
    /// Origin of each key that somebody set.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Where the entries of the lists stand, and their keys.
    pub(super) entries: EntryOrigins,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

impl Layered {
    /// Origin of `key`.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Lays a file over what is there. A missing file is nothing; one that cannot be read is a problem.
    pub fn add_file(&mut self, path: &Path) {
        let text = match read_bounded(path) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(reason) => return self.problem(Origin::File(path.into(), 1), reason),
        };
        self.add_text(path, &text);
    }

    /// Lays the text of a file over what is there.
    pub fn add_text(&mut self, path: &Path, text: &str) {
        let at = |offset: usize| Origin::File(path.into(), line_of(text, offset));
        let parsed = toml::de::DeTable::parse(text)
            .map_err(|e| (e.span().map_or(0, |s| s.start), e.message().to_owned()))
            .and_then(|spans| {
                toml::from_str::<toml::Table>(text).map(|t| (spans, t)).map_err(|e| (0, e.to_string()))
            });
        let (spans, table) = match parsed {
            Ok(parsed) => parsed,
            Err((offset, message)) => return self.problem(at(offset), message),
        };
        for (section, body) in spans.get_ref() {
            let name = section.get_ref().as_ref();
            let (body, values) = (body.get_ref(), table.get(name));
            if let Some(list) = Config::LISTS.iter().find(|list| list.name == name) {
                self.add_list(list, at(section.span().start), body, values, at);
                continue;
            }
            if !Config::SECTIONS.contains(&name) {
                let known: Vec<&str> = Config::LISTS.iter().map(|list| list.name).collect();
                let words = match body.as_table() {
                    Some(_) => format!("there is no section [{name}]"),
                    None => format!("`{name}` is neither a [section] nor a [[list]]"),
                };
                let hint = nearest(name, &[Config::SECTIONS, &known].concat());
                self.problem(at(section.span().start), words + &hint);
                continue;
            }
            let (Some(entries), Some(values)) = (body.as_table(), values.and_then(toml::Value::as_table))
            else {
                let words = format!("`{name}` is a section, once: write [{name}] before its keys");
                self.problem(at(section.span().start), words);
                continue;
            };
            for (key, _) in entries {
                let path = format!("{name}.{}", key.get_ref());
                let origin = at(key.span().start);
                match values.get(key.get_ref().as_ref()) {
                    Some(value) => self.put(&path, origin, |config| config.set(&path, value)),
                    None => self.problem(origin, format!("`{path}` has no value")),
                }
            }
        }
    }

    /// Lays environment variables over what is there; others than ours are passed over.
    pub fn add_env(&mut self, vars: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in vars {
            let Some((section, key)) = name.strip_prefix(ENV_PREFIX).and_then(|rest| rest.split_once("__"))
            else {
                continue;
            };
            let path = format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase());
            self.put(&path, Origin::Env(name.clone()), |config| config.set_text(&path, &value));
        }
    }

    /// Lays `section.key=value` flags over what is there.
    pub fn add_flags<'a>(&mut self, flags: impl IntoIterator<Item = &'a str>) {
        for flag in flags {
            match flag.split_once('=') {
                Some((path, value)) => {
                    let path = path.trim();
                    self.put(path, Origin::Flag, |config| config.set_text(path, value.trim()));
                }
                None => self.problem(Origin::Flag, format!("`{flag}`: expected section.key=value")),
            }
        }
    }

    fn put(
        &mut self,
        path: &str,
        origin: Origin,
        set: impl FnOnce(&mut Config) -> Option<Result<(), String>>,
    ) {
        match (set(&mut self.config), Config::KEYS.iter().find(|k| k.path == path)) {
            (Some(Ok(())), Some(key)) => {
                self.origins.insert(key.path, origin);
            }
            (Some(Err(reason)), _) => self.problem(origin, format!("`{path}` {reason}")),
            _ if is_list(path) => {
                let list = path.split('.').next().unwrap_or(path);
                let words =
                    format!("`{list}` is a list: its entries, each under [[{list}]], stand in files only");
                self.problem(origin, words);
            }
            _ => {
                let known: Vec<&str> = Config::KEYS.iter().map(|k| k.path).collect();
                self.problem(origin, format!("there is no key `{path}`{}", nearest(path, &known)));
            }
        }
    }

    /// Notes something wrong.
    pub fn problem(&mut self, origin: Origin, message: impl Into<String>) {
        self.problems.push(Problem { origin, message: message.into() });
    }
}

/// The text of a file of bounded size; `None` when there is none.
pub fn read_bounded(path: &Path) -> Result<Option<String>, String> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot be read: {e}")),
        Ok(m) if m.len() > limits::CONFIG_BYTES_MAX => {
            return Err(format!("has {} bytes, more than {}", m.len(), limits::CONFIG_BYTES_MAX));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|e| format!("cannot be read: {e}"))
}

/// Drop-ins of `dir` in the order of their names; a missing directory has none.
pub(super) fn drop_ins(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

/// Whether a path such as `task.name` leads into a list.
fn is_list(path: &str) -> bool {
    let section = path.split('.').next().unwrap_or(path);
    Config::LISTS.iter().any(|list| list.name == section)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}

/// `; did you mean …` for a name that is near enough to be a slip of the finger.
/// Words that name the nearest of `known`, when one is near.
pub fn nearest(name: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, k)| *distance <= k.len().div_ceil(3))
        .map(|(_, k)| format!("; did you mean `{k}`?"))
        .unwrap_or_default()
}
