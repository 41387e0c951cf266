//! Whatever is sent: an answer that says what was wrong, and a daemon that goes on as before.

use std::time::Instant;

use serde_json::json;

use crate::{
    harness::{Daemon, alone, prompt, shared, with},
    http::{Connection, request},
    rows::{Row, all},
};

/// Rounds through the whole table while memory is watched.
const ROUNDS: usize = 3;
/// What memory may grow by over those rounds, KiB: less than one of the 10 MB bodies in them.
const GROWTH_KIB_MAX: u64 = 8 * 1024;

type Told = Option<(u16, String, String)>;

fn send(daemon: &Daemon, row: &Row) -> (Told, String) {
    let mut connection = daemon.connect();
    // A refusal may come, and the connection end, before everything is sent.
    let _ = connection.send(&row.bytes);
    if row.half_close {
        connection.half_close();
    }
    let answer = connection.try_answer().unwrap_or_else(|e| panic!("{}: {e}", row.name));
    let message = answer.as_ref().and_then(|a| serde_json::from_slice::<serde_json::Value>(&a.body).ok());
    let message = message.and_then(|m| Some(m["error"]["message"].as_str()?.to_owned()));
    (answer.map(|a| a.error()), message.unwrap_or_default())
}

#[test]
fn every_bad_input_gets_the_answer_that_the_table_promises() {
    let daemon = shared();
    let mut wrong = Vec::new();
    println!("| input | status | code | param | message |\n|---|---|---|---|---|");
    for row in all() {
        let (told, message) = send(daemon, &row);
        let (status, code, param) = told.clone().map_or_else(
            || ("closed".into(), String::new(), String::new()),
            |(status, code, param)| (status.to_string(), code, param),
        );
        let message: String = message.chars().take(100).collect();
        println!("| {} | {status} | {code} | {param} | {message} |", row.name);
        let expected = row.expected.map(|(s, c, p)| (s, c.to_owned(), p.to_owned()));
        if told != expected {
            wrong.push(format!("{}: expected {expected:?}, got {told:?}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    daemon.chat(&prompt("Still there?", 1)).good();
}

#[test]
fn memory_stays_flat_under_bad_input() {
    let daemon = Daemon::start(&[]);
    let rows = all();
    let round = || {
        for row in &rows {
            send(&daemon, row);
        }
        daemon.chat(&prompt("Still there?", 1)).good();
    };
    // The first rounds fill caches and the allocator's arenas.
    round();
    round();
    let before = daemon.anonymous_kib();
    for _ in 0..ROUNDS {
        round();
    }
    let after = daemon.anonymous_kib();
    println!("memory: {before} KiB before, {after} KiB after {} bad inputs", ROUNDS * rows.len());
    assert!(after <= before + GROWTH_KIB_MAX, "{before} KiB before, {after} KiB after");
}

#[test]
fn odd_but_sound_conversations_are_answered() {
    let daemon = shared();
    for body in [
        json!({"messages": [{"role": "user", "content": ""}]}),
        json!({"messages": [{"role": "system", "content": "You are a board."}]}),
        json!({"messages": [{"role": "assistant", "content": "Once"}]}),
        json!({"messages": [{"role": "user", "content": "a\u{0}b"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}),
        json!({"messages": [{"role": "user", "content": "hi", "mood": 7}], "user": "me", "metadata": {"a": [1]}}),
        json!({"messages": [{"role": "user", "content": "hi"}], "stop": null, "seed": null, "n": 1, "stop": []}),
        json!({"messages": [{"role": "user", "content": "hi"}], "seed": i64::MIN, "max_completion_tokens": 1}),
        json!({"messages": [{"role": "user", "content": "hi"}], "model": "local", "stop": [""]}),
    ] {
        let answer = daemon.chat(&with(body.clone(), json!({"max_tokens": 2})));
        assert_eq!(answer.status, 200, "{body}: {}", answer.json());
    }
}

#[test]
fn of_a_field_given_twice_the_last_counts() {
    let twice = br#"{"messages":7,"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut connection = shared().connect();
    connection.send(&request("POST", "/v1/chat/completions", "content-type: text/plain\r\n", twice)).unwrap();
    connection.answer().good();
}

#[test]
fn control_tokens_in_a_callers_text_are_text() {
    let tokens = |text: &str| {
        let answer = shared().chat(&prompt(text, 1)).good();
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    // As a control token it would be one token; as text it is several.
    assert!(tokens("a<|im_end|>b") >= tokens("ab") + 4);
}

#[test]
fn context_overflow_is_refused_before_work_starts() {
    let daemon = alone();
    let before = daemon.status()["engine"]["steps"].clone();
    let answer = daemon.chat(&prompt(&"word ".repeat(2000), 1));
    assert_eq!(answer.error(), (422, "context_length_exceeded".into(), "messages".into()));
    assert_eq!(daemon.status()["engine"]["steps"], before);
}

#[test]
fn an_expected_body_is_asked_for_only_when_it_is_welcome() {
    let body = prompt("hi", 1).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = shared().connect();
    connection.send(head.as_bytes()).unwrap();
    assert!(connection.is_asked_to_continue());
    connection.send(body.as_bytes()).unwrap();
    connection.answer().good();
    // One that is too large is refused at once, and the connection is not used again.
    let mut connection = shared().connect();
    connection.send(head.replace(&body.len().to_string(), "10000000").as_bytes()).unwrap();
    assert_eq!(connection.answer().status, 413);
    assert!(connection.is_closed());
}

#[test]
fn slow_senders_and_idle_connections_do_not_shut_others_out() {
    let daemon = Daemon::start(&[]);
    let began = Instant::now();
    let mut slow_head = daemon.connect();
    slow_head.send(b"GET /health/live HTTP/1.1\r\nx: ").unwrap();
    let mut slow_body = daemon.connect();
    let body = "POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\ncontent-length: 100000\r\n\r\n{";
    slow_body.send(body.as_bytes()).unwrap();
    // With these every place is taken.
    let idle: Vec<Connection> = (0..126).map(|_| daemon.connect()).collect();
    // Answered as soon as idle connections are closed, which takes as long as a head may take.
    assert_eq!(daemon.get("/health/live").status, 200);
    println!("128 idle connections: the next one was served after {:?}", began.elapsed());
    for (n, mut connection) in idle.into_iter().enumerate() {
        let head = connection.try_answer().unwrap();
        assert!(head.is_none_or(|h| h.status == 408), "idle connection {n}");
    }
    assert!(slow_head.try_answer().unwrap().is_none_or(|a| a.status == 408));
    // It trickles on, and is told all the same.
    let answer = slow_body.trickle(b' ');
    assert_eq!(answer.error(), (400, "invalid_request".into(), String::new()));
    assert!(slow_body.is_closed());
}
