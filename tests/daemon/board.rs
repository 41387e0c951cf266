//! A daemon on a board that gets hot and cools again: the files of its kernel are these tests'.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    broker::Broker,
    harness::{Daemon, endless, prompt, until, with},
    http::{Connection, request},
    mqtt::{NODE, Peer, occupy, start_at},
};

/// The board's files: one thermal zone, passive at 80 °C, switched off at 110 °C.
pub(crate) struct Sensors(TempDir);

impl Sensors {
    pub(crate) fn new() -> Self {
        let sensors = Self(TempDir::new().unwrap());
        fs::create_dir_all(sensors.zone("")).unwrap();
        for (file, text) in [
            ("type", "cpu-thermal"),
            ("trip_point_0_type", "passive"),
            ("trip_point_0_temp", "80000"),
            ("trip_point_1_type", "critical"),
            ("trip_point_1_temp", "110000"),
        ] {
            fs::write(sensors.zone(file), text).unwrap();
        }
        sensors.have(45);
        sensors
    }

    fn zone(&self, file: &str) -> PathBuf {
        self.0.path().join("class/thermal/thermal_zone0").join(file)
    }

    /// From now on the board has this temperature, °C.
    fn have(&self, celsius: u32) {
        // At once: nobody is to read half a number.
        fs::write(self.0.path().join("next"), format!("{celsius}000\n")).unwrap();
        fs::rename(self.0.path().join("next"), self.zone("temp")).unwrap();
    }

    /// Settings of a daemon on this board: what it may use of the real one is left out.
    pub(crate) fn settings(&self) -> [String; 3] {
        let path = self.0.path().display();
        [format!("board.sys={path}"), format!("board.proc={path}"), "board.calm_s=1".into()]
    }

    fn daemon(&self, settings: &[&str]) -> Daemon {
        let own = self.settings();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        Daemon::start(&[&own[..], settings].concat())
    }

    /// Changes the temperature and waits until the daemon has drawn its conclusion.
    pub(crate) fn until(&self, daemon: &Daemon, celsius: u32, level: &str) -> Value {
        self.have(celsius);
        daemon.status_when(level, |s| s["pressure"]["level"] == level)
    }
}

fn accept(daemon: &Daemon, id: &str, lane: &str) -> u16 {
    let body = with(prompt("Hi", 2), json!({"outpost": {"id": id, "lane": lane}}));
    daemon.post("/v1/requests", &body).status
}

fn state(daemon: &Daemon, id: &str) -> Value {
    let answer = daemon.get(&format!("/v1/requests/{id}"));
    if answer.status == 202 { answer.json()["state"].clone() } else { json!(answer.status) }
}

fn ends(daemon: &Daemon, id: &str, status: u16) {
    until("it has its final", || (state(daemon, id) == status).then_some(()));
}

#[test]
fn status_metrics_and_command_line_say_how_hot_the_board_is_and_why() {
    let sensors = Sensors::new();
    let daemon = sensors.daemon(&[]);
    let status = daemon.status();
    assert_eq!(status["pressure"]["level"], "nominal");
    assert_eq!(status["pressure"]["reason"], Value::Null);
    let zone = json!({"name": "cpu-thermal", "celsius": 45.0, "warm": 70.0, "hot": 80.0, "critical": 105.0});
    assert_eq!(status["board"]["zones"], json!([zone]));
    let unknown = ["throttling", "under_voltage", "memory_pressure", "memory", "power"];
    assert_eq!(status["board"]["unknown"], json!(unknown), "and none of it is an error");
    assert!(status["board"]["disk_free_bytes"].as_u64().unwrap() > 0);
    for (celsius, level, from, number) in
        [(72, "warm", "70.0", 1), (83, "hot", "80.0", 2), (106, "critical", "105.0", 3)]
    {
        let reason = sensors.until(&daemon, celsius, level)["pressure"]["reason"].clone();
        let blame = format!(
            "thermal zone cpu-thermal reached {celsius}.0 °C, it is {level} from {from} °C; cool the board or move it"
        );
        assert_eq!(reason, json!(blame));
        let metrics = String::from_utf8(daemon.get("/metrics").body).unwrap();
        for line in [
            format!("outpost_pressure {number}"),
            format!("outpost_temperature_celsius{{zone=\"cpu-thermal\"}} {celsius}.0"),
        ] {
            assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
        }
        let shown = crate::harness::binary().args(["--socket"]).arg(daemon.socket()).arg("status").output();
        let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
        assert!(shown.contains(&format!("board     {level} for ")) && shown.contains(&blame), "{shown}");
    }
    sensors.until(&daemon, 45, "nominal");
    assert!(daemon.log().contains("reached 83.0"), "{}", daemon.log());
}

