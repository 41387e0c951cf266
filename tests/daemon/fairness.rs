//! One busy caller does not keep the others waiting.
//!
//! To the daemon all processes of one user are one client, and so are all TCP connections
//! from one address: one of each is enough to see who is served when.

use std::{sync::mpsc, thread};

use crate::{
    harness::{endless, prompt, with},
    http::{Connection, request},
    tcp::{TcpDaemon, authorization},
};

/// Requests of the busy client that wait when the other one comes.
const BUSY: usize = 8;
/// How many of them may be served first: the one that was handed to the engine already, and one
/// whose answer overtakes the other's on its way through this program.
const BEFORE_MAX: usize = 2;

#[test]
fn a_client_with_one_request_waits_behind_few_of_a_client_with_many() {
    let tcp = TcpDaemon::start(&["engine.slots=1"]);
    let daemon = &tcp.daemon;
    let mut first = daemon.connect();
    first.stream("/v1/chat/completions", &endless(true));
    let body = with(prompt("Hi", 4), serde_json::json!({"ignore_eos": true}));
    let (done, order) = mpsc::channel();
    let wait = |mut connection: Connection, who: &'static str, headers: &str| {
        connection
            .send(&request("POST", "/v1/chat/completions", headers, body.to_string().as_bytes()))
            .unwrap();
        let done = done.clone();
        thread::spawn(move || {
            connection.answer().good();
            done.send(who).unwrap();
        })
    };
    let mut threads = Vec::new();
    for n in 0..BUSY {
        threads.push(wait(daemon.connect(), "busy", ""));
        daemon.status_when("it waits", |s| s["in_flight"] == n + 2);
    }
    threads.push(wait(tcp.connect(), "other", &authorization()));
    daemon.status_when("the other one waits too", |s| s["in_flight"] == BUSY + 2);
    drop(first);
    for thread in threads {
        thread.join().unwrap();
    }
    drop(done);
    let order: Vec<&str> = order.into_iter().collect();
    let before = order.iter().position(|who| *who == "other").unwrap();
    assert!(before <= BEFORE_MAX, "{order:?}");
}

#[test]
fn the_interactive_lane_goes_before_batch_and_batch_is_served_too() {
    let tcp = TcpDaemon::start(&["engine.slots=1"]);
    let daemon = &tcp.daemon;
    let mut first = daemon.connect();
    first.stream("/v1/chat/completions", &endless(true));
    let (done, order) = mpsc::channel();
    let mut threads = Vec::new();
    for (n, lane) in ["batch", "batch", "batch", "batch", "interactive"].into_iter().enumerate() {
        let body = with(prompt("Hi", 4), serde_json::json!({"ignore_eos": true, "outpost": {"lane": lane}}));
        let mut connection = daemon.connect();
        connection.send(&request("POST", "/v1/chat/completions", "", body.to_string().as_bytes())).unwrap();
        daemon.status_when("it waits", |s| s["in_flight"] == n + 2);
        let done = done.clone();
        threads.push(thread::spawn(move || {
            connection.answer().good();
            done.send(lane).unwrap();
        }));
    }
    drop((first, done));
    for thread in threads {
        thread.join().unwrap();
    }
    let order: Vec<&str> = order.into_iter().collect();
    assert_eq!(order.len(), 5);
    assert!(order.iter().position(|lane| *lane == "interactive").unwrap() <= BEFORE_MAX, "{order:?}");
}
