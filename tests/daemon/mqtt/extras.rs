//! What MQTT 5 carries beside a body: the way back, marks, deadlines, Outpost's own fields; and
//! messages that are no requests.

use serde_json::{Value, json};

use super::{Peer, alone, bytes, finals, hex, occupy, request_topic, response_topic, shared};
use crate::harness::{prompt, with};

/// The final of a request that is published with these properties.
fn ask(peer: &mut Peer, client: &str, id: &str, body: &Value, properties: &Value) -> super::Message {
    peer.publish_with(&request_topic(client, id), bytes(body), properties);
    peer.next(&response_topic(client, id))
}

fn user(pairs: &[(&str, &str)]) -> Value {
    json!({"user": pairs})
}

#[test]
fn a_mark_comes_back_byte_for_byte_on_finals_refusals_and_events() {
    let site = shared();
    let mut peer = site.peer("mark");
    let mark: Vec<u8> = (0..=255).collect();
    for (id, body) in [("good", prompt("Hi", 1)), ("bad", json!({}))] {
        let answer = ask(&mut peer, "mark", id, &body, &json!({"correlation": hex(&mark)}));
        assert_eq!(answer.properties["correlation"], hex(&mark), "{id}");
    }
    assert_eq!(
        peer.next(&format!("{}/event", response_topic("mark", "good"))).properties["correlation"],
        hex(&mark)
    );
    // None is none, and an empty one is an empty one.
    let none = ask(&mut peer, "mark", "none", &prompt("Hi", 1), &json!({}));
    assert_eq!(none.properties.get("correlation"), None);
    let empty = ask(&mut peer, "mark", "empty", &prompt("Hi", 1), &json!({"correlation": ""}));
    assert_eq!(empty.properties["correlation"], "");
}

#[test]
fn an_answer_goes_where_the_requester_or_the_operator_owns_the_topic_and_nowhere_else() {
    let site = shared();
    let mut peer = Peer::connect(&site.broker, "way", &["#"]);
    for (id, wanted) in
        [("own", response_topic("way", "inbox/x")), ("allowed", "plant/3/answers/way".to_owned())]
    {
        let properties = json!({"response_topic": wanted, "correlation": "07"});
        peer.publish_with(&request_topic("way", id), bytes(&prompt("Hi", 1)), &properties);
        let answer = peer.next(&wanted);
        assert_eq!((&answer.json()["id"], &answer.properties["correlation"]), (&json!(id), &json!("07")));
    }
    let denied = [
        "plant/3/actuator".to_owned(),
        response_topic("somebody", "else"),
        request_topic("way", "loop"),
        format!("{}/availability", super::NODE),
    ];
    for (n, wanted) in denied.iter().enumerate() {
        let id = format!("denied-{n}");
        let answer = ask(&mut peer, "way", &id, &prompt("Hi", 1), &json!({"response_topic": wanted}));
        assert_eq!(answer.error(), (403, "response_topic_denied".into(), String::new()), "{wanted}");
    }
    site.settled();
    let heard = peer.rest();
    let ours = |m: &&super::Message| denied.contains(&m.topic) && m.text() != "online";
    assert!(!heard.iter().any(|m| ours(&m)), "{heard:#?}");
    assert!(finals(&heard, "way", "own").is_empty() && finals(&heard, "way", "allowed").is_empty());
}

