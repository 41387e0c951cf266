//! A server on the premises that is not ours, as the zone `site`.

use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use super::{OPEN, Plant, chat};
use crate::{
    harness::{until, with},
    http::{Answer, Connection, Event, Stream},
    site::{self, CONTEXT, MODEL, NAME, Server, TOKEN},
};

/// Lets everything go to sites, and nothing farther.
const PREMISES: &str = r#"
version = 1
[[rule]]
name = "premises"
effect = "allow"
to = { zone = "site" }
"#;

/// The context that it says it has.
fn known() -> String {
    format!("context = {CONTEXT}")
}

/// With the model and a context that is soon full, one slot.
fn small(policy: &str, toml: &str) -> Plant {
    Plant::with_model_and(policy, toml, &["engine.context=256"])
}

/// More than the device's context, less than the site's.
fn long() -> String {
    format!("{}What does the pump do?", "The pump hums. ".repeat(100))
}

/// The same answer each time: by chance a small model may also say nothing.
fn greedy(model: &str, text: &str) -> Value {
    with(chat(model, text), json!({"temperature": 0}))
}

fn ask(plant: &Plant, model: &str, text: &str) -> Answer {
    plant.daemon.chat(&greedy(model, text))
}

fn zone(plant: &Plant) -> (String, String) {
    let status = plant.daemon.status();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&status["zones"]["site"]), text(&status["zone_reasons"]["site"]))
}

fn ledger(plant: &Plant) -> Vec<Value> {
    let usage = plant.daemon.get("/v1/usage").json();
    usage["data"].as_array().unwrap().iter().filter(|row| row["zone"] == "site").cloned().collect()
}

/// Tokens of this prompt, as the server itself counts them.
fn counted(server: &Server, text: &str) -> Value {
    let mut connection = Connection::new(Stream::Tcp(TcpStream::connect(server.address()).unwrap()));
    let key = format!("authorization: Bearer {TOKEN}\r\n");
    let body = with(greedy(MODEL, text), json!({"max_tokens": 1}));
    let answer = connection.ask_with("POST", "/v1/chat/completions", &key, Some(&body));
    answer.good()["usage"]["prompt_tokens"].clone()
}

#[test]
fn a_site_answers_by_its_name_and_by_its_models_whole_and_streamed_and_is_on_record() {
    let server = Server::start();
    let plant = Plant::without_model(PREMISES, &server.entry(&known()));
    let listed = plant.daemon.get("/v1/models").json();
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["zone"]), (&json!(NAME), &json!("site")));
    let text = "What is loud?";
    let prompt_tokens = counted(&server, text);
    let mut completion_tokens = 0;
    for model in [NAME, MODEL] {
        let answer = ask(&plant, model, text);
        let body = answer.good();
        assert_eq!(answer.header("x-outpost-zone"), Some("site"), "{model}");
        assert_eq!(answer.header("x-outpost-provider"), Some(NAME), "{model}");
        assert_eq!(body["outpost"]["cost_usd"].as_f64(), Some(0.0), "{body}");
        assert!(!answer.text().is_empty());
        assert_eq!(body["usage"]["prompt_tokens"], prompt_tokens, "{body}");
        completion_tokens += body["usage"]["completion_tokens"].as_u64().unwrap();

        let options = json!({"stream": true, "stream_options": {"include_usage": true}});
        let streamed = plant.daemon.chat(&with(greedy(model, text), options));
        assert_eq!(streamed.header("x-outpost-zone"), Some("site"), "{model}");
        let events = streamed.events();
        let pieces = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str());
        assert!(pieces.filter(|piece| !piece.is_empty()).count() > 1, "piece by piece: {events:?}");
        let last = events.last().unwrap();
        assert_eq!(last["usage"]["prompt_tokens"], prompt_tokens, "{last}");
        assert_eq!(last["outpost"]["zone"], "site", "{last}");
        let tokens = last["usage"]["completion_tokens"].as_u64().unwrap();
        assert!((1..=40).contains(&tokens), "{last}");
        completion_tokens += tokens;
    }

    let audit = plant.audit();
    let events: Vec<_> = audit.iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["sent", "settled"].repeat(4));
    for row in &audit {
        assert_eq!((&row["zone"], &row["provider"]), (&json!("site"), &json!(NAME)), "{row}");
        assert_eq!((&row["model"], &row["rule"]), (&json!(MODEL), &json!("premises")), "{row}");
        assert_eq!(row["cost_micro_usd"].as_u64(), Some(0), "{row}");
    }
    let ledger = ledger(&plant);
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!((&ledger[0]["provider"], &ledger[0]["requests"]), (&json!(NAME), &json!(4)));
    assert_eq!(ledger[0]["prompt_tokens"].as_u64(), prompt_tokens.as_u64().map(|n| 4 * n));
    assert_eq!(ledger[0]["completion_tokens"].as_u64(), Some(completion_tokens));
    assert_eq!(ledger[0]["cost_micro_usd"].as_u64(), Some(0));
    assert_eq!(zone(&plant), ("ok".into(), String::new()));
    assert!(plant.router.prompts().is_empty(), "the cloud hears nothing of it");
    assert!(!plant.daemon.log().contains(TOKEN), "the token is in the log");
}

