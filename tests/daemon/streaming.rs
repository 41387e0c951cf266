//! Answers in pieces.

use serde_json::{Value, json};

use crate::{
    harness::{alone, endless, prompt, shared, with},
    http::Event,
};

const CHAT: &str = "/v1/chat/completions";

/// The documents of a stream that ends well.
fn documents(events: Vec<Event>) -> Vec<Value> {
    let mut events = events;
    assert_eq!(events.pop(), Some(Event::Done));
    let document = |event| match event {
        Event::Data(value) => value,
        Event::Done => panic!("[DONE] before the end"),
    };
    events.into_iter().map(document).collect()
}

fn text(documents: &[Value]) -> String {
    documents.iter().filter_map(|d| d["choices"][0]["delta"]["content"].as_str()).collect()
}

#[test]
fn the_pieces_are_the_whole_answer() {
    let daemon = alone();
    let body = prompt("Tell me of the sea. Write naïve café ☕.", 32);
    let whole = daemon.chat(&body);
    let mut connection = daemon.connect();
    let head = connection.stream(CHAT, &with(body, json!({"stream": true})));
    let pieces = documents(connection.events());
    assert_eq!(text(&pieces), whole.text());
    assert!(pieces.len() > 4, "{} pieces", pieces.len());
    assert_eq!(pieces[0]["choices"][0]["delta"]["role"], "assistant");
    for piece in &pieces {
        assert_eq!(piece["object"], "chat.completion.chunk");
        assert_eq!(head.header("x-request-id"), piece["id"].as_str());
        assert!(piece.get("usage").is_none_or(Value::is_null), "nobody asked for {piece}");
    }
    let last = pieces.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], whole.good()["choices"][0]["finish_reason"]);
    assert_eq!(head.header("x-outpost-zone"), Some("device"));
}

#[test]
fn usage_comes_last_and_only_when_it_is_asked_for() {
    let daemon = shared();
    let body = with(prompt("Hi", 6), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let mut connection = daemon.connect();
    connection.stream(CHAT, &body);
    let pieces = documents(connection.events());
    let (last, others) = pieces.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    let count = |key: &str| last["usage"][key].as_u64().unwrap();
    assert!(count("completion_tokens") >= 1 && count("completion_tokens") <= 6);
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));
    assert!(others.iter().all(|p| p.get("usage").is_none_or(Value::is_null)));
}

#[test]
fn a_stop_string_is_never_seen_in_a_stream() {
    let daemon = alone();
    let body = with(prompt("Tell me of the sea.", 32), json!({"ignore_eos": true, "stream": true}));
    let mut connection = daemon.connect();
    connection.stream(CHAT, &body);
    let whole = text(&documents(connection.events()));
    // Text from the middle on, so long that it goes across several tokens.
    let middle = whole.char_indices().nth(whole.chars().count() / 2).unwrap().0;
    let stop: String = whole[middle..].chars().take(12).collect();
    connection.stream(CHAT, &with(body, json!({"stop": stop})));
    let pieces = documents(connection.events());
    assert_eq!(text(&pieces), whole[..whole.find(&stop).unwrap()]);
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[test]
fn text_streams_have_no_role() {
    let mut connection = shared().connect();
    let body = json!({"prompt": "The sea is", "max_tokens": 4, "temperature": 0, "stream": true});
    connection.stream("/v1/completions", &body);
    let pieces = documents(connection.events());
    assert!(
        pieces.iter().all(|p| p["object"] == "text_completion" && p["choices"][0].get("delta").is_none())
    );
    let text: String = pieces.iter().filter_map(|p| p["choices"][0]["text"].as_str()).collect();
    assert!(!text.is_empty());
}

#[test]
fn logprobs_of_a_stream_are_those_of_its_text() {
    let mut connection = shared().connect();
    let body = with(prompt("Hi", 8), json!({"stream": true, "logprobs": true, "top_logprobs": 1}));
    connection.stream(CHAT, &body);
    let pieces = documents(connection.events());
    let entries = pieces.iter().filter_map(|p| p["choices"][0]["logprobs"]["content"].as_array()).flatten();
    let bytes: Vec<u8> =
        entries.flat_map(|e| e["bytes"].as_array().unwrap()).map(|b| b.as_u64().unwrap() as u8).collect();
    assert_eq!(String::from_utf8_lossy(&bytes), text(&pieces));
}

#[test]
fn what_is_refused_is_no_stream() {
    let answer = shared().chat(&json!({"messages": [], "stream": true}));
    assert_eq!(answer.error(), (400, "invalid_request".into(), "messages".into()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn a_stream_that_is_late_ends_with_the_error() {
    let daemon = alone();
    let mut connection = daemon.connect();
    connection.stream(CHAT, &with(endless(true), json!({"outpost": {"deadline_ms": 300}})));
    let pieces = documents(connection.events());
    assert_eq!(pieces.last().unwrap()["error"]["code"], "deadline_exceeded");
    assert!(pieces.iter().all(|p| p["choices"][0]["finish_reason"].is_null()));
    daemon.idle();
}

#[test]
fn streams_in_all_slots_run_beside_each_other() {
    let daemon = shared();
    let mut connections: Vec<_> = (0..4).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.stream(CHAT, &with(prompt("Count.", 24), json!({"stream": true, "ignore_eos": true})));
    }
    // Read in the wrong order: no reader keeps another one's answer from being written.
    for connection in connections.iter_mut().rev() {
        let pieces = documents(connection.events());
        assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "length");
    }
}
