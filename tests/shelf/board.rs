//! A daemon with a models' folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::node::{Node, until, with_model};

pub(crate) struct Board {
    pub(crate) node: Node,
    /// The real package.
    source: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: Value,
    pub(crate) words: String,
}

impl Board {
    /// Not started yet.
    pub(crate) fn new(settings: &[&str]) -> Self {
        let mut all = with_model();
        let package = all.remove(0);
        all.push("engine.slots=1".into());
        all.extend(settings.iter().map(ToString::to_string));
        let board = Self { node: Node::new(&all), source: package.split_once('=').unwrap().1.into() };
        fs::create_dir(board.models()).unwrap();
        board
    }

    fn models(&self) -> PathBuf {
        self.node.state().join("models")
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.source.join("outpost-model.toml")).unwrap()
    }

    /// The real package under a name of its own; `change` may spoil its manifest.
    pub(crate) fn package(&self, name: &str, change: impl Fn(String) -> String) -> PathBuf {
        let dir = self.models().join(name);
        fs::create_dir(&dir).unwrap();
        for path in
            fs::read_dir(&self.source).unwrap().map(|entry| entry.unwrap().path().canonicalize().unwrap())
        {
            if path.is_file() && !path.ends_with("outpost-model.toml") {
                std::os::unix::fs::symlink(&path, dir.join(path.file_name().unwrap())).unwrap();
            }
        }
        let named =
            self.manifest().replacen("name = \"smollm2-135m-instruct\"", &format!("name = \"{name}\""), 1);
        fs::write(dir.join("outpost-model.toml"), change(named)).unwrap();
        dir
    }

    /// One that answers.
    pub(crate) fn good(&self, name: &str) {
        self.package(name, |manifest| manifest);
    }

    /// One that computes something else than it says.
    pub(crate) fn bad(&self, name: &str) {
        self.package(name, |manifest| {
            let at = manifest.find("first_logit = ").unwrap() + "first_logit = ".len();
            format!("{}9{}", &manifest[..at], manifest[at..].trim_start_matches('-'))
        });
    }

    /// One that takes its time: gigabytes of zeros have to be hashed first.
    pub(crate) fn slow(&self, name: &str) {
        let bytes = 60_u64 << 30;
        let zeros =
            format!("\n[[file]]\npath = \"zeros\"\nbytes = {bytes}\nsha256 = \"{}\"\n", "0".repeat(64));
        let dir = self.package(name, |manifest| manifest + &zeros);
        File::create(dir.join("zeros")).unwrap().set_len(bytes).unwrap();
    }

    /// Takes a published model from a folder.
    pub(crate) fn pull_folder(&self, dir: &Path, name: &str) {
        let mut command = self.command();
        command.args(["pull", "--name", name, "--from-dir"]).arg(dir);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `outpost models …` of this board.
    pub(crate) fn models_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("models").args(arguments);
        command
    }

    /// `outpost …` of this board.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outpost"));
        for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("OUTPOST_")) {
            command.env_remove(key);
        }
        command.env("OUTPOST_CONFIG", "/dev/null").env("OUTPOST_STORE__PATH", self.node.state());
        command.env("OUTPOST_HTTP__SOCKET", self.node.socket());
        command.arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn models_say(&self, arguments: &[&str]) -> Said {
        let output = self.models_command(arguments).output().unwrap();
        Said {
            code: output.status.code(),
            out: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            words: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Activates a package that passes.
    pub(crate) fn activate(&self, name: &str) {
        let said = self.models_say(&["activate", name]);
        assert_eq!((said.code, said.out["state"].as_str()), (Some(0), Some("in use")), "{said:?}");
    }

    /// Name → how it is marked.
    pub(crate) fn mark(&self, name: &str) -> Option<String> {
        let list = self.models_say(&["installed"]).out;
        let one = list["models"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
        one["mark"].as_str().map(str::to_owned)
    }

    /// The model that answers.
    pub(crate) fn answers(&self) -> String {
        self.node.ready();
        self.node.status()["model"]["name"].as_str().unwrap().to_owned()
    }

    /// Accepts a request; its id.
    pub(crate) fn accept(&self, n: usize) -> String {
        let id = format!("r{n}");
        let body = json!({"messages": [{"role": "user", "content": "Tell me of the sea."}], "max_tokens": 40,
            "ignore_eos": true, "outpost": {"id": id}});
        let (status, answer) = self.node.post("/v1/requests", &body);
        assert_eq!(status, 202, "{answer}");
        id
    }

    /// Waits for its final, which is an answer; which model wrote it.
    pub(crate) fn answered(&self, id: &str) -> String {
        let done = until(&format!("{id} has its final"), || {
            self.node.get(&format!("/v1/requests/{id}")).filter(|(status, _)| *status != 202)
        });
        assert_eq!((done.0, done.1["object"].as_str()), (200, Some("chat.completion")), "{done:?}");
        done.1["model"].as_str().unwrap().to_owned()
    }
}
