//! Many callers, and what HTTP/1.1 lets one connection do.

use serde_json::json;

use crate::{
    harness::{Daemon, alone, endless, prompt, shared},
    http::{Connection, request},
};

#[test]
fn two_hundred_connections_at_once_are_all_answered() {
    let daemon = Daemon::start(&[]);
    let before = daemon.open_files();
    let mut connections: Vec<Connection> = (0..200).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(b"GET /health/live HTTP/1.1\r\nhost: o\r\n\r\n").unwrap();
    }
    // Each leaves when it has its answer; until then those beyond the bound wait in the kernel.
    for mut connection in connections {
        assert_eq!(connection.answer().good(), json!({"status": "live"}));
    }
    daemon.chat(&prompt("Still there?", 1)).good();
    crate::harness::until("every connection is closed", || (daemon.open_files() <= before).then_some(()));
}

#[test]
fn one_connection_carries_many_requests() {
    let mut connection = shared().connect();
    for _ in 0..3 {
        assert_eq!(connection.ask("GET", "/health/ready", None).status, 200);
        connection.ask("POST", "/v1/chat/completions", Some(&prompt("Hi", 1))).good();
        // A refusal does not cost the connection.
        assert_eq!(connection.ask("POST", "/v1/chat/completions", Some(&json!({}))).status, 400);
        connection
            .stream("/v1/chat/completions", &crate::harness::with(prompt("Hi", 2), json!({"stream": true})));
        assert!(!connection.events().is_empty());
    }
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let mut connection = shared().connect();
    let chat = request("POST", "/v1/chat/completions", "", prompt("Hi", 1).to_string().as_bytes());
    let ahead = [request("GET", "/health/live", "", b""), chat, request("GET", "/nothing", "", b"")].concat();
    connection.send(&ahead).unwrap();
    assert_eq!(connection.answer().good(), json!({"status": "live"}));
    assert_eq!(connection.answer().good()["object"], "chat.completion");
    assert_eq!(connection.answer().status, 404);
}

#[test]
fn a_connection_ends_when_its_caller_says_so() {
    for head in [
        "GET /health/live HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n",
        "GET /health/live HTTP/1.0\r\n\r\n",
    ] {
        let mut connection = shared().connect();
        connection.send(head.as_bytes()).unwrap();
        assert_eq!(connection.answer().status, 200);
        assert!(connection.is_closed(), "{head}");
    }
}

#[test]
fn a_body_may_come_in_chunks() {
    let body = prompt("Hi", 1).to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut connection = shared().connect();
    connection.send(head.as_bytes()).unwrap();
    for piece in body.as_bytes().chunks(7) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        connection.send(&chunk).unwrap();
    }
    connection.send(b"0\r\n\r\n").unwrap();
    connection.answer().good();
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let mut connection = shared().connect();
    for (path, status) in
        [("/health/live", 200), ("/v1/models", 200), ("/v1/chat/completions", 405), ("/x", 404)]
    {
        connection.send(&request("HEAD", path, "", b"")).unwrap();
        let head = connection.head().unwrap().unwrap();
        assert_eq!(head.status, status, "{path}");
        assert_eq!(head.header("content-type"), Some("application/json"), "{path}");
    }
    // Had one of them sent a body, this answer would not be where it is looked for.
    assert_eq!(connection.ask("GET", "/health/live", None).good(), json!({"status": "live"}));
}

#[test]
fn a_client_beyond_its_share_of_the_queue_is_told_to_wait() {
    let daemon = alone();
    let mut first = daemon.connect();
    first.stream("/v1/chat/completions", &endless(true));
    let chat = request("POST", "/v1/chat/completions", "", prompt("Hi", 1).to_string().as_bytes());
    // One runs, one is handed over, 32 wait.
    let waiting: Vec<Connection> = (0..33)
        .map(|n| {
            let mut connection = daemon.connect();
            connection.send(&chat).unwrap();
            daemon.status_when("it is in", |s| s["in_flight"] == n + 2);
            connection
        })
        .collect();
    let refused = daemon.chat(&prompt("Hi", 1));
    assert_eq!(refused.error(), (429, "queue_full".into(), String::new()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["error"]["retryable"], true);
    // None of those that wait has been forgotten.
    drop(first);
    for mut connection in waiting {
        connection.answer().good();
    }
}

#[test]
fn metrics_and_status_tell_the_same() {
    let daemon = alone();
    daemon.chat(&prompt("Hi", 1)).good();
    let metrics = daemon.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let status = daemon.status();
    assert_eq!(status["state"], "ready");
    assert!(status["finished"].as_u64().unwrap() >= 1);
}
