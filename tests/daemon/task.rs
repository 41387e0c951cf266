//! `outpost task`: a payload becomes a prompt, and the answer is held against the schema.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{binary, shared};

/// A configuration with tasks, and a payload beside it.
struct Site {
    dir: TempDir,
}

const TASKS: &str = r#"
[mqtt]
url = "mqtt://broker"
[node]
id = "press-3"

[[task]]
name = "vibration"
topic = "plant/{line}/vibration"
system = "You know machines."
prompt = "Is {{ payload.rms }} mm/s on {{ line }} too much?"
result = "plant/{{ topic[1] }}/verdict"
temperature = 0
max_tokens = 8

[[task]]
name = "strict"
topic = "plant/+/heat"
prompt = "{{ payload.t }}"
result = "heat/verdict"
schema_file = "SCHEMA"
temperature = 0
max_tokens = 8
"#;

impl Site {
    fn new(schema: &Value) -> Self {
        let dir = TempDir::new().unwrap();
        let site = Self { dir };
        let schema_file = site.file("schema.json", &schema.to_string());
        site.file("outpost.toml", &TASKS.replace("SCHEMA", &schema_file.display().to_string()));
        site
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, socket: &Path, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.env("OUTPOST_CONFIG", self.dir.path().join("outpost.toml")).current_dir(self.dir.path());
        command.arg("--socket").arg(socket).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn dry(&self, arguments: &[&str]) -> Output {
        self.run(Path::new("/nowhere/o.sock"), &[arguments, &["--dry-run"]].concat())
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    assert_eq!(code(output), 0, "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", err(output)))
}

#[test]
fn a_dry_run_shows_prompt_and_topics_without_a_daemon() {
    let site = Site::new(&json!({}));
    site.file("reading.json", r#"{"rms": 4.2}"#);
    let shown = out(&site.dry(&["task", "test", "vibration", "--payload", "reading.json"]));
    for line in [
        "message on   plant/line/vibration",
        "result to    plant/line/verdict",
        "errors to    outpost/v1/press-3/task/vibration/error",
        "--- system ---\nYou know machines.",
        "--- user ---\nIs 4.2 mm/s on line too much?",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let topic = ["--topic", "plant/a/vibration", "--json"];
    let shown = site.dry(&[&["task", "test", "vibration", "--payload", "reading.json"], &topic[..]].concat());
    assert_eq!(code(&shown), 0, "{}", err(&shown));
    let shown = json(&shown);
    assert_eq!(shown["result_topic"], "plant/a/verdict");
    assert_eq!(shown["body"]["messages"][1]["content"], "Is 4.2 mm/s on a too much?");
    assert_eq!(shown.get("attempts"), None);
}

#[test]
fn what_does_not_render_says_why_and_ends_as_bad_data() {
    let site = Site::new(&json!({}));
    let test = |payload: &str, more: &[&str]| {
        site.file("p", payload);
        let output = site.dry(&[&["task", "test", "vibration", "--payload", "p"], more].concat());
        assert_eq!(code(&output), 65, "{payload}");
        err(&output)
    };
    let words = test(r#"{"rmss": 1}"#, &[]);
    assert!(words.contains("`payload.rms`, which is not there"), "{words}");
    assert!(words.contains("outpost/v1/press-3/task/vibration/error"), "{words}");
    assert!(test("4,2", &[]).contains("not JSON"));
    assert!(test(r#"{"rms": 1}"#, &["--topic", "elsewhere"]).contains("none of the task's topic filters"));
    let nobody = site.dry(&["task", "test", "vibrations", "--payload", "p"]);
    assert_eq!(code(&nobody), 65);
    assert!(err(&nobody).contains("there are: vibration, strict"), "{}", err(&nobody));
    assert_eq!(code(&site.dry(&["task", "test", "vibration", "--payload", "none.json"])), 65);
    assert_eq!(code(&site.dry(&["task", "test", "vibration"])), 64);
}

#[test]
fn the_list_names_tasks_with_their_topics() {
    let site = Site::new(&json!({}));
    let nowhere = Path::new("/nowhere/o.sock");
    let shown = out(&site.run(nowhere, &["task", "list"]));
    assert!(shown.starts_with("vibration") && shown.contains("plant/+/heat -> heat/verdict"), "{shown}");
    let shown = json(&site.run(nowhere, &["task", "list", "--json"]));
    assert_eq!(shown["tasks"][1]["name"], "strict");
    assert_eq!(shown["tasks"][1]["schema"], true);
}

#[test]
fn config_check_finds_mistakes_in_templates_schemas_and_files() {
    let site = Site::new(&json!({"type": "strin"}));
    let broken = TASKS.replace("{{ payload.t }}", "{{ payload.t }").replace("SCHEMA", "/nowhere/schema.json");
    let nowhere = Path::new("/nowhere/o.sock");
    let check = || {
        let output = site.run(nowhere, &["config", "check"]);
        assert_eq!(code(&output), 78);
        String::from_utf8(output.stdout).unwrap()
    };
    let words = check();
    assert!(words.contains("outpost.toml:21: `task.schema_file` of strict is no JSON Schema"), "{words}");
    site.file("outpost.toml", &broken);
    let words = check();
    assert!(words.contains("outpost.toml:19: `task.prompt` of strict is no template"), "{words}");
    assert!(words.contains("/nowhere/schema.json cannot be read"), "{words}");
    assert_eq!(code(&site.run(nowhere, &["serve"])), 78);
    assert_eq!(code(&site.run(nowhere, &["task", "list"])), 78);
}

#[test]
fn config_show_prints_lists_as_a_configuration() {
    let site = Site::new(&json!({}));
    let nowhere = Path::new("/nowhere/o.sock");
    let before = json(&site.run(nowhere, &["config", "show", "--json"]));
    assert_eq!(before["task"][0]["name"]["value"], "vibration");
    assert!(
        before["task"][1]["schema_file"]["from"].as_str().unwrap().ends_with("outpost.toml:21"),
        "{before}"
    );
    let text = out(&site.run(nowhere, &["config", "show"]));
    site.file("outpost.toml", &text);
    assert_eq!(code(&site.run(nowhere, &["config", "check"])), 0);
    let after = json(&site.run(nowhere, &["config", "show", "--json"]));
    for key in ["prompt", "topic", "result", "max_tokens", "on_change"] {
        assert_eq!(before["task"][1][key]["value"], after["task"][1][key]["value"], "{key}");
    }
}

#[test]
fn the_model_answers_and_an_answer_without_a_schema_is_the_result() {
    let site = Site::new(&json!({}));
    site.file("p", r#"{"rms": 4.2}"#);
    let shown = site.run(&shared().socket(), &["task", "test", "vibration", "--payload", "p", "--json"]);
    assert_eq!(code(&shown), 0, "{}", err(&shown));
    let shown = json(&shown);
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(shown["attempts"][0]["answer"], shown["result"]);
    assert!(!shown["result"].as_str().unwrap().is_empty());
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_twice_and_ends_as_bad_data() {
    // Nothing fits this schema, whatever the model says.
    let site = Site::new(&json!({"not": {}}));
    site.file("p", r#"{"t": 80}"#);
    let shown = site.run(&shared().socket(), &["task", "test", "strict", "--payload", "p", "--json"]);
    assert_eq!(code(&shown), 65);
    let shown = json(&shown);
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|attempt| attempt["wrong"].is_string()), "{shown}");
    assert_eq!(shown["result"], Value::Null);
}
