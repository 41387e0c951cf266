//! From a request to its one final: shapes, events, pieces, and the same id again.

use serde_json::json;

use super::{
    Message, NODE, Peer, Site, alone, bytes, events, finals, first_heard, mosquitto, occupy, request_topic,
    response_topic, shared,
};
use crate::harness::{endless, prompt, until, with};

#[test]
fn a_request_is_told_about_and_ends_with_exactly_one_final_in_openais_shape() {
    let site = alone();
    let mut peer = site.peer("shape");
    peer.publish(&request_topic("shape", "a"), bytes(&prompt("Tell me of the sea.", 8)));
    let answer = peer.next(&response_topic("shape", "a"));
    assert_eq!((answer.qos, answer.retain), (1, false));
    assert_eq!(answer.properties, json!({"content_type": "application/json", "utf8": 1}));
    let body = answer.json();
    assert_eq!((&body["object"], &body["id"]), (&json!("chat.completion"), &json!("a")));
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert!(body["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{body}");
    // The same words as over the other transport.
    assert_eq!(answer.answer(), site.daemon.chat(&prompt("Tell me of the sea.", 8)).text());
    site.settled();
    let heard = peer.rest();
    assert!(finals(&heard, "shape", "a").is_empty(), "a second final: {heard:#?}");
    assert_eq!(events(&heard, "shape", "a"), ["queued", "running"]);
    assert!(heard.iter().all(|m| m.qos == 1 && !m.retain && m.topic.ends_with("/a/event")), "{heard:#?}");
    let (queued, running) = (heard[0].json(), heard[1].json());
    assert!(queued["position"].is_u64() && queued.get("eta_ms").is_some(), "{queued}");
    assert_eq!(running["place"], "device");
}

#[test]
fn mosquittos_own_commands_are_all_a_device_needs() {
    let site = shared();
    let response = response_topic("plain", "1");
    let body = prompt("Tell me of the sea.", 4).to_string();
    let heard = std::thread::scope(|scope| {
        let subscriber = scope.spawn(|| first_heard(&site.broker, &response, 1));
        until("it listens", || site.broker.log().contains(&format!("\t{response} (QoS 1)")).then_some(()));
        let topic = request_topic("plain", "1");
        let sent = mosquitto("mosquitto_pub", &site.broker).args(["-t", &topic, "-m", &body]).status();
        assert!(sent.unwrap().success());
        subscriber.join().unwrap()
    });
    let (topic, answer) = heard.split_once(' ').unwrap();
    assert_eq!(topic, response);
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answer["object"], "chat.completion");
}

#[test]
fn a_device_with_mqtt_3_gets_events_pieces_and_its_answer() {
    let site = shared();
    let filter = response_topic("old", "#");
    let mut peer = Peer::connect_as(&site.broker, "old", &[&filter], &json!({"version": 4}));
    let body = with(prompt("Tell me of the sea.", 24), json!({"outpost": {"deltas": true, "lane": "batch"}}));
    peer.publish(&request_topic("old", "1"), bytes(&body));
    let answer = peer.next(&response_topic("old", "1")).answer();
    site.settled();
    let heard = peer.rest();
    assert_eq!(events(&heard, "old", "1"), ["queued", "running"]);
    assert_eq!(pieces(&heard, "old", "1"), answer);
}

