//! The command line as scripts see it: output, exit codes (sysexits.h), closed pipes.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::harness::{alone, binary, shared};

fn outpost(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = binary();
    command.arg("--socket").arg(socket).args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    outpost(&shared().socket(), arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command with something on standard input.
fn piped(socket: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = outpost(socket, arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its input need not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn ask_prints_the_answer_and_json_the_whole_document() {
    let daemon = alone();
    let arguments = ["ask", "Tell", "me", "of", "the", "sea.", "--temperature", "0", "--max-tokens", "12"];
    let said = outpost(&daemon.socket(), &arguments).output().unwrap();
    assert_eq!(code(&said), 0, "{}", String::from_utf8_lossy(&said.stderr));
    let whole = outpost(&daemon.socket(), &[&["--json"], &arguments[..]].concat()).output().unwrap();
    let whole = json(&whole);
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{text}\n"));
    // The question may come through a pipe, too.
    let rest = ["ask", "--temperature", "0", "--max-tokens", "12"];
    let question = piped(&daemon.socket(), &rest, b"Tell me of the sea.\n");
    assert_eq!(String::from_utf8(question.stdout).unwrap(), format!("{text}\n"));
}

#[test]
fn chat_answers_every_line_and_remembers() {
    let arguments = ["chat", "--json", "--temperature", "0", "--max-tokens", "6"];
    let output = piped(&shared().socket(), &arguments, b"My name is Ada.\n\nWho am I?\n/new\nHi\n");
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    let turns = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let turns: Vec<Value> = turns.map(Result::unwrap).collect();
    assert_eq!(turns.len(), 3);
    assert!(turns.iter().all(|t| t["role"] == "assistant" && t["content"].is_string()));
}

#[test]
fn status_and_models_are_for_people_and_for_programs() {
    assert_eq!(json(&run(&["status", "--json"]))["state"], "ready");
    let text = String::from_utf8(run(&["status"]).stdout).unwrap();
    assert!(text.starts_with("state     ready\n"), "{text}");
    let models = json(&run(&["models", "--json"]));
    let name = models["data"][0]["id"].as_str().unwrap();
    assert!(String::from_utf8(run(&["models"]).stdout).unwrap().starts_with(name));
}

#[test]
fn exit_codes_tell_a_script_what_went_wrong() {
    for arguments in [&[][..], &["fly"], &["ask", "--max-tokens", "many", "x"], &["status", "--fast"]] {
        assert_eq!(code(&run(arguments)), 64, "{arguments:?}");
    }
    for arguments in [&["ask", "x", "--temperature", "9"][..], &["ask"], &["ask", &"word ".repeat(2000)]] {
        assert_eq!(code(&run(arguments)), 65, "{arguments:?}");
    }
    assert_eq!(code(&run(&["ask", "x", "--model", "gpt-9"])), 69);
    assert_eq!(code(&run(&["status", "--set", "engine.slots=0"])), 78);
    for arguments in [&["--help"][..], &["--version"], &["ask", "--help"]] {
        assert_eq!(code(&run(arguments)), 0, "{arguments:?}");
    }
    let nobody = Path::new("/nowhere/outpost.sock");
    for arguments in [&["status"][..], &["models"], &["ask", "x"]] {
        let output = outpost(nobody, arguments).output().unwrap();
        assert_eq!(code(&output), 69, "{arguments:?}");
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(
            words.contains("/nowhere/outpost.sock") && words.contains("is the daemon running?"),
            "{words}"
        );
    }
    let too_much = piped(&shared().socket(), &["ask"], &vec![b'x'; 200_000]);
    assert_eq!(code(&too_much), 65);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    // The answer is longer than the pipe is patient: the reader leaves after the first bytes.
    let daemon = alone();
    let arguments = ["ask", "Count from one to ten thousand.", "--max-tokens", "200"];
    let mut child =
        outpost(&daemon.socket(), &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), String::from_utf8(output.stderr).unwrap()), (0, String::new()));
    daemon.idle();
}

#[test]
fn config_check_finds_every_problem_and_show_says_where_values_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("outpost.toml");
    std::fs::write(&file, "[engine]\nslots = 0\ncontxt = 2\n").unwrap();
    let config = |arguments: &[&str]| {
        let mut command = binary();
        command.env_remove("OUTPOST_CONFIG").env("OUTPOST_ENGINE__THREADS", "3");
        command.arg("--config").arg(&file).args(arguments).output().unwrap()
    };
    let output = config(&["config", "check", "--json"]);
    assert_eq!(code(&output), 78);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["ok"], found["problems"].as_array().unwrap().len()), (&Value::Bool(false), 2));
    let text = String::from_utf8(config(&["config", "check"]).stdout).unwrap();
    assert!(text.contains("outpost.toml:2") && text.contains("outpost.toml:3"), "{text}");

    std::fs::write(&file, "[engine]\nslots = 2\n").unwrap();
    assert_eq!(code(&config(&["config", "check"])), 0);
    let shown = json(&config(&["config", "show", "--json"]));
    assert_eq!(shown["engine.slots"]["value"], 2);
    assert!(shown["engine.slots"]["from"].as_str().unwrap().contains("outpost.toml:2"), "{shown}");
    assert_eq!(shown["engine.threads"]["value"], 3);
    assert!(shown["engine.threads"]["from"].as_str().unwrap().contains("OUTPOST_ENGINE__THREADS"), "{shown}");
    // What `show` prints is itself a configuration.
    let text = config(&["config", "show"]).stdout;
    std::fs::write(&file, text).unwrap();
    assert_eq!(code(&config(&["config", "check"])), 0);
}

#[test]
fn serve_says_why_it_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("o.sock");
    let serve = |setting: &str| outpost(&socket, &["serve", "--set", setting]).output().unwrap();
    for (setting, words) in [
        ("engine.slots=65", "engine.slots"),
        ("engine.slots=many", "engine.slots"),
        ("engine.slot=4", "engine.slots"),
        ("store.path=/proc/outpost", "store.path"),
        ("http.socket_mode=rw", "http.socket_mode"),
    ] {
        let output = serve(setting);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(&output), 78, "{setting}: {log}");
        assert!(log.contains(words), "{setting}: {log}");
    }
}

#[test]
fn without_a_model_the_daemon_lives_and_says_what_to_do() {
    let daemon = crate::harness::Daemon::spawn(&[]);
    crate::harness::until("it listens", || std::os::unix::net::UnixStream::connect(daemon.socket()).ok());
    assert_eq!(daemon.get("/health/live").status, 200);
    let ready = daemon.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.json()["error"]["message"].as_str().unwrap().contains("model.package"));
    let ask = outpost(&daemon.socket(), &["ask", "x"]).output().unwrap();
    assert_eq!(code(&ask), 69);
    // A package that cannot be used is a state with a reason, too, not the end.
    let broken = crate::harness::Daemon::spawn(&["model.package=/nowhere/model"]);
    crate::harness::until("it listens", || std::os::unix::net::UnixStream::connect(broken.socket()).ok());
    let status = broken.status_when("it has given up", |s| s["state"] == "failed");
    assert!(!status["reason"].as_str().unwrap().is_empty());
    assert_eq!(broken.chat(&crate::harness::prompt("x", 1)).status, 503);
}
