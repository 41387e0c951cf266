//! What a node says of itself, and what is said of it when it is gone.

use std::{fs, os::unix::fs::symlink};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Message, NODE, Peer, bytes, first_heard, hears, occupy, request_topic, response_topic, start_at,
};
use crate::{
    broker::Broker,
    harness::{Daemon, cached, prompt, until},
};

const TASK: &str = r#"
[[task]]
name = "vibration"
topic = "plant/{line}/vibration"
prompt = "{{ payload }}"
result = "plant/{{ line }}/verdict"
"#;

fn report(name: &str) -> String {
    format!("{NODE}/{name}")
}

fn retained_at_qos_1(message: Message) -> Value {
    assert_eq!((message.qos, message.retain), (1, true), "{message:?}");
    message.json()
}

#[test]
fn a_node_reports_itself_and_the_broker_reports_its_end() {
    let broker = Broker::start("");
    let mut peer = Peer::connect(&broker, "watcher", &[&report("#")]);
    let mut daemon = start_at(&broker, "n", TASK, &["engine.slots=1", "mqtt.pools=[\"line\"]"]);
    let online = peer.next(&report("availability"));
    assert_eq!((online.text().as_str(), online.qos, online.retain), ("online", 1, true));

    let info = retained_at_qos_1(peer.next(&report("info")));
    assert_eq!((&info["contract"], &info["node"]), (&json!(1), &json!("n")));
    assert_eq!(
        (&info["lanes"], &info["pools"]),
        (&json!(["interactive", "normal", "batch"]), &json!(["line"]))
    );
    assert_eq!(info["limits"]["request_bytes"], 128 * 1024);
    let task =
        json!({"name": "vibration", "topics": ["plant/+/vibration"], "result": "plant/{{ line }}/verdict"});
    assert_eq!(info["tasks"], json!([task]));

    // By HTTP and by MQTT it says the same.
    let asked = daemon.status();
    let status = peer.find("it is ready", |m| m.topic == report("status") && m.json()["state"] == "ready");
    let status = retained_at_qos_1(status);
    for key in ["state", "version", "node", "boot_id", "clock_synced", "model", "zones", "audit"] {
        assert!(!status[key].is_null(), "{key}: {status}");
        assert_eq!(status[key], asked[key], "{key}");
    }
    assert_eq!(status["queued"], json!({"interactive": 0, "normal": 0, "batch": 0}));
    let clock = peer.next(&report("alert/clock"));
    if asked["clock_synced"] == true {
        assert_eq!(clock.text(), "", "there is nothing to alert of");
    } else {
        assert!(retained_at_qos_1(clock)["reason"].as_str().unwrap().contains("clock"));
    }
    let metrics = peer.next(&report("metrics"));
    assert_eq!((metrics.qos, metrics.retain), (0, false));
    let metrics = metrics.json();
    assert!(metrics.as_object().unwrap().values().all(Value::is_number), "flat: {metrics}");
    assert!(metrics["uptime_s"].is_u64() && metrics["queued_normal"] == 0, "{metrics}");

    // A change is told when it is there, not at the next full minute.
    let busy = occupy(&daemon);
    peer.publish(&request_topic("watcher", "a"), bytes(&prompt("Hi", 1)));
    peer.find("one waits", |m| m.topic == report("status") && m.json()["queued"]["normal"] == 1);
    drop(busy);
    peer.next(&response_topic("watcher", "a")).answer();
    peer.find("none waits", |m| m.topic == report("status") && m.json()["queued"]["normal"] == 0);

    // Who comes later learns it as well.
    let kept = first_heard(&broker, &report("availability"), 1);
    assert_eq!(kept, format!("{NODE}/availability online\n"));
    daemon.signal(Signal::KILL);
    assert_eq!(peer.next(&report("availability")).text(), "offline");
    assert_eq!(first_heard(&broker, &report("availability"), 1), format!("{NODE}/availability offline\n"));
    daemon.restart();
    assert_eq!(peer.next(&report("availability")).text(), "online");
    daemon.signal(Signal::TERM);
    let offline = peer.next(&report("availability"));
    assert_eq!((offline.text().as_str(), offline.retain), ("offline", true));
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
    assert!(!peer.rest().iter().any(|m| m.topic.ends_with("/availability")), "its word once is enough");
}

#[test]
fn a_model_that_cannot_be_loaded_is_an_alert_until_it_can() {
    let broker = Broker::start("");
    let mut peer = Peer::connect(&broker, "watcher", &[&report("alert/#"), &report("status")]);
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("model");
    fs::create_dir(&package).unwrap();
    let daemon = Daemon::spawn(&[
        "node.id=n",
        &format!("mqtt.url=mqtt://127.0.0.1:{}", broker.port()),
        &format!("model.package={}", package.display()),
        &format!("runtime.onnxruntime={}", cached("onnxruntime/libonnxruntime.so").display()),
        "engine.threads=1",
    ]);
    hears(&broker, "outpost-n");
    let alert = peer.find("it alerts", |m| m.topic == report("alert/model") && !m.payload.is_empty());
    let alert = retained_at_qos_1(alert);
    assert_eq!(alert["kind"], "model");
    let asked = daemon.status_when("it has given up", |s| s["state"] == "failed");
    assert_eq!(alert["reason"], asked["reason"]);
    assert!(first_heard(&broker, &report("alert/model"), 1).contains("reason"));
    peer.find("its status says so", |m| m.topic == report("status") && m.json()["state"] == "failed");

    // The technician puts the package there and says so.
    fs::remove_dir(&package).unwrap();
    symlink(cached("models/smollm2-135m-instruct"), &package).unwrap();
    daemon.signal(Signal::HUP);
    let over = peer.find("the alert is over", |m| m.topic == report("alert/model") && m.payload.is_empty());
    assert!(over.retain);
    until("the model answers", || (daemon.chat(&prompt("Hi", 1)).status == 200).then_some(()));
    // Nothing of it is kept for those who come now: what they get first is what is sent now.
    let late = Peer::connect(&broker, "late", &[&report("alert/model")]).rest();
    assert!(late.is_empty(), "{late:#?}");
}

#[test]
fn who_sees_that_a_node_is_online_is_heard() {
    let broker = Broker::start("");
    let mut peer = Peer::connect(&broker, "eager", &[&report("availability"), &response_topic("eager", "#")]);
    let url = format!("mqtt.url=mqtt://127.0.0.1:{}", broker.port());
    let _daemon = Daemon::spawn(&["node.id=n", &url]);
    assert_eq!(peer.next(&report("availability")).text(), "online");
    peer.publish(&request_topic("eager", "1"), bytes(&prompt("Hi", 1)));
    // Without a model that is the answer.
    assert_eq!(peer.next(&response_topic("eager", "1")).error().1, "model_not_found");
    // Nor was it luck: the broker had granted the subscriptions before it was told.
    let log = broker.log();
    let place = |words: [&str; 2]| {
        let place = log.lines().position(|line| words.iter().all(|word| line.contains(word)));
        place.unwrap_or_else(|| panic!("{words:?} is not in {log}"))
    };
    let granted = place(["Sending SUBACK to", "outpost-n"]);
    assert!(granted < place(["Received PUBLISH from outpost-n", "/availability'"]));
}
