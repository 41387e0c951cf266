//! Requests that are answered later: taken in over HTTP, kept on disk, asked for by their id.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    harness::{Daemon, alone, endless, prompt, shared, until, with},
    http::{Answer, request},
    mqtt::occupy,
    tcp::{TcpDaemon, authorization},
};

const REQUESTS: &str = "/v1/requests";

fn place(id: &str) -> String {
    format!("{REQUESTS}/{id}")
}

/// `body` with the id that its sender chose.
fn named(body: Value, id: &str) -> Value {
    with(body, json!({"outpost": {"id": id}}))
}

/// The final, when it is there.
fn fetched(daemon: &Daemon, id: &str) -> Answer {
    until("it has its final", || Some(daemon.get(&place(id))).filter(|answer| answer.status != 202))
}

fn delete(daemon: &Daemon, id: &str) -> Answer {
    daemon.connect().ask("DELETE", &place(id), None)
}

#[test]
fn a_request_is_accepted_at_once_and_its_answer_fetched_later() {
    // Alone, so that the same prompt has the same answer.
    let daemon = &*alone();
    let body = prompt("Tell me of the sea.", 8);
    let accepted = daemon.post(REQUESTS, &body);
    assert_eq!(accepted.status, 202);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.header("location"), Some(place(&id).as_str()));
    assert_eq!(accepted.header("x-request-id"), Some(id.as_str()));
    assert_eq!(accepted.json()["object"], "request");
    let answer = fetched(daemon, &id);
    assert_eq!(answer.text(), daemon.chat(&body).text());
    assert_eq!((&answer.json()["id"], answer.header("x-outpost-zone")), (&json!(id), Some("device")));
    // It stays the same for as long as it is kept.
    assert_eq!(daemon.get(&place(&id)).body, answer.body);
    assert_eq!(delete(daemon, &id).good()["state"], "finished");
    assert_eq!(daemon.get(&place(&id)).body, answer.body);
}

#[test]
fn the_same_id_is_the_same_request_and_another_body_a_conflict() {
    let daemon = shared();
    let body = named(with(prompt("Tell me of the sea.", 8), json!({"temperature": 2})), "accepted-twice");
    assert_eq!(daemon.post(REQUESTS, &body).status, 202);
    let answer = fetched(daemon, "accepted-twice");
    let again = daemon.post(REQUESTS, &body);
    assert_eq!((again.status, &again.json()["state"]), (200, &json!("finished")));
    assert_eq!(again.header("location"), Some(place("accepted-twice").as_str()));
    // It is the same by the synchronous way, and as the header.
    assert_eq!(daemon.chat(&body).body, answer.body);
    let other = named(prompt("Something else.", 8), "accepted-twice");
    for path in [REQUESTS, "/v1/chat/completions"] {
        assert_eq!(
            daemon.post(path, &other).error(),
            (409, "id_conflict".into(), "outpost.id".into()),
            "{path}"
        );
    }
    assert_eq!(daemon.get(&place("accepted-twice")).body, answer.body);
}

#[test]
fn who_waits_is_told_where_it_stands_and_may_end_it() {
    let daemon = alone();
    let busy = occupy(&daemon);
    for (n, id) in ["first", "second", "third"].into_iter().enumerate() {
        let body = named(prompt("Hi", 1), id);
        let accepted = daemon.post(REQUESTS, &body);
        assert_eq!(accepted.status, 202);
        // Asked for again while it waits it is still one.
        assert_eq!(daemon.post(REQUESTS, &body).status, 202);
        let waiting = daemon.get(&place(id));
        assert_eq!(waiting.status, 202);
        let waiting = waiting.json();
        assert_eq!(
            (&waiting["state"], &waiting["position"], &waiting["id"]),
            (&json!("queued"), &json!(n), &json!(id))
        );
        assert!(waiting["age_ms"].is_u64() && waiting["deadline_ms"].as_u64().unwrap() > 0, "{waiting}");
    }
    assert_eq!(daemon.status()["queued"]["interactive"], 3);
    assert_eq!(daemon.post(REQUESTS, &named(prompt("No", 1), "second")).error().1, "id_conflict");
    assert_eq!(delete(&daemon, "second").good()["state"], "cancelled");
    assert_eq!(fetched(&daemon, "second").error(), (499, "cancelled".into(), String::new()));
    assert_eq!(delete(&daemon, "second").good()["state"], "finished");
    drop(busy);
    for id in ["first", "third"] {
        fetched(&daemon, id).good();
    }
    // One that runs ends as well.
    daemon.post(REQUESTS, &named(endless(false), "runs"));
    until("it runs", || (daemon.get(&place("runs")).json()["state"] == "running").then_some(()));
    assert_eq!(delete(&daemon, "runs").good()["state"], "cancelled");
    assert_eq!(fetched(&daemon, "runs").error().1, "cancelled");
}

