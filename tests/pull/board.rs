//! A board that pulls: a folder of its own, and the real program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::hub_files::Hub;

pub(crate) struct Board {
    dir: TempDir,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.dir().join("models")
    }

    /// The program, not started yet. What the person who runs the tests has configured is not for it.
    pub(crate) fn outpost(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    /// The same behind another program that ends in `exec "$@"`.
    pub(crate) fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let outpost = env!("CARGO_BIN_EXE_outpost");
        let words: Vec<&str> = wrapper.iter().copied().chain([outpost]).collect();
        let mut command = Command::new(words[0]);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("OUTPOST_") || name.starts_with("HF_") || name == "CREDENTIALS_DIRECTORY" {
                command.env_remove(key);
            }
        }
        command.args(&words[1..]).env("OUTPOST_CONFIG", "/dev/null").stdin(Stdio::null());
        // Below the flags, so that a test can set another value.
        command.env("OUTPOST_STORE__PATH", self.dir()).env("OUTPOST_STORE__FREE_MIN_MB", "1");
        command.env("OUTPOST_CLOUD__FIRST_BYTE_TIMEOUT_S", "1").env("OUTPOST_CLOUD__GAP_TIMEOUT_S", "1");
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `outpost --json pull …` from `hub`.
    pub(crate) fn pull(&self, hub: &Hub, arguments: &[&str]) -> Pulled {
        let mut command = self.outpost(&[&["--json", "pull"], arguments].concat());
        Pulled::of(command.env("HF_ENDPOINT", hub.url()).output().unwrap())
    }

    /// Every file of a package with its content.
    pub(crate) fn package(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let top = self.models().join(name);
        let mut files = Vec::new();
        walk(&top, &top, &mut files);
        files.sort();
        files
    }

    /// The size of the part of a file, while it is fetched.
    pub(crate) fn part(&self, path: &str) -> u64 {
        let Ok(pulls) = fs::read_dir(self.models().join(".pull")) else { return 0 };
        let parts = pulls.filter_map(|p| fs::metadata(p.ok()?.path().join("part").join(path)).ok());
        parts.map(|meta| meta.len()).max().unwrap_or(0)
    }

    /// What is left of pulls that were finished or thrown away.
    pub(crate) fn leftovers(&self) -> usize {
        fs::read_dir(self.models().join(".pull")).map_or(0, Iterator::count)
    }
}

fn walk(top: &Path, dir: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            walk(top, &path, files);
        } else {
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

/// How a pull ended.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) code: i32,
    pub(crate) out: Value,
    pub(crate) words: String,
}

impl Pulled {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// That it came to its end.
    pub(crate) fn well(self) -> Value {
        assert_eq!(self.code, 0, "{}", self.words);
        self.out
    }

    /// That it did not, with this code and these words.
    pub(crate) fn refused(self, code: i32, words: &str) -> String {
        assert_eq!(self.code, code, "{}", self.words);
        assert!(self.words.contains(words), "`{words}` is not in: {}", self.words);
        self.words
    }
}

/// Looks until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting until {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}
