//! Configuration: TOML files, then the environment, then flags.
//!
//! [`load`] reads every layer, [`Layered::checked`] refuses what cannot work. Both report
//! all problems at once, each with file and line, so that one visit to the machine is enough.

mod check;
mod layers;
mod schema;
mod setting;

use std::path::Path;

pub use layers::{Layered, Origin, Problem};
pub use schema::{Config, Engine, Http, Key, Log, Model, Node, Runtime, Service, Store};
pub use setting::{FileMode, LogLevel, Setting};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(toml: &str) -> Layered {
        let mut layered = Layered::default();
        layered.add_text(Path::new("outpost.toml"), toml);
        layered
    }

    fn problems(layered: &Layered) -> Vec<String> {
        layered.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_have_no_problem() {
        assert_eq!(Layered::default().checked().map_err(|p| p[0].to_string()), Ok(Config::default()));
    }

    #[test]
    fn later_layers_win_and_every_value_knows_its_place() {
        let mut layered = text("[engine]\nslots = 2\n\nthreads = 3\n");
        layered.add_env([("OUTPOST_ENGINE__SLOTS".into(), "8".into()), ("OUTPOSTS".into(), "x".into())]);
        layered.add_flags(["http.socket=/tmp/a b.sock"]);
        assert_eq!(problems(&layered), [""; 0]);
        let config = &layered.config;
        assert_eq!((config.engine.slots, config.engine.threads), (8, 3));
        assert_eq!(layered.origin("engine.slots").to_string(), "environment OUTPOST_ENGINE__SLOTS");
        assert_eq!(layered.origin("engine.threads").to_string(), "outpost.toml:4");
        assert_eq!(layered.origin("http.socket"), Origin::Flag);
        assert_eq!(layered.origin("engine.context"), Origin::Default);
    }

    #[test]
    fn all_problems_come_at_once_with_their_lines_and_the_nearest_name() {
        let layered =
            text("[engine]\nslot = 2\ncontext = \"big\"\n[htpp]\nsocket = \"\"\n[log]\nlevel = \"loud\"\n");
        assert_eq!(
            problems(&layered),
            [
                "outpost.toml:2: there is no key `engine.slot`; did you mean `engine.slots`?",
                "outpost.toml:3: `engine.context` is text, expected a whole number",
                "outpost.toml:4: there is no section [htpp]; did you mean `http`?",
                "outpost.toml:7: `log.level` is `loud`, expected one of error, warn, info, debug, trace",
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_toml_names_its_line() {
        let problems = problems(&text("[engine]\nslots = = 2\n"));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("outpost.toml:2: "), "{problems:?}");
    }

    #[test]
    fn a_wrong_variable_and_a_wrong_flag_are_problems_too() {
        let mut layered = Layered::default();
        layered.add_env([("OUTPOST_ENGINE__SLOTTS".into(), "1".into())]);
        layered.add_flags(["engine.slots", "engine.slots=many"]);
        assert_eq!(
            problems(&layered),
            [
                "environment OUTPOST_ENGINE__SLOTTS: there is no key `engine.slotts`; did you mean `engine.slots`?",
                "command line: `engine.slots`: expected section.key=value",
                "command line: `engine.slots` is text, expected a whole number",
            ]
        );
    }

    #[test]
    fn every_key_survives_being_shown_and_read_again() {
        let shown = Config::default();
        let mut read = Config::default();
        for key in Config::KEYS {
            let value = shown.get(key.path).expect("a listed key");
            read.set(key.path, &value).expect("a listed key").expect("its own default");
            assert!(!key.doc.trim().is_empty(), "{} has no description", key.path);
        }
        assert_eq!(shown, read);
    }
}
