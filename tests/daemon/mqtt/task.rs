//! Tasks end to end: from a sensor's reading to a verdict, or to the reason why there is none.

use serde_json::json;

use super::{Message, NODE, Peer, Site, first_heard, occupy};

const TASKS: &str = r#"
[[task]]
name = "plain"
topic = "plant/{line}/vibration"
prompt = "Is {{ payload.rms }} mm/s on {{ line }} too much?"
result = "plant/{{ line }}/verdict"
result_retained = true
temperature = 0
max_tokens = 6

[[task]]
name = "number"
topic = ["plant/+/vibration", "plant/+/heat"]
prompt = "Write the digit 1."
schema = '{"type": "integer"}'
result = "numbers/{{ topic[1] }}"
temperature = 0
max_tokens = 1
retries = 0

[[task]]
name = "strict"
topic = "strict/+"
prompt = "{{ payload }}"
payload = "text"
schema = '{"not": {}}'
result = "strict/{{ topic[1] }}/verdict"
error = "strict/{{ topic[1] }}/trouble"
temperature = 0
max_tokens = 4

[[task]]
name = "hasty"
topic = "hasty/+"
prompt = "{{ payload.n }}"
result = "verdict/{{ topic_text }}/{{ payload.n }}"
every_ms = 2000
max_tokens = 1

[[task]]
name = "changes"
topic = "changes/+"
prompt = "{{ payload.n }}"
result = "verdict/{{ topic_text }}/{{ payload.n }}"
on_change = ["/n"]
supersedes = false
max_tokens = 1

[[task]]
name = "newest"
topic = "newest/+"
prompt = "{{ payload.n }}"
result = "verdict/{{ topic_text }}/{{ payload.n }}"
max_tokens = 1
"#;

fn error_topic(task: &str) -> String {
    format!("{NODE}/task/{task}/error")
}

fn reading(n: usize) -> String {
    json!({"n": n, "noise": "x".repeat(n)}).to_string()
}

/// Which readings have a verdict, in the order in which they got it.
fn verdicts(heard: &[Message], topic: &str) -> Vec<String> {
    let prefix = format!("verdict/{topic}/");
    heard.iter().filter_map(|m| m.topic.strip_prefix(&prefix).map(ToOwned::to_owned)).collect()
}

#[test]
fn readings_become_verdicts_and_what_does_not_says_why() {
    let site = Site::start_with(TASKS, &["engine.slots=1"]);
    let mut peer = Peer::connect(&site.broker, "plc", &["#"]);
    verdict_and_number(&site, &mut peer);
    reasons(&site, &mut peer);
    answers_that_fail(&mut peer);
    no_more_often_than_allowed(&mut peer);
    only_what_changed(&site, &mut peer);
}