/// The pieces put together; they are counted from 0.
fn pieces(heard: &[Message], client: &str, id: &str) -> String {
    let topic = format!("{}/delta", response_topic(client, id));
    let pieces: Vec<_> = heard.iter().filter(|m| m.topic == topic).collect();
    assert!(!pieces.is_empty(), "no pieces: {heard:#?}");
    for (n, piece) in pieces.iter().enumerate() {
        assert_eq!((piece.qos, piece.retain, &piece.json()["seq"]), (0, false, &json!(n)));
        assert!(piece.json()["tokens"].as_u64().unwrap() > 0);
    }
    pieces.iter().map(|piece| piece.json()["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pieces_come_only_when_asked_for_and_make_up_the_answer() {
    let site = shared();
    let mut peer = site.peer("pieces");
    let body = with(prompt("Tell me of the sea.", 40), json!({"ignore_eos": true}));
    for (id, properties) in [
        ("asked", json!({"user": [["deltas", "true"]], "correlation": "00ff0a"})),
        ("declined", json!({"user": [["deltas", "false"]]})),
        ("silent", json!({})),
    ] {
        peer.publish_with(&request_topic("pieces", id), bytes(&body), &properties);
    }
    let answer = peer.next(&response_topic("pieces", "asked"));
    for id in ["declined", "silent"] {
        peer.next(&response_topic("pieces", id)).answer();
    }
    site.settled();
    let heard = peer.rest();
    assert_eq!(pieces(&heard, "pieces", "asked"), answer.answer());
    let of_asked = |m: &Message| m.topic.contains("/asked/");
    assert!(heard.iter().all(|m| of_asked(m) || m.topic.ends_with("/event")), "{heard:#?}");
    // Whoever tells its requests apart by its own mark finds it on everything.
    for message in heard.iter().filter(|m| of_asked(m)).chain([&answer]) {
        assert_eq!(message.properties["correlation"], "00ff0a", "{}", message.topic);
    }
}

#[test]
fn the_same_id_again_gets_the_same_bytes_and_another_body_is_a_conflict() {
    let site = shared();
    let mut peer = site.peer("again");
    // Whatever the model would say the next time: this is no question of chance.
    let body = bytes(&with(prompt("Tell me of the sea.", 12), json!({"temperature": 2})));
    let (ask, answer) = (request_topic("again", "x"), response_topic("again", "x"));
    peer.publish(&ask, &body);
    let first = peer.next(&answer);
    first.answer();
    for mark in ["01", "02"] {
        peer.publish_with(&ask, &body, &json!({"correlation": mark}));
        let second = peer.next(&answer);
        assert_eq!(second.text(), first.text());
        assert_eq!(second.properties["correlation"], mark, "the mark is of the one who asks now");
    }
    peer.publish(&ask, [&body[..], b" "].concat());
    assert_eq!(peer.next(&answer).error(), (409, "id_conflict".into(), "outpost.id".into()));
    peer.publish(&ask, &body);
    assert_eq!(peer.next(&answer).text(), first.text());
    site.settled();
    let heard = peer.rest();
    assert!(finals(&heard, "again", "x").is_empty(), "{heard:#?}");
    assert_eq!(events(&heard, "again", "x"), ["queued", "running"], "it ran once");
    // Ids are each client's own.
    let mut other = site.peer("another");
    other.publish(&request_topic("another", "x"), bytes(&prompt("Hi", 2)));
    assert_ne!(other.next(&response_topic("another", "x")).text(), first.text());
}

#[test]
fn a_request_that_comes_again_while_it_waits_or_runs_has_one_final() {
    let site = alone();
    let mut peer = site.peer("twice");
    let (ask, answer) = (request_topic("twice", "x"), response_topic("twice", "x"));
    let body = bytes(&endless(false));
    let before = duplicates(&site);
    let attached = |n| until("it is known", || (duplicates(&site) == before + n).then_some(()));
    let running = occupy(&site.daemon);
    peer.publish(&ask, &body);
    let event = format!("{answer}/event");
    assert_eq!(peer.next(&event).json()["event"], "queued");
    peer.publish(&ask, &body);
    attached(1);
    peer.publish(&ask, bytes(&prompt("Another.", 1)));
    assert_eq!(peer.next(&answer).error().1, "id_conflict");
    drop(running);
    assert_eq!(peer.next(&event).json()["event"], "running");
    peer.publish(&ask, &body);
    attached(2);
    peer.publish(&format!("{NODE}/cancel/twice/x"), "");
    assert_eq!(peer.next(&answer).error().1, "cancelled");
    site.settled();
    let heard = peer.rest();
    assert!(heard.is_empty(), "{heard:#?}");
}

/// Requests that were known when they came.
fn duplicates(site: &Site) -> u64 {
    let metrics = String::from_utf8(site.daemon.get("/metrics").body).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("outpost_duplicate_requests_total "));
    line.unwrap().parse().unwrap()
}