#[test]
fn a_deadline_ends_what_waits() {
    let daemon = alone();
    let busy = occupy(&daemon);
    let body = with(prompt("Hi", 1), json!({"outpost": {"id": "short", "deadline_ms": 3000}}));
    assert_eq!(daemon.post(REQUESTS, &body).status, 202);
    assert_eq!(fetched(&daemon, "short").error(), (408, "deadline_exceeded".into(), String::new()));
    drop(busy);
}

#[test]
fn bad_ids_and_ids_of_nobody_are_told_apart() {
    let daemon = shared();
    for method in ["GET", "DELETE"] {
        let ask = |id: &str| daemon.connect().ask(method, &place(id), None).error();
        assert_eq!(ask("no-such-id"), (404, "request_not_found".into(), String::new()), "{method}");
        assert_eq!(ask("a%20b"), (400, "invalid_request".into(), "id".into()), "{method}");
    }
    assert_eq!(daemon.post(REQUESTS, &json!({})).error().0, 400);
    assert_eq!(daemon.post(REQUESTS, &named(prompt("Hi", 1), "a/b")).error().2, "outpost.id");
}

#[test]
fn nobody_sees_the_requests_of_another() {
    let tcp = TcpDaemon::start(&[]);
    let headers = authorization();
    let body = named(prompt("Hi", 1), "mine");
    let accepted = tcp.connect().ask_with("POST", REQUESTS, &headers, Some(&body));
    assert_eq!(accepted.status, 202);
    for method in ["GET", "DELETE"] {
        let seen = tcp.daemon.connect().ask(method, &place("mine"), None);
        assert_eq!(seen.error().1, "request_not_found", "{method}");
    }
    let answer = || tcp.connect().ask_with("GET", &place("mine"), &headers, None);
    until("its owner has it", || (answer().status == 200).then_some(()));
    // The same id is free for the other.
    assert_eq!(tcp.daemon.post(REQUESTS, &named(prompt("Other.", 1), "mine")).status, 202);
}

#[test]
fn what_was_accepted_is_answered_whatever_becomes_of_the_daemon() {
    let mut daemon = Daemon::start(&["engine.slots=1", "service.stop_grace_s=0"]);
    let kept = named(with(prompt("Hi", 6), json!({"temperature": 2})), "kept");
    daemon.post(REQUESTS, &kept);
    let kept = (kept, fetched(&daemon, "kept").body);
    for (id, signal) in [("killed", Signal::KILL), ("drained", Signal::TERM)] {
        let busy = occupy(&daemon);
        let body = named(prompt("Tell me of the sea.", 4), id);
        assert_eq!(daemon.post(REQUESTS, &body).status, 202);
        daemon.signal(signal);
        drop(busy);
        daemon.restart();
        let answer = fetched(&daemon, id);
        assert_eq!(answer.text(), daemon.chat(&prompt("Tell me of the sea.", 4)).text());
        assert_eq!(daemon.post(REQUESTS, &body).status, 200);
        assert_eq!(daemon.get(&place("kept")).body, kept.1, "a final is for ever");
        assert_eq!(daemon.chat(&kept.0).body, kept.1);
    }
    // One that was being written when the power went begins anew.
    let body = named(with(prompt("Count.", 60), json!({"ignore_eos": true})), "written");
    daemon.post(REQUESTS, &body);
    until("it runs", || (daemon.get(&place("written")).json()["state"] == "running").then_some(()));
    daemon.signal(Signal::KILL);
    daemon.restart();
    assert_eq!(fetched(&daemon, "written").good()["usage"]["completion_tokens"], 60);
}