#[test]
fn own_fields_are_properties_and_strangers_pass() {
    let site = shared();
    let mut peer = site.peer("fields");
    let body = prompt("Hi", 1);
    let many: Vec<(String, String)> = (0..17).map(|n| (format!("p{n}"), "x".to_owned())).collect();
    for (id, properties, error) in [
        ("lane", user(&[("lane", "batch"), ("deadline_ms", "60000")]), ""),
        ("strangers", user(&[("traceparent", "00-1"), ("Lane", "fast"), ("", "")]), ""),
        ("sixteen", json!({"user": many[..16]}), ""),
        ("same", user(&[("lane", "batch"), ("lane", "batch")]), ""),
        ("seventeen", json!({"user": many}), "too_large"),
        ("two-kib", user(&[("p", &"x".repeat(2047))]), ""),
        ("more", user(&[("p", &"x".repeat(2048))]), "too_large"),
        ("what", user(&[("lane", "fast")]), "outpost.lane"),
        ("when", user(&[("deadline_ms", "soon")]), "outpost.deadline_ms"),
        ("never", user(&[("deadline_ms", "0")]), "outpost.deadline_ms"),
        ("both", user(&[("lane", "batch"), ("lane", "normal")]), "outpost.lane"),
        ("pieces", user(&[("deltas", "yes")]), "outpost.deltas"),
        ("id", user(&[("id", "another")]), "outpost.id"),
        ("json", json!({"content_type": "application/json; charset=utf-8", "utf8": 1}), ""),
        ("text", json!({"content_type": "text/plain"}), ""),
        ("cbor", json!({"content_type": "application/cbor"}), "content_type"),
    ] {
        let answer = ask(&mut peer, "fields", id, &body, &properties);
        match error {
            "" => drop(answer.answer()),
            "too_large" => assert_eq!(answer.error(), (413, error.into(), String::new()), "{id}"),
            field => assert_eq!(answer.error(), (400, "invalid_request".into(), field.into()), "{id}"),
        }
    }
}

#[test]
fn what_body_and_properties_say_must_agree() {
    let site = shared();
    let mut peer = site.peer("agree");
    for (id, inside, outside, wrong) in [
        ("lane", json!({"lane": "batch"}), ("lane", "batch"), ""),
        ("lanes", json!({"lane": "batch"}), ("lane", "normal"), "outpost.lane"),
        ("deadline", json!({"deadline_ms": 60_000}), ("deadline_ms", "60001"), "outpost.deadline_ms"),
        ("topic-id", json!({"id": "topic-id"}), ("traceparent", "x"), ""),
        ("topics-id", json!({"id": "bodys-id"}), ("traceparent", "x"), "outpost.id"),
        ("key", json!({"supersedes": "a"}), ("supersedes", "b"), "outpost.supersedes"),
    ] {
        let body = with(prompt("Hi", 1), json!({"outpost": inside}));
        let answer = ask(&mut peer, "agree", id, &body, &user(&[outside]));
        match wrong {
            "" => drop(answer.answer()),
            field => assert_eq!(answer.error(), (400, "invalid_request".into(), field.into()), "{id}"),
        }
    }
}

#[test]
fn a_deadline_is_kept_whichever_way_it_is_told() {
    let site = alone();
    let mut peer = site.peer("late");
    let running = occupy(&site.daemon);
    for (id, body, properties) in [
        ("expiry", prompt("Hi", 1), json!({"expiry_s": 3})),
        ("property", prompt("Hi", 1), user(&[("deadline_ms", "3000")])),
        ("body", with(prompt("Hi", 1), json!({"outpost": {"deadline_ms": 3000}})), json!({})),
        ("sooner", prompt("Hi", 1), json!({"expiry_s": 3600, "user": [["deadline_ms", "3000"]]})),
    ] {
        peer.publish_with(&request_topic("late", id), bytes(&body), &properties);
    }
    for id in ["expiry", "property", "body", "sooner"] {
        let answer = peer.next(&response_topic("late", id));
        assert_eq!(answer.error(), (408, "deadline_exceeded".into(), String::new()), "{id}");
    }
    drop(running);
    site.settled();
    let running = peer.rest().into_iter().find(|m| m.text().contains("running"));
    assert!(running.is_none(), "{running:?}");
}