#[test]
fn a_critical_board_takes_in_nothing_and_answers_what_it_took_in_once_it_has_cooled() {
    let sensors = Sensors::new();
    let daemon = sensors.daemon(&["engine.slots=1"]);
    let busy = occupy(&daemon);
    assert_eq!(accept(&daemon, "before", "interactive"), 202);
    let short = with(prompt("Hi", 2), json!({"outpost": {"id": "short", "deadline_ms": 20_000}}));
    assert_eq!(daemon.post("/v1/requests", &short).status, 202);
    sensors.until(&daemon, 106, "critical");
    for path in ["/v1/chat/completions", "/v1/requests"] {
        let refused = daemon.post(path, &prompt("Hi", 1));
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["code"]), (503, &json!("overheated")), "{path}");
        assert_eq!((&error["retryable"], &error["retry_after_ms"]), (&json!(true), &json!(30_000)), "{path}");
    }
    assert_eq!(daemon.get("/health/ready").status, 503, "who balances load asks here");
    assert_eq!(daemon.get("/health/live").status, 200);
    // What was taken in is known as ever, and the same request again is no new one.
    assert_eq!(accept(&daemon, "before", "interactive"), 202);
    // The slot is free, and nothing is started.
    drop(busy);
    daemon.status_when("the engine is idle", |s| s["engine"]["running"] == 0 && s["in_flight"] == 2);
    // Its deadline ends it all the same.
    ends(&daemon, "short", 408);
    assert_eq!(state(&daemon, "before"), "queued");
    assert_eq!(daemon.status()["engine"]["running"], 0);
    sensors.have(45);
    ends(&daemon, "before", 200);
    sensors.until(&daemon, 45, "nominal");
    daemon.chat(&prompt("Hi", 1)).good();
}

#[test]
fn what_runs_goes_on_when_the_board_gets_critical() {
    let sensors = Sensors::new();
    let daemon = sensors.daemon(&["engine.slots=1"]);
    let mut caller = daemon.connect();
    caller.stream("/v1/chat/completions", &endless(true));
    daemon.status_when("it runs", |s| s["engine"]["running"] == 1);
    let before = sensors.until(&daemon, 106, "critical")["engine"]["steps"].as_u64().unwrap();
    daemon.status_when("it goes on", |s| {
        s["engine"]["running"] == 0 || s["engine"]["steps"].as_u64().unwrap() > before + 2
    });
}

#[test]
fn a_hot_board_does_not_start_batch_and_starts_the_others() {
    let sensors = Sensors::new();
    let daemon = sensors.daemon(&["engine.slots=4"]);
    sensors.until(&daemon, 83, "hot");
    assert_eq!(accept(&daemon, "later", "batch"), 202, "taken in, not started");
    for lane in ["interactive", "normal"] {
        assert_eq!(accept(&daemon, lane, lane), 202);
        ends(&daemon, lane, 200);
    }
    assert_eq!(state(&daemon, "later"), "queued");
    assert_eq!(daemon.status()["queued"]["batch"], 1);
    sensors.have(45);
    ends(&daemon, "later", 200);
}

