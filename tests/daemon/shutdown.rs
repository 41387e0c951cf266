//! SIGTERM: intake ends, answers get their grace, the exit code is 0.

use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::json;

use crate::{
    harness::{Daemon, endless, prompt, until, with},
    http::{Connection, Event, request},
};

const CHAT: &str = "/v1/chat/completions";

/// A stream that has begun.
fn streaming(daemon: &Daemon, body: &serde_json::Value) -> Connection {
    let mut connection = daemon.connect();
    connection.stream(CHAT, body);
    for _ in 0..2 {
        assert!(matches!(connection.event(), Some(Event::Data(_))));
    }
    connection
}

/// What the last document of a stream says, if it is an error.
fn last_code(connection: &mut Connection) -> String {
    let events = connection.events();
    let [.., Event::Data(last), Event::Done] = &events[..] else { panic!("no end: {events:?}") };
    last["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn without_work_it_ends_at_once_and_takes_its_socket_along() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(&[]);
        let mut idle = daemon.connect();
        daemon.signal(signal);
        assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
        assert!(idle.is_closed());
        assert!(!daemon.socket().exists());
    }
}

#[test]
fn without_grace_running_and_waiting_answers_end_with_draining() {
    let mut daemon = Daemon::start(&["service.stop_grace_s=0", "engine.slots=1"]);
    let mut running = streaming(&daemon, &endless(true));
    let mut waiting: Vec<Connection> = (0..3)
        .map(|n| {
            let mut connection = daemon.connect();
            let body = endless(false).to_string();
            connection.send(&request("POST", CHAT, "", body.as_bytes())).unwrap();
            daemon.status_when("it waits", |s| s["in_flight"] == n + 2);
            connection
        })
        .collect();
    daemon.signal(Signal::TERM);
    assert_eq!(last_code(&mut running), "draining");
    for connection in &mut waiting {
        assert_eq!(connection.answer().error(), (503, "draining".into(), String::new()));
    }
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
}

#[test]
fn within_its_grace_an_answer_is_finished_and_no_new_one_begun() {
    let mut daemon = Daemon::start(&["service.stop_grace_s=600"]);
    let body = with(endless(true), json!({"max_tokens": 150}));
    let mut running = streaming(&daemon, &body);
    let mut early = daemon.connect();
    assert_eq!(early.ask("GET", "/health/ready", None).status, 200);
    daemon.signal(Signal::TERM);
    until("intake is closed", || (early.ask("GET", "/health/ready", None).status == 503).then_some(()));
    let refused = early.ask("POST", CHAT, Some(&prompt("Too late?", 1)));
    assert_eq!(refused.error(), (503, "draining".into(), String::new()));
    assert!(refused.header("retry-after").is_some());
    // Those who connect only now are told as well, and those who watch see why.
    assert_eq!(daemon.chat(&prompt("Too late?", 1)).status, 503);
    assert_eq!(daemon.status()["state"], "draining");
    assert_eq!(daemon.get("/health/live").status, 200);
    assert_eq!(last_code(&mut running), "");
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_second_signal_ends_the_grace() {
    let mut daemon = Daemon::start(&["service.stop_grace_s=600"]);
    let mut running = streaming(&daemon, &endless(true));
    daemon.signal(Signal::TERM);
    daemon.status_when("intake is closed", |s| s["state"] == "draining");
    daemon.signal(Signal::TERM);
    assert_eq!(last_code(&mut running), "draining");
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_reader_that_does_not_read_does_not_keep_it_from_ending() {
    let mut daemon = Daemon::start(&["service.stop_grace_s=0"]);
    let _deaf = streaming(&daemon, &endless(true));
    let mut half = daemon.connect();
    half.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\ncontent-length: 10\r\n\r\n{").unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_killed_daemons_socket_is_taken_over_by_the_next() {
    let mut daemon = Daemon::start(&[]);
    daemon.signal(Signal::KILL);
    daemon.ended();
    assert!(daemon.socket().exists() && UnixStream::connect(daemon.socket()).is_err());
    daemon.restart();
    daemon.chat(&prompt("Back again?", 1)).good();
}
