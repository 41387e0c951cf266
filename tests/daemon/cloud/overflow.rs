//! When the device cannot: late, too hot, too long, or not there at all.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};

use super::{OPEN, Plant, chat};
use crate::{
    board::Sensors,
    broker::Broker,
    harness::{Daemon, cached, prompt, until, with},
    hf::{Router, faults, script},
    http::request,
    mqtt::{NODE, Peer, hears, occupy, request_topic, response_topic},
};

const SMALL: &str = "[cloud]\nmodel = \"org/small\"\n";

/// The final of a request that was accepted by its id.
fn the_final(plant: &Plant, id: &str) -> Value {
    until("it has its final", || {
        let answer = plant.daemon.get(&format!("/v1/requests/{id}")).json();
        (answer["object"] != "request").then_some(answer)
    })
}

fn accept(plant: &Plant, id: &str, body: Value, deadline_ms: u64) {
    let body = with(body, json!({"outpost": {"id": id, "deadline_ms": deadline_ms}}));
    assert_eq!(plant.daemon.post("/v1/requests", &body).status, 202, "{body}");
}

/// Milliseconds in which this machine does not write what `occupy` asks for, as it was measured to write.
fn too_soon(plant: &Plant) -> u64 {
    let rate = plant.daemon.status()["engine"]["decode_tokens_per_s"].as_f64().unwrap();
    (900.0 / rate * 400.0) as u64
}