#[test]
fn what_is_no_request_is_refused_with_a_final_of_its_own() {
    let site = shared();
    let mut peer = site.peer("bad");
    let padded = |bytes: usize| {
        let body = prompt("Hi", 1).to_string();
        format!("{body}{}", " ".repeat(bytes - body.len())).into_bytes()
    };
    let kib = 1024;
    for (id, body, properties, status, code, param) in [
        ("retained", bytes(&prompt("Hi", 1)), json!({"retain": true}), 400, "invalid_request", "retain"),
        ("large", padded(128 * kib + 1), json!({}), 413, "too_large", ""),
        ("empty", Vec::new(), json!({}), 400, "invalid_request", ""),
        ("cut", b"{\"messages\":".to_vec(), json!({}), 400, "invalid_request", ""),
        ("list", b"[]".to_vec(), json!({}), 400, "invalid_request", ""),
        ("utf8", b"{\"messages\":\"\xff\"}".to_vec(), json!({}), 400, "invalid_request", ""),
        ("type", b"{\"messages\":7}".to_vec(), json!({}), 400, "invalid_request", "messages"),
        ("deep", "[".repeat(100_000).into_bytes(), json!({}), 400, "invalid_request", ""),
        (
            "model",
            bytes(&with(prompt("Hi", 1), json!({"model": "gpt-9"}))),
            json!({}),
            404,
            "model_not_found",
            "model",
        ),
    ] {
        peer.publish_with(&request_topic("bad", id), &body, &properties);
        let answer = peer.next(&response_topic("bad", id));
        assert_eq!(answer.error(), (status, code.into(), param.into()), "{id}");
        assert_eq!((answer.qos, answer.retain), (1, false), "{id}");
        let error = &answer.json()["error"];
        assert_eq!((&error["request_id"], &error["retryable"]), (&json!(id), &json!(false)), "{id}");
        assert_eq!(answer.properties["content_type"], "application/json");
    }
    // To the byte: this one is taken.
    peer.publish(&request_topic("bad", "full"), padded(128 * kib));
    peer.next(&response_topic("bad", "full")).answer();
    // The retained one is still with the broker; nothing is left of it for the next run.
    peer.publish_with(&request_topic("bad", "retained"), "", &json!({"retain": true}));
}

#[test]
fn topics_that_name_nobody_are_passed_over_and_the_daemon_lives() {
    let site = shared();
    let mut peer = Peer::connect(&site.broker, "odd", &["outpost/v1/n/response/#"]);
    let long = "x".repeat(65);
    for rest in [
        "uid-0/a",
        "tcp-127.0.0.1/a",
        "task-vibration/a",
        "o dd/a",
        "ödd/a",
        "/a",
        "odd/",
        "odd/a b",
        &format!("{long}/a"),
        &format!("odd/{}", "x".repeat(129)),
    ] {
        for verb in ["request", "cancel"] {
            peer.publish(&format!("{}/{verb}/{rest}", super::NODE), bytes(&prompt("Hi", 1)));
        }
    }
    // What is not subscribed to does no harm either.
    for topic in
        ["outpost/v1/n/request/odd/a/b", "outpost/v1/n/request/odd", "outpost/v1/other/request/odd/a"]
    {
        peer.publish(topic, bytes(&prompt("Hi", 1)));
    }
    peer.publish(&request_topic("odd", "last"), bytes(&prompt("Hi", 1)));
    peer.next(&response_topic("odd", "last")).answer();
    site.settled();
    let heard = peer.rest();
    let strange = |m: &&super::Message| {
        let rest = m.topic.strip_prefix("outpost/v1/n/response/").unwrap();
        ["uid-", "tcp-", "task-", "o dd", "ö", "/", "odd/a", "odd//", "xx"]
            .iter()
            .any(|bad| rest.starts_with(bad))
    };
    assert!(!heard.iter().any(|m| strange(&m)), "{heard:#?}");
    assert!(site.daemon.log().contains("without a usable client and id"));
    // Those whose names these are see nothing of it.
    assert_eq!(site.daemon.get("/v1/requests/a").status, 404);
}