#[test]
fn a_token_that_a_site_does_not_take_is_told_and_tried_again_at_sighup() {
    let mut server = Server::start_with("another-token-than-ours");
    let plant = Plant::without_model(PREMISES, &server.entry(&known()));
    let (status, code, _) = ask(&plant, NAME, "hi").error();
    assert_eq!((status, code.as_str()), (502, "provider_error"));
    let (state, why) = zone(&plant);
    assert_eq!(state, "breaker open");
    // Its words stay in the log: they may repeat what was asked.
    assert_eq!(why, "hq: unauthenticated (401)");
    // Nobody asks it until somebody has changed something.
    server.start_again();
    let error = ask(&plant, NAME, "hi");
    assert_eq!(error.status, 502);
    assert!(
        error.json()["error"]["message"].as_str().unwrap().contains("unauthenticated"),
        "{}",
        error.json()
    );
    plant.daemon.reload();
    until("it is asked again", || (ask(&plant, NAME, "hi").status == 200).then_some(()));
    assert_eq!(zone(&plant).0, "ok");
}

#[test]
fn a_site_that_is_not_there_is_told_and_asked_again_when_it_is_back() {
    let mut server = Server::start();
    server.kill();
    let plant = Plant::without_model(PREMISES, &server.entry(&known()));
    let error = ask(&plant, NAME, "hi");
    assert_eq!(error.error().1, "provider_error", "{}", error.json());
    assert!(error.json()["error"]["message"].as_str().unwrap().contains("unreachable"), "{}", error.json());
    let (state, why) = zone(&plant);
    assert!(state == "breaker open" && why.contains("unreachable"), "{state}: {why}");
    server.start_again();
    plant.daemon.reload();
    until("it is asked again", || (ask(&plant, NAME, "hi").status == 200).then_some(()));
    let audit = plant.audit();
    let count = |event: &str| audit.iter().filter(|row| row["event"] == event).count();
    assert_eq!(count("sent"), count("settled"));
}

#[test]
fn a_site_that_dies_in_the_middle_of_an_answer_ends_it_with_an_error_and_rests_until_it_is_back() {
    let mut server = Server::start();
    let plant = Plant::without_model(PREMISES, &server.entry(&known()));
    let endless = json!({"stream": true, "max_tokens": 1500});
    let mut connection = plant.daemon.connect();
    let text = "Count from one to ten thousand, and write each number down.";
    connection.stream("/v1/chat/completions", &with(greedy(NAME, text), endless));
    let content = |event: &Event| match event {
        Event::Data(data) => data["choices"][0]["delta"]["content"].as_str().map(str::to_owned),
        Event::Done => None,
    };
    while content(&connection.event().unwrap()).is_none_or(|piece| piece.is_empty()) {}
    server.kill();
    let events = connection.events();
    let Some(Event::Data(error)) = events.iter().rev().find(|event| **event != Event::Done) else {
        panic!("{events:?}")
    };
    assert_eq!(error["error"]["code"], "provider_error", "{error}");
    let why = error["error"]["message"].as_str().unwrap();
    assert!(why.contains("hq failed in the middle of the answer"), "{why}");
    let settled = plant.audit().into_iter().find(|row| row["event"] == "settled").unwrap();
    assert!(settled["reason"].as_str().unwrap().contains("estimate"), "{settled}");
    assert_eq!(ledger(&plant)[0]["requests"], 0, "nobody was answered");
    assert_eq!(zone(&plant).0, "breaker open");
    server.start_again();
    until("its rest is over", || (ask(&plant, NAME, "hi").status == 200).then_some(()));
}