#[test]
fn a_hot_board_uses_half_its_slots() {
    let sensors = Sensors::new();
    let daemon = sensors.daemon(&["engine.slots=4"]);
    sensors.until(&daemon, 83, "hot");
    let mut callers: Vec<Connection> = Vec::new();
    for n in 1..=3 {
        let mut caller = daemon.connect();
        caller
            .send(&request("POST", "/v1/chat/completions", "", endless(true).to_string().as_bytes()))
            .unwrap();
        callers.push(caller);
        daemon.status_when("it is taken in", |s| s["in_flight"] == n);
    }
    let status = daemon.status_when("two run", |s| s["engine"]["running"] == 2);
    assert_eq!(status["queued"]["interactive"], 1, "the third waits");
    // One ends: the next one starts, without a change of the board.
    drop(callers.remove(0));
    daemon.status_when("two run again", |s| s["engine"]["running"] == 2 && s["queued"]["interactive"] == 0);
    // The board cools: all slots are used.
    for n in [3, 4] {
        let mut caller = daemon.connect();
        caller
            .send(&request("POST", "/v1/chat/completions", "", endless(true).to_string().as_bytes()))
            .unwrap();
        callers.push(caller);
        daemon.status_when("it waits", |s| s["in_flight"] == n);
    }
    sensors.have(45);
    daemon.status_when("all slots are used", |s| s["engine"]["running"] == 4);
}

#[test]
fn a_warm_board_runs_one_of_batch_at_a_time() {
    let sensors = Sensors::new();
    let daemon = sensors.daemon(&["engine.slots=4"]);
    sensors.until(&daemon, 72, "warm");
    let long = |id: &str, lane: &str| {
        let body = with(endless(false), json!({"outpost": {"id": id, "lane": lane}}));
        assert_eq!(daemon.post("/v1/requests", &body).status, 202);
    };
    long("first", "batch");
    daemon.status_when("the first runs", |s| s["engine"]["running"] == 1);
    long("second", "batch");
    long("other", "normal");
    let status = daemon.status_when("the other runs, too", |s| s["engine"]["running"] == 2);
    assert_eq!(status["queued"], json!({"interactive": 0, "normal": 0, "batch": 1}));
    for id in ["first", "other"] {
        daemon.connect().ask("DELETE", &format!("/v1/requests/{id}"), None);
    }
    // After its rest.
    daemon.status_when("the second runs", |s| s["queued"]["batch"] == 0 && s["engine"]["running"] == 1);
    daemon.connect().ask("DELETE", "/v1/requests/second", None);
}

#[test]
fn a_daemon_that_starts_on_a_critical_board_starts_nothing_of_what_it_had() {
    let sensors = Sensors::new();
    let mut daemon = sensors.daemon(&["engine.slots=1", "service.stop_grace_s=0"]);
    let busy = occupy(&daemon);
    assert_eq!(accept(&daemon, "before", "interactive"), 202);
    daemon.signal(rustix::process::Signal::KILL);
    drop(busy);
    sensors.have(106);
    daemon.restart_unready();
    daemon.status_when("the model is there", |s| s["state"] == "ready");
    let status = daemon.status();
    assert_eq!((&status["pressure"]["level"], &status["in_flight"]), (&json!("critical"), &json!(1)));
    assert_eq!(state(&daemon, "before"), "queued");
    sensors.have(45);
    ends(&daemon, "before", 200);
}

#[test]
fn the_broker_keeps_an_alert_with_the_blame_until_the_board_has_cooled() {
    let broker = Broker::start("");
    let alert = format!("{NODE}/alert/heat");
    let mut peer = Peer::connect(&broker, "watcher", &[&alert, &format!("{NODE}/status")]);
    let sensors = Sensors::new();
    let own = sensors.settings();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let daemon = start_at(&broker, "n", "", &own);
    let none = peer.next(&alert);
    assert_eq!((none.text().as_str(), none.retain), ("", true), "what an earlier run left is taken away");
    let reason = sensors.until(&daemon, 83, "hot")["pressure"]["reason"].clone();
    let told = peer.find("it alerts", |m| m.topic == alert && m.json()["reason"] == reason);
    assert_eq!((told.qos, told.retain, &told.json()["kind"]), (1, true, &json!("heat")));
    peer.find("its status says so", |m| {
        m.topic.ends_with("/status") && m.json()["pressure"]["level"] == "hot"
    });
    assert!(
        crate::mqtt::first_heard(&broker, &alert, 1).contains("cpu-thermal"),
        "who comes later learns it"
    );
    sensors.have(45);
    peer.find("it is over", |m| m.topic == alert && m.payload.is_empty());
}
