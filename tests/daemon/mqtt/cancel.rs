//! Requests that are no longer wanted: ended by topic, or replaced by a newer one.

use serde_json::json;

use super::{NODE, alone, bytes, events, finals, occupy, request_topic, response_topic};
use crate::harness::{endless, prompt, with};

#[test]
fn a_request_ends_when_its_topic_says_so_running_or_waiting() {
    let site = alone();
    let mut peer = site.peer("stop");
    let cancel = |id: &str| format!("{NODE}/cancel/stop/{id}");
    // One is written, one is next, one is in the queue.
    for (n, id) in ["runs", "next", "waits"].iter().enumerate() {
        peer.publish(&request_topic("stop", id), bytes(&endless(false)));
        site.daemon.status_when("it is taken", |s| s["in_flight"] == n + 1 && s["engine"]["running"] == 1);
    }
    site.daemon.status_when("one waits", |s| s["queued"]["normal"] == 1);
    for id in ["waits", "runs", "next"] {
        peer.publish(&cancel(id), "");
        let answer = peer.next(&response_topic("stop", id));
        assert_eq!(answer.error(), (499, "cancelled".into(), String::new()), "{id}");
    }
    site.daemon.idle();
    // Again, and of what never was: nothing comes of it.
    for id in ["runs", "waits", "unknown"] {
        peer.publish(&cancel(id), "");
        peer.publish(&cancel(id), "whatever it says");
    }
    peer.publish(&format!("{NODE}/cancel/somebody/else"), "");
    // A cancelled request stays cancelled.
    peer.publish(&request_topic("stop", "runs"), bytes(&endless(false)));
    assert_eq!(peer.next(&response_topic("stop", "runs")).error().1, "cancelled");
    site.settled();
    let heard = peer.rest();
    assert_eq!(events(&heard, "stop", "runs"), ["queued", "running"]);
    assert_eq!(events(&heard, "stop", "waits"), ["queued"]);
    assert!(
        ["runs", "waits", "unknown"].iter().all(|id| finals(&heard, "stop", id).is_empty()),
        "{heard:#?}"
    );
}

#[test]
fn nobody_ends_the_request_of_another() {
    let site = alone();
    let mut peer = site.peer("mine");
    let running = occupy(&site.daemon);
    peer.publish(&request_topic("mine", "a"), bytes(&prompt("Hi", 1)));
    site.daemon.status_when("it waits", |s| s["in_flight"] == 3);
    peer.publish(&format!("{NODE}/cancel/yours/a"), "");
    drop(running);
    peer.next(&response_topic("mine", "a")).answer();
}

#[test]
fn a_newer_request_takes_the_place_of_a_queued_one() {
    let site = alone();
    let mut peer = site.peer("newer");
    let mut other = site.peer("neighbour");
    let running = occupy(&site.daemon);
    let property = json!({"user": [["supersedes", "line-3"]]});
    let inside = with(prompt("Hi", 1), json!({"outpost": {"supersedes": "line-3"}}));
    peer.publish_with(&request_topic("newer", "first"), bytes(&prompt("Hi", 1)), &property);
    peer.next(&format!("{}/event", response_topic("newer", "first")));
    // Another key, no key, another client: all these stay.
    let elsewhere = json!({"user": [["supersedes", "line-4"]]});
    peer.publish_with(&request_topic("newer", "line-4"), bytes(&prompt("Hi", 1)), &elsewhere);
    peer.publish(&request_topic("newer", "plain"), bytes(&prompt("Hi", 1)));
    other.publish(&request_topic("neighbour", "same-key"), bytes(&inside));
    site.daemon.status_when("all wait", |s| s["in_flight"] == 6);
    peer.publish(&request_topic("newer", "second"), bytes(&inside));
    let answer = peer.next(&response_topic("newer", "first"));
    assert_eq!(answer.error(), (499, "superseded".into(), String::new()));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("second"));
    drop(running);
    for id in ["second", "line-4", "plain"] {
        peer.next(&response_topic("newer", id)).answer();
    }
    other.next(&response_topic("neighbour", "same-key")).answer();
    site.settled();
    assert!(finals(&peer.rest(), "newer", "first").is_empty());
}

#[test]
fn what_runs_is_not_replaced() {
    let site = alone();
    let mut peer = site.peer("runner");
    let body = with(prompt("Count.", 60), json!({"ignore_eos": true, "outpost": {"supersedes": "k"}}));
    for id in ["first", "second"] {
        peer.publish(&request_topic("runner", id), bytes(&body));
        peer.find("it is taken", |m| m.topic.contains(id) && m.text().contains("queued"));
        if id == "first" {
            peer.find("it runs", |m| m.topic.contains(id) && m.text().contains("running"));
        }
    }
    for id in ["first", "second"] {
        peer.next(&response_topic("runner", id)).answer();
    }
}