fn verdict_and_number(site: &Site, peer: &mut Peer) {
    // Two tasks listen here: each has its say.
    peer.publish("plant/a/vibration", r#"{"rms": 4.2}"#);
    let verdict = peer.next("plant/a/verdict");
    assert_eq!((verdict.qos, verdict.retain), (1, true));
    assert!(!verdict.text().is_empty());
    assert_eq!(verdict.properties["content_type"], "text/plain; charset=utf-8");
    let number = peer.next("numbers/a");
    assert!(number.json().is_i64() && !number.retain, "{number:?}");
    assert_eq!(number.properties["content_type"], "application/json");
    peer.publish("plant/b/heat", "{}");
    assert_eq!(peer.next("numbers/b").json(), number.json());
    // The same words as by the other way, and kept for who comes later.
    let prompt = crate::harness::prompt("Is 4.2 mm/s on a too much?", 6);
    assert_eq!(site.daemon.chat(&prompt).text(), verdict.text());
    assert_eq!(
        first_heard(&site.broker, "plant/a/verdict", 1).trim_end(),
        format!("plant/a/verdict {}", verdict.text()).trim_end()
    );
    // What the broker kept from before is not news, nor is what one publishes to be kept.
    peer.publish_with("plant/b/heat", "{}", &json!({"retain": true}));
}

fn reasons(site: &Site, peer: &mut Peer) {
    for (payload, words) in [("{\"rmss\": 1}", "payload.rms"), ("4,2", "not JSON"), ("", "empty")] {
        peer.publish("plant/a/vibration", payload);
        let error = peer.next(&error_topic("plain"));
        assert_eq!(error.error().1, "invalid_request", "{payload}");
        assert!(!error.retain);
        let error = error.json();
        assert_eq!((&error["task"], &error["topic"]), (&json!("plain"), &json!("plant/a/vibration")));
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{error}");
        if payload.starts_with('{') {
            peer.next("numbers/a");
        } else {
            assert_eq!(peer.next(&error_topic("number")).error().1, "invalid_request");
        }
    }
    site.settled();
    let heard = peer.rest();
    let results = heard.iter().filter(|m| m.topic.starts_with("numbers") || m.topic.ends_with("verdict"));
    assert_eq!(results.count(), 0, "a result of a retained or an unusable reading: {heard:#?}");
}

fn answers_that_fail(peer: &mut Peer) {
    peer.publish("strict/a", "Tell me of the sea.");
    let error = peer.next("strict/a/trouble");
    assert_eq!(error.error().1, "provider_error");
    let error = error.json();
    assert_eq!((&error["task"], &error["topic"]), (&json!("strict"), &json!("strict/a")));
    assert!(error["answer"].is_string() && error["error"]["request_id"].is_string(), "{error}");
}

fn no_more_often_than_allowed(peer: &mut Peer) {
    for n in 0..100 {
        peer.publish("hasty/a", reading(n));
    }
    peer.next("verdict/hasty/a/99");
    let others = verdicts(&peer.rest(), "hasty/a");
    assert!(others.len() <= 1, "of 100 at once these ran beside the newest: {others:?}");
}

fn only_what_changed(site: &Site, peer: &mut Peer) {
    for n in [1, 1, 1, 2, 2, 1, 3] {
        peer.publish("changes/a", reading(n));
        peer.publish("changes/b", reading(7));
    }
    peer.next("verdict/changes/a/3");
    site.settled();
    let heard = peer.rest();
    let mut changes = verdicts(&heard, "changes/a");
    changes.sort_unstable();
    assert_eq!(
        (changes, verdicts(&heard, "changes/b")),
        (vec!["1".into(), "1".into(), "2".into()], vec!["7".into()])
    );
}

#[test]
fn of_readings_that_wait_the_newest_is_run_and_survives_the_daemon() {
    let mut site = Site::start_with(TASKS, &["engine.slots=1", "service.stop_grace_s=0"]);
    let mut peer = Peer::connect(&site.broker, "plc", &["verdict/#", &error_topic("newest")]);
    let busy = occupy(&site.daemon);
    for n in 0..5 {
        peer.publish("newest/a", reading(n));
    }
    peer.publish("newest/b", reading(9));
    for _ in 0..4 {
        let error = peer.next(&error_topic("newest"));
        assert_eq!((error.error().1.as_str(), &error.json()["topic"]), ("superseded", &json!("newest/a")));
    }
    // What the broker has acknowledged and the store has not noted yet would come twice.
    site.daemon.status_when("both wait", |s| s["queued"]["normal"] == 2 && s["store"]["outbox"] == 0);
    site.daemon.signal(rustix::process::Signal::KILL);
    drop(busy);
    site.daemon.restart();
    for topic in ["verdict/newest/a/4", "verdict/newest/b/9"] {
        peer.next(topic);
    }
    site.settled();
    let heard = peer.rest();
    assert!(heard.is_empty(), "{heard:#?}");
}

#[test]
fn a_reading_that_several_filters_match_runs_once_for_each_task() {
    let task = |name: &str, topics: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\ntopic = {topics}\nprompt = \"Hi\"\nresult = \"out/{name}\"\nmax_tokens = 1\n"
        )
    };
    let file = [
        task("wide", "\"press/#\""),
        task("narrow", "[\"press/+/heat\", \"press/1/heat\"]"),
        task("across", "\"+/1/heat\""),
    ];
    let site = Site::start_with(&file.concat(), &[]);
    let mut peer = Peer::connect(&site.broker, "plc", &["out/+"]);
    peer.publish("press/1/heat", "{}");
    for name in ["wide", "narrow", "across"] {
        peer.next(&format!("out/{name}"));
    }
    site.settled();
    assert_eq!(peer.rest().len(), 0, "one result for each");
}

#[test]
fn what_a_full_store_cannot_keep_goes_out_before_the_reading_is_done_with() {
    let file = "[[task]]\nname = \"t\"\ntopic = \"press/+\"\nprompt = \"Hi\"\nresult = \"out/t\"\n";
    let site = Site::start_with(file, &["store.free_min_mb=100000000"]);
    let mut peer = Peer::connect(&site.broker, "plc", &[&error_topic("t")]);
    peer.publish("press/1", "{}");
    let why = peer.next(&error_topic("t"));
    assert_eq!(why.json()["error"]["code"], "store_full", "{}", why.text());
}
