//! Configuration: TOML files, then the environment, then flags.
//!
//! [`load`] reads every layer, [`Layered::checked`] refuses what cannot work. Both report
//! all problems at once, each with file and line, so that one visit to the machine is enough.

mod board;
mod check;
mod check_lists;
mod cloud;
mod entries;
mod layers;
mod list;
mod mqtt;
mod schema;
mod setting;
#[cfg(test)]
mod tests;
mod words;

use std::path::Path;

pub use layers::{Layered, Origin, Problem, nearest, read_bounded};
pub use list::{Budget, Client, List, Price, Provider, Site, Task};
pub use schema::{
    Board, Cloud, Config, Engine, Http, Key, Log, Model, Mqtt, Node, Policy, Pull, Runtime, Service, Store,
};
pub use setting::{FileMode, LogLevel, Setting};
pub use words::{OnChange, OnCorruption, OneOrMore, PackedWeights, PayloadForm};

/// Where to read from.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// Read this file only, instead of the system's places.
    pub file: Option<&'a Path>,
    /// `section.key=value` from the command line.
    pub flags: Vec<String>,
}

/// Reads all layers. The environment comes in as data, so that tests can bring their own.
pub fn load(sources: &Sources<'_>, env: impl IntoIterator<Item = (String, String)>) -> Layered {
    let mut layered = Layered::default();
    match sources.file {
        Some(file) if !file.exists() => {
            layered.problem(Origin::File(file.into(), 1), "there is no such file");
        }
        Some(file) => layered.add_file(file),
        None => {
            for file in layers::DEFAULT_FILES {
                layered.add_file(Path::new(file));
            }
            for file in layers::drop_ins(Path::new(layers::DROP_IN_DIR)) {
                layered.add_file(&file);
            }
        }
    }
    layered.add_env(env);
    layered.add_flags(sources.flags.iter().map(String::as_str));
    layered
}
