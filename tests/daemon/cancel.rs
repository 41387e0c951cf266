//! A caller that goes away is not worked for any more.

use serde_json::Value;

use crate::{
    harness::{Daemon, alone, endless, prompt, with},
    http::{Connection, Event, request},
};

/// Steps that may pass between a caller's leaving and the end of its work being seen. Leaving
/// takes one; the others are for two looks at the status while the engine goes on. Nobody
/// leaving, the answer takes 900.
const STEPS_MAX: u64 = 40;
/// The same while a prompt of 7,000 tokens is read, which takes 55 steps if nobody leaves.
const PREFILL_STEPS_MAX: u64 = 12;

fn steps(status: &Value) -> u64 {
    status["engine"]["steps"].as_u64().unwrap()
}

/// Sends a chat that nobody will wait for; it is running.
fn running(daemon: &Daemon, body: &Value) -> Connection {
    let mut connection = daemon.connect();
    connection.send(&request("POST", "/v1/chat/completions", "", body.to_string().as_bytes())).unwrap();
    daemon.status_when("it runs", |s| s["engine"]["running"] == 1);
    connection
}

/// Lets `leave` happen and sees that the work ends with it.
fn ends_with(daemon: &Daemon, steps_max: u64, leave: impl FnOnce()) {
    let before = steps(&daemon.status());
    leave();
    let after = steps(&daemon.idle());
    println!("{} steps after the caller had left", after - before);
    assert!(after - before <= steps_max, "{} steps after the caller had left", after - before);
    daemon.chat(&prompt("Next, please.", 1)).good();
}

#[test]
fn leaving_a_stream_ends_it() {
    let daemon = alone();
    let mut connection = daemon.connect();
    connection.stream("/v1/chat/completions", &endless(true));
    for _ in 0..3 {
        assert!(matches!(connection.event(), Some(Event::Data(_))));
    }
    ends_with(&daemon, STEPS_MAX, || drop(connection));
}

#[test]
fn leaving_before_the_answer_ends_it() {
    let daemon = alone();
    let connection = running(&daemon, &endless(false));
    ends_with(&daemon, STEPS_MAX, || drop(connection));
}

#[test]
fn leaving_while_the_prompt_is_read_ends_it() {
    let daemon = Daemon::start(&["engine.slots=1", "engine.context=8192"]);
    let body = with(endless(false), prompt(&"word ".repeat(7000), 900));
    let connection = running(&daemon, &body);
    ends_with(&daemon, PREFILL_STEPS_MAX, || drop(connection));
}

#[test]
fn closing_the_sending_side_is_leaving() {
    let daemon = alone();
    let mut connection = running(&daemon, &endless(false));
    ends_with(&daemon, STEPS_MAX, || connection.half_close());
    assert!(connection.try_answer().unwrap().is_none());
}

#[test]
fn leaving_the_queue_frees_the_place_and_disturbs_nobody() {
    let daemon = alone();
    let mut first = daemon.connect();
    first.stream("/v1/chat/completions", &endless(true));
    let waiting: Vec<Connection> = (0..3)
        .map(|_| {
            let mut connection = daemon.connect();
            let body = prompt("Hi", 900).to_string();
            connection.send(&request("POST", "/v1/chat/completions", "", body.as_bytes())).unwrap();
            connection
        })
        .collect();
    daemon.status_when("all four are in", |s| s["in_flight"] == 4);
    drop(waiting);
    let status = daemon.status_when("three have left", |s| s["in_flight"] == 1);
    assert_eq!(status["queued"]["interactive"], 0);
    assert_eq!(status["engine"]["running"], 1);
    assert!(matches!(first.event(), Some(Event::Data(_))));
}

#[test]
fn leaving_is_seen_behind_a_request_that_came_too_early() {
    let daemon = alone();
    let mut connection = running(&daemon, &endless(false));
    connection.send(&request("GET", "/health/live", "", b"")).unwrap();
    ends_with(&daemon, STEPS_MAX, || drop(connection));
}
