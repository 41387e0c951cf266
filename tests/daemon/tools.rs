//! Calls of tools by the model on the device: one that does what its script says, in Mistral's form.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    cloud::{OPEN, Plant},
    harness::{Daemon, prompt, shared, with},
    http::Event,
    openai_client::passes,
};

/// A cloud model for what the device cannot do.
const SMALL: &str = "[cloud]\nmodel = \"org/small\"\n";

/// The scripted graph with the tokenizer and the configuration of Optimum's layout.
pub(crate) fn package() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in fs::read_dir(golden.join("layouts/optimum")).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    fs::copy(golden.join("scripted.onnx"), dir.path().join("model.onnx")).unwrap();
    dir
}

fn settings(package: &tempfile::TempDir) -> String {
    format!("model.package={}", package.path().display())
}

fn go() -> Value {
    json!([{"type": "function", "function": {"name": "go"}}])
}

#[test]
fn the_official_openai_client_calls_the_tools_of_the_device() {
    let package = package();
    let daemon = Daemon::start(&[&settings(&package)]);
    assert_eq!(daemon.status()["model"]["tools"], true);
    passes("test_openai_tools", &daemon.socket(), &[("PYTHONWARNINGS", "error::DeprecationWarning")]);
}

#[test]
fn a_call_is_told_of_piece_by_piece_and_the_final_says_the_same() {
    let package = package();
    let daemon = Daemon::start(&[&settings(&package)]);
    let body = with(prompt("Go!", 20), json!({"tools": go(), "stream": true, "outpost": {"id": "one"}}));
    let mut connection = daemon.connect();
    connection.stream("/v1/chat/completions", &body);
    let events = connection.events().into_iter();
    let events: Vec<Value> =
        events.filter_map(|e| if let Event::Data(data) = e { Some(data) } else { None }).collect();
    let calls: Vec<&Value> =
        events.iter().map(|e| &e["choices"][0]["delta"]["tool_calls"][0]).filter(|c| !c.is_null()).collect();
    assert_eq!(calls[0]["function"]["name"], "go", "{events:#?}");
    assert_eq!((calls[0]["index"].as_u64(), calls[0]["type"].as_str()), (Some(0), Some("function")));
    let id = calls[0]["id"].as_str().unwrap();
    assert!(calls[1..].iter().all(|c| c["id"].is_null() && c["function"]["name"].is_null()));
    let arguments: String = calls.iter().filter_map(|c| c["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, "{}");
    let ends: Vec<&Value> =
        events.iter().map(|e| &e["choices"][0]["finish_reason"]).filter(|f| !f.is_null()).collect();
    assert_eq!(ends, ["tool_calls"]);
    let kept = daemon.get("/v1/requests/one").good();
    let message = &kept["choices"][0]["message"];
    assert_eq!((message["content"].is_null(), &message["tool_calls"][0]["id"]), (true, &json!(id)), "{kept}");
}

#[test]
fn an_answer_that_is_cut_within_a_call_says_so() {
    let package = package();
    let daemon = Daemon::start(&[&settings(&package)]);
    // [TOOL_CALLS] g o [ARGS] {
    let cut = daemon.chat(&with(prompt("Go!", 5), json!({"tools": go()}))).good();
    assert_eq!(cut["choices"][0]["finish_reason"], "length", "{cut}");
    assert_eq!(cut["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{");
    assert_eq!(cut["usage"]["completion_tokens"], 5);
}

#[test]
fn what_cannot_be_called_is_refused_by_name() {
    let package = package();
    let daemon = Daemon::start(&[&settings(&package)]);
    for (extra, field) in [
        (json!({"tools": [{"type": "web_search"}]}), "tools[0]"),
        (json!({"tools": go(), "tool_choice": "perhaps"}), "tool_choice"),
        (
            json!({"tools": go(), "tool_choice": {"type": "function", "function": {"name": "stay"}}}),
            "tool_choice",
        ),
    ] {
        let (status, kind, param) = daemon.chat(&with(prompt("Go!", 5), extra.clone())).error();
        assert_eq!((status, kind.as_str(), param.as_str()), (400, "invalid_request", field), "{extra}");
    }
    // The demo model knows no tools.
    let (status, kind, param) = shared().chat(&with(prompt("Go!", 5), json!({"tools": go()}))).error();
    assert_eq!((status, kind.as_str(), param.as_str()), (422, "schema_unsupported", "tools"));
}

#[test]
fn a_model_that_calls_tools_keeps_the_request_on_the_device() {
    let package = package();
    let plant = Plant::with_model(OPEN, SMALL);
    let tools = with(prompt("Go!", 16), json!({"tools": go()}));
    assert_eq!(
        plant.daemon.chat(&tools).header("x-outpost-zone"),
        Some("cloud"),
        "the demo model calls none"
    );
    let plant = Plant::with_model_and(OPEN, SMALL, &[&settings(&package)]);
    let answer = plant.daemon.chat(&tools);
    assert_eq!(answer.header("x-outpost-zone"), Some("device"));
    assert_eq!(answer.good()["choices"][0]["finish_reason"], "tool_calls");
}