#[test]
fn what_the_device_would_answer_too_late_is_answered_elsewhere() {
    let plant = Plant::with_model(OPEN, SMALL);
    // What it can do is known only once it has done something.
    assert_eq!(plant.daemon.chat(&prompt("Hi", 64)).header("x-outpost-zone"), Some("device"));
    let soon = too_soon(&plant);
    let busy = occupy(&plant.daemon);
    accept(&plant, "patient", prompt("take your time", 4), 600_000);
    accept(&plant, "late", prompt("what is the state?", 40), soon);
    let answer = the_final(&plant, "late");
    assert_eq!(answer["outpost"]["zone"], "cloud", "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "echo: what is the state?");
    drop(busy);
    let patient = the_final(&plant, "patient");
    assert_eq!(patient["outpost"]["zone"], "device", "it had time: {patient}");
    assert_eq!(plant.router.prompts().len(), 1);
    plant.daemon.idle();
    let answer = plant.daemon.chat(&prompt("Hi", 4));
    assert_eq!(answer.header("x-outpost-zone"), Some("device"), "never because it would merely be nicer");
    let status = plant.daemon.status();
    assert_eq!(status["zones"], json!({"device": "ok", "site": "off", "cloud": "ok"}));
}

#[test]
fn what_may_not_leave_comes_late_and_is_not_sent() {
    let plant = Plant::with_model("version = 1\n", SMALL);
    assert_eq!(plant.daemon.chat(&prompt("Hi", 64)).status, 200);
    let soon = too_soon(&plant);
    let busy = occupy(&plant.daemon);
    accept(&plant, "late", prompt("what is the state?", 40), soon);
    let answer = the_final(&plant, "late");
    assert_eq!(answer["error"]["code"], "deadline_exceeded", "{answer}");
    assert!(plant.router.seen().is_empty());
    let denied = plant.audit();
    assert_eq!(
        (denied.len(), denied[0]["event"].as_str()),
        (1, Some("denied")),
        "once, however often it was looked at"
    );
    drop(busy);
}

#[test]
fn a_prompt_that_is_too_long_for_the_device_goes_where_it_fits() {
    let plant = Plant::with_model(OPEN, SMALL);
    let long = prompt(&"vibration ".repeat(1_500), 16);
    let answer = plant.daemon.chat(&long);
    assert_eq!(answer.header("x-outpost-zone"), Some("cloud"), "{:?}", answer.head);
    let here = plant.daemon.chat(&with(long.clone(), json!({"model": "local"})));
    assert_eq!(here.json()["error"]["code"], "context_length_exceeded");
    let kept = plant.daemon.chat(&with(long, json!({"outpost": {"zone_max": "device"}})));
    assert_eq!(kept.json()["error"]["code"], "context_length_exceeded");
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let with_tools = with(prompt("use it", 16), json!({"tools": tools}));
    assert_eq!(
        plant.daemon.chat(&with_tools).header("x-outpost-zone"),
        Some("cloud"),
        "the device calls none"
    );
}

#[test]
fn a_hot_board_gives_away_what_waits_and_takes_back_what_nobody_takes() {
    let sensors = Sensors::new();
    let own = sensors.settings();
    let mut plant = Plant::with_model_and(OPEN, SMALL, &own.each_ref().map(String::as_str));
    let busy = occupy(&plant.daemon);
    sensors.until(&plant.daemon, 85, "hot");
    let waits = prompt("is it hot?", 8);
    assert_eq!(
        plant.daemon.chat(&waits).header("x-outpost-zone"),
        Some("cloud"),
        "it has no deadline, and is not to wait"
    );
    // Nobody is there any more: what waits stays the device's.
    plant.router = Router::start();
    let mut connection = plant.daemon.connect();
    let body = waits.to_string();
    connection.send(&request("POST", "/v1/chat/completions", "", body.as_bytes())).unwrap();
    plant.daemon.status_when("the way to the cloud is closed", |s| s["zones"]["cloud"] == "breaker open");
    drop(busy);
    assert_eq!(connection.answer().header("x-outpost-zone"), Some("device"));
    sensors.until(&plant.daemon, 108, "critical");
    let local = with(prompt("Hi", 2), json!({"model": "local"}));
    assert_eq!(plant.daemon.chat(&local).json()["error"]["code"], "overheated");
}

#[test]
fn what_has_a_deadline_waits_for_the_network_and_is_delivered_over_mqtt() {
    let broker = Broker::start("");
    let url = format!("mqtt.url=mqtt://127.0.0.1:{}", broker.port());
    // At an address of its own: nobody else takes its port meanwhile.
    let address = "127.77.0.1";
    let router = Router::on(&format!("{address}:0"));
    let (base_url, port) = (router.base_url(), router.port());
    let more = [url.as_str(), "node.id=n"];
    let mut plant = Plant::at(router, &base_url, (OPEN, SMALL), &more, Daemon::start_without_model);
    hears(&broker, "outpost-n");
    // The network is gone.
    plant.router = Router::start();
    let mut peer = Peer::connect(&broker, "plc", &[&format!("{NODE}/response/plc/#")]);
    let body = with(chat("org/small", "still there?"), json!({"outpost": {"deadline_ms": 60_000}}));
    peer.publish(&request_topic("plc", "1"), body.to_string());
    let deferred =
        peer.find("it is deferred", |m| m.topic.ends_with("/event") && m.json()["event"] == "deferred");
    assert!(deferred.json()["why"].as_str().unwrap().contains("catalogue"), "{}", deferred.text());
    plant.router = Router::on(&format!("{address}:{port}"));
    let done = peer.next(&response_topic("plc", "1"));
    assert_eq!(done.json()["outpost"]["zone"], "cloud", "{}", done.text());
    assert_eq!(plant.router.prompts().len(), 1);
    // The broker keeps the place of the audit, where nobody on the device can change it.
    let place = plant.daemon.status()["audit"].clone();
    assert_eq!(place["rows"], 2, "{place}");
    let mut watcher = Peer::connect(&broker, "watcher", &[&format!("{NODE}/status")]);
    watcher.find("the broker has the place of the audit", |m| m.json()["audit"] == place);
}

#[test]
fn a_task_that_prefers_the_cloud_is_asked_there_and_its_answer_held_against_its_schema() {
    let broker = Broker::start("");
    let url = format!("mqtt.url=mqtt://127.0.0.1:{}", broker.port());
    let toml = r#"
[cloud]
model = "org/small"
[[task]]
name = "verdict"
topic = "plant/+/rms"
prompt = "Is {{ payload.rms }} too much? Tell a@b.example."
schema = '{"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}'
result = "plant/{{ topic[1] }}/verdict"
prefer = "cloud"
"#;
    let policy = r#"
version = 1
[[rule]]
name = "readings"
effect = "allow"
when = { task = ["verdict"], topic = ["plant/press/#"] }
to = { zone = "cloud" }
redact = ["email"]
"#;
    let plant = Plant::with_model_and(policy, toml, &[&url, "node.id=n"]);
    let mut peer = Peer::connect(&broker, "scada", &["plant/+/verdict"]);
    plant.daemon.status_when("it hears", |s| s["mqtt"]["state"] == "connected");
    plant.router.play(None, 1, |seen| script::answer_of(seen, "I think so"));
    plant.router.play(None, 1, |seen| script::answer_of(seen, "{\"ok\": true}"));
    peer.publish("plant/press/rms", r#"{"rms": 7}"#);
    assert_eq!(peer.next("plant/press/verdict").json()["ok"], true);
    let prompts = plant.router.prompts();
    assert_eq!(prompts.len(), 2, "the first answer failed its schema, and the task asks once more");
    for seen in &prompts {
        assert!(!String::from_utf8_lossy(&seen.body).contains("a@b"), "replaced the second time, too");
    }
}

#[test]
fn nothing_is_lost_when_the_daemon_dies_between_the_providers_answer_and_the_final() {
    let mut plant = Plant::without_model(OPEN, SMALL);
    plant.router.play(None, 1, |seen| {
        let mut play = script::echo(seen);
        // Everything but the end has come.
        play.truncate(play.len() - 2);
        play.push(script::Step::Pause);
        play
    });
    accept(&plant, "paid", chat("org/small", "hi"), 120_000);
    plant.router.wait_for_paused(1);
    plant.daemon.signal(rustix::process::Signal::KILL);
    plant.daemon.restart();
    let answer = the_final(&plant, "paid");
    assert_eq!(answer["choices"][0]["message"]["content"], "echo: hi");
    let rows = plant.audit();
    let costs = |event: &str| -> Vec<u64> {
        let rows = rows.iter().filter(|row| row["event"] == event);
        rows.map(|row| row["cost_micro_usd"].as_u64().unwrap()).collect()
    };
    assert_eq!(plant.router.prompts().len(), 2, "asked twice, for nobody knew the first answer");
    assert_eq!((costs("sent").len(), costs("settled").len()), (2, 2));
    assert_eq!(costs("settled")[0], costs("sent")[0], "the first at the most that it can have cost");
    let booked: u64 = plant.ledger().iter().map(|row| row["cost_micro_usd"].as_u64().unwrap()).sum();
    assert_eq!(booked, costs("settled").iter().sum::<u64>());
}

#[test]
fn a_request_that_waits_elsewhere_can_be_cancelled_and_survives_an_orderly_end() {
    let mut plant = Plant::without_model(OPEN, SMALL);
    let row = faults::ROWS.iter().find(|row| row.name == "402 of 2026").unwrap();
    plant.router.play(None, 1, row.script);
    accept(&plant, "first", chat("org/small", "one"), 120_000);
    plant.daemon.status_when("the account rests", |s| s["zones"]["cloud"] == "breaker open");
    accept(&plant, "second", chat("org/small", "two"), 120_000);
    assert_eq!(plant.daemon.connect().ask("DELETE", "/v1/requests/second", None).status, 200);
    assert_eq!(the_final(&plant, "second")["error"]["code"], "cancelled");
    plant.daemon.signal(rustix::process::Signal::TERM);
    plant.daemon.restart();
    assert_eq!(
        the_final(&plant, "first")["choices"][0]["message"]["content"],
        "echo: one",
        "breakers do not outlive a restart"
    );
}

#[test]
fn a_model_that_comes_takes_home_what_waited_only_because_there_was_none() {
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("model");
    fs::create_dir(&package).unwrap();
    let settings = [
        format!("model.package={}", package.display()),
        format!("runtime.onnxruntime={}", cached("onnxruntime/libonnxruntime.so").display()),
        "engine.threads=1".into(),
        "engine.context=1024".into(),
    ];
    let settings = settings.each_ref().map(String::as_str);
    // And nobody elsewhere can be reached.
    let nobody = "http://127.0.0.1:9/v1";
    let plant = Plant::at(Router::start(), nobody, (OPEN, SMALL), &settings, Daemon::start_without_model);
    plant.daemon.status_when("it has given up", |status| status["state"] == "failed");
    accept(&plant, "waits", prompt("Hi", 4), 600_000);
    until("it is put off", || plant.daemon.log().contains("deferred").then_some(()));
    fs::remove_dir(&package).unwrap();
    symlink(cached("models/smollm2-135m-instruct"), &package).unwrap();
    plant.daemon.reload();
    assert_eq!(the_final(&plant, "waits")["outpost"]["zone"], "device");
}
