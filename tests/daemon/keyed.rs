//! `Idempotency-Key`: a call that is made again is one call.

use std::thread;

use serde_json::{Value, json};

use crate::{
    harness::{Daemon, alone, prompt, shared, with},
    http::Answer,
    mqtt::occupy,
};

const CHAT: &str = "/v1/chat/completions";

fn ask(daemon: &Daemon, key: &str, body: &Value) -> Answer {
    daemon.connect().ask_with("POST", CHAT, &format!("idempotency-key: {key}\r\n"), Some(body))
}

/// Nothing the model would say twice.
fn chance() -> Value {
    with(prompt("Tell me of the sea.", 12), json!({"temperature": 2, "ignore_eos": true}))
}

/// The text of a stream.
fn streamed(daemon: &Daemon, key: &str, body: &Value) -> String {
    let answer = ask(daemon, key, body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let events = String::from_utf8(answer.body).unwrap();
    let events: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let [chunks @ .., "[DONE]"] = &events[..] else { panic!("no end: {events:?}") };
    let text = |chunk: &&str| {
        let chunk: Value = serde_json::from_str(chunk).unwrap();
        chunk["choices"][0]["delta"]["content"].as_str().map(ToOwned::to_owned)
    };
    chunks.iter().filter_map(text).collect()
}

#[test]
fn a_second_call_gets_the_same_bytes() {
    let daemon = shared();
    let first = ask(daemon, "same-bytes", &chance());
    first.good();
    assert_eq!(first.header("x-request-id"), Some("same-bytes"));
    let second = ask(daemon, "same-bytes", &chance());
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert_eq!(ask(daemon, "same-bytes", &prompt("Hi", 1)).error().1, "id_conflict");
    // Without a key, or with another, it is another call.
    assert_ne!(ask(daemon, "other-bytes", &chance()).text(), first.text());
    // The header and the body say the same, or it is nobody's id.
    let both = with(prompt("Hi", 1), json!({"outpost": {"id": "in-the-body"}}));
    assert_eq!(
        ask(daemon, "in-the-header", &both).error(),
        (400, "invalid_request".into(), "outpost.id".into())
    );
    assert_eq!(ask(daemon, "not an id", &prompt("Hi", 1)).error().2, "Idempotency-Key");
}

#[test]
fn a_second_stream_tells_the_same_text() {
    let daemon = shared();
    let body = with(chance(), json!({"stream": true}));
    let first = streamed(daemon, "same-text", &body);
    assert!(!first.is_empty());
    assert_eq!(streamed(daemon, "same-text", &body), first);
    let kept = daemon.get("/v1/requests/same-text");
    assert_eq!(kept.text(), first);
}

#[test]
fn calls_at_the_same_time_share_one_answer() {
    let daemon = alone();
    let busy = occupy(&daemon);
    let daemon = &*daemon;
    let answers: Vec<Vec<u8>> = thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| ask(daemon, "together", &chance()))).collect();
        daemon.status_when("they wait as one", |s| s["queued"]["interactive"] == 1);
        assert_eq!(ask(daemon, "together", &prompt("Hi", 1)).error().1, "id_conflict");
        drop(busy);
        calls.into_iter().map(|call| call.join().unwrap().body).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let text = String::from_utf8(answers[0].clone()).unwrap();
    assert!(text.contains("chat.completion"), "{text}");
}

#[test]
fn a_call_that_failed_may_be_made_again() {
    let daemon = shared();
    let wrong = prompt(&"word ".repeat(2000), 1);
    for _ in 0..2 {
        assert_eq!(ask(daemon, "failed", &wrong).error().1, "context_length_exceeded");
    }
    ask(daemon, "failed", &prompt("Hi", 1)).good();
}