/// Requests that were asked more than once, as the daemon counts them.
fn duplicates(daemon: &Daemon) -> u64 {
    let metrics = String::from_utf8(daemon.get("/metrics").body).unwrap();
    let count = metrics.lines().find_map(|line| line.strip_prefix("outpost_duplicate_requests_total "));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no such counter:\n{metrics}"))
}

#[test]
fn what_is_accepted_does_not_end_with_the_call_that_asked_for_the_same() {
    let daemon = alone();
    let body =
        with(prompt("Count for ever.", 200), json!({"outpost": {"id": "both-ways"}, "ignore_eos": true}));
    let mut caller = daemon.connect();
    caller.send(&request("POST", "/v1/chat/completions", "", body.to_string().as_bytes())).unwrap();
    daemon.status_when("it runs", |s| s["engine"]["running"] == 1);
    // Not accepted before it is certain that it will have its final, whoever leaves.
    let mut sender = daemon.connect();
    let before = duplicates(&daemon);
    sender.send(&request("POST", REQUESTS, "", body.to_string().as_bytes())).unwrap();
    until("it is known as the same", || (duplicates(&daemon) > before).then_some(()));
    drop(caller);
    assert_eq!(sender.answer().status, 202);
    assert_eq!(fetched(&daemon, "both-ways").good()["usage"]["completion_tokens"], 200);
}

#[test]
fn while_the_daemon_stops_what_it_leaves_for_later_is_known_and_can_be_ended() {
    let mut daemon = Daemon::start(&["engine.slots=1", "service.stop_grace_s=600"]);
    daemon.post(REQUESTS, &named(endless(false), "runs"));
    daemon.status_when("it runs", |s| s["engine"]["running"] == 1);
    // The engine is offered one more than it has room for.
    for id in ["next", "stays", "goes"] {
        assert_eq!(daemon.post(REQUESTS, &named(prompt("Hi", 4), id)).status, 202);
    }
    // A connection from before: nobody is let in any more.
    let mut open = daemon.connect();
    assert_eq!(open.ask("GET", "/v1/status", None).status, 200);
    daemon.signal(Signal::TERM);
    until("intake has ended", || {
        (open.ask("GET", "/v1/status", None).json()["state"] == "draining").then_some(())
    });
    for id in ["stays", "goes"] {
        let waiting = open.ask("GET", &place(id), None);
        assert_eq!((waiting.status, &waiting.json()["state"]), (202, &json!("queued")), "{id}");
    }
    assert_eq!(open.ask("DELETE", &place("goes"), None).good()["state"], "cancelled");
    until("its end is on disk", || (open.ask("GET", &place("goes"), None).status == 499).then_some(()));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
    daemon.restart();
    assert_eq!(fetched(&daemon, "goes").error().1, "cancelled");
    delete(&daemon, "runs");
    fetched(&daemon, "stays").good();
}

#[test]
fn orderly_restarts_are_no_fault_of_what_runs() {
    let mut daemon = Daemon::start(&["service.stop_grace_s=0"]);
    daemon.post(REQUESTS, &named(endless(false), "long"));
    for _ in 0..6 {
        daemon.status_when("it runs", |s| s["engine"]["running"] == 1);
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
        daemon.restart();
    }
    daemon.status_when("it runs again", |s| s["engine"]["running"] == 1);
    assert_eq!(delete(&daemon, "long").good()["state"], "cancelled");
}