#[test]
fn what_the_policy_or_the_request_keeps_here_never_reaches_a_site() {
    let cloud_only = "version = 1\n[[rule]]\nname = \"c\"\neffect = \"allow\"\nto = { zone = \"cloud\" }\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let files = tempfile::tempdir().unwrap();
    site::write_token(files.path());
    let address = listener.local_addr().unwrap().to_string();
    let toml = site::entry(&address, files.path(), &known());
    let here = json!({"outpost": {"zone_max": "device"}});
    for (policy, body, state) in [
        (cloud_only, chat(NAME, "hi"), "blocked"),
        (cloud_only, chat(MODEL, "hi"), "blocked"),
        ("version = 1\n", chat(NAME, "hi"), "blocked"),
        (PREMISES, with(greedy(NAME, "hi"), here.clone()), "ok"),
    ] {
        let plant = Plant::without_model(policy, &toml);
        let (status, code, _) = plant.daemon.chat(&body).error();
        assert_eq!((status, code.as_str()), (403, "policy_denied"), "{body}");
        assert_eq!(zone(&plant).0, state);
        assert!(plant.audit().iter().all(|row| row["event"] == "denied"));
    }
    let plant = small(PREMISES, &toml);
    let answer = plant.daemon.chat(&with(greedy("auto", "hi"), here.clone()));
    assert_eq!(answer.header("x-outpost-zone"), Some("device"), "{}", answer.json());
    let (status, code, _) = plant.daemon.chat(&with(greedy("auto", &long()), here)).error();
    assert_eq!((status, code.as_str()), (422, "context_length_exceeded"));
    let came = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(came, Err(std::io::ErrorKind::WouldBlock), "somebody has connected");
}

#[test]
fn what_is_too_long_for_the_device_is_answered_by_the_site_and_the_rest_here() {
    let server = Server::start();
    let plant = small(OPEN, &server.entry(&known()));
    let short = ask(&plant, "auto", "hi");
    assert_eq!(short.header("x-outpost-zone"), Some("device"), "{}", short.json());
    let answer = ask(&plant, "auto", &long());
    let body = answer.good();
    assert_eq!(answer.header("x-outpost-zone"), Some("site"), "{body}");
    assert_eq!(body["outpost"]["provider"], NAME);
    assert!(body["usage"]["prompt_tokens"].as_u64().unwrap() > 400, "{body}");
    assert!(plant.router.prompts().is_empty(), "nothing goes farther than it has to");
    // Longer than everybody can take, known beforehand.
    let error = ask(&plant, "auto", &"word ".repeat(4_000));
    assert_eq!(error.error().1, "context_length_exceeded", "{}", error.json());
}

#[test]
fn a_site_that_says_that_a_prompt_is_too_long_for_it_is_understood() {
    let server = Server::start();
    // Its context is not configured, and so it is tried.
    let plant = Plant::without_model(PREMISES, &server.entry(""));
    let error = ask(&plant, NAME, &"word ".repeat(3_000));
    assert_eq!(error.error().1, "context_length_exceeded", "{}", error.json());
    assert_eq!(error.status, 422);
    assert_eq!(zone(&plant).0, "ok", "it is not the site's fault");
    assert_eq!(ask(&plant, NAME, "hi").status, 200);
}
