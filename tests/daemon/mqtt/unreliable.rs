//! Brokers that are not there, go away and come back; daemons that do.

use rustix::process::Signal;
use serde_json::json;

use super::{NODE, Peer, Site, bytes, finals, hears, occupy, request_topic, response_topic};
use crate::{
    broker::Broker,
    harness::{Daemon, binary, prompt, until, with},
};

/// A client whose session the broker keeps while it is away.
fn loyal(broker: &Broker, client: &str) -> Peer {
    let filter = response_topic(client, "#");
    Peer::connect_as(broker, client, &[&filter], &json!({"version": 5, "session_s": 3600}))
}

/// What `outpost status` prints.
fn shown_status(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut command = binary();
    let output = command.arg("--socket").arg(daemon.socket()).arg("status").args(arguments).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

fn disconnected(daemon: &Daemon) -> String {
    let status = daemon.status_when("it knows", |s| {
        s["mqtt"]["state"] == "disconnected" && s["mqtt"]["reason"] != "connecting"
    });
    status["mqtt"]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_daemon_without_its_broker_serves_says_so_and_finds_it_when_it_comes() {
    let mut broker = Broker::start("");
    broker.stop();
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let daemon = Daemon::start(&["node.id=n", &format!("mqtt.url={url}")]);
    let reason = disconnected(&daemon);
    assert!(reason.contains(&url) && reason.contains("connection refused"), "{reason}");
    let status = daemon.status();
    assert_eq!((&status["mqtt"]["broker"], &status["mqtt"]["connections"]), (&json!(url), &json!(0)));
    daemon.chat(&prompt("Hi", 1)).good();
    let shown = shown_status(&daemon, &[]);
    assert!(shown.contains("\nbroker    disconnected for ") && shown.contains(&reason), "{shown}");
    assert!(shown.contains("\nstore     ok, "), "{shown}");
    broker.restart();
    let status = daemon.status_when("it has found it", |s| s["mqtt"]["state"] == "connected");
    assert_eq!((&status["mqtt"]["reason"], &status["mqtt"]["connections"]), (&json!(null), &json!(1)));
    let shown = shown_status(&daemon, &[]);
    assert!(shown.contains("\nbroker    connected for ") && shown.contains(&url), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&shown_status(&daemon, &["--json"])).unwrap();
    assert_eq!((&json["mqtt"]["state"], &json["store"]["state"]), (&json!("connected"), &json!("ok")));
    hears(&broker, "outpost-n");
    let mut peer = Peer::connect(&broker, "plc", &[&response_topic("plc", "#")]);
    peer.publish(&request_topic("plc", "1"), bytes(&prompt("Hi", 1)));
    peer.next(&response_topic("plc", "1")).answer();
}

#[test]
fn finals_that_were_made_while_the_broker_was_away_arrive_after() {
    let mut site = Site::start(&["engine.slots=1"]);
    let mut peer = loyal(&site.broker, "plc");
    for (id, power_cut) in [("stopped", false), ("killed", true)] {
        let body = with(prompt("Count.", 30), json!({"ignore_eos": true}));
        let busy = occupy(&site.daemon);
        peer.publish(&request_topic("plc", id), bytes(&body));
        peer.find("it waits", |m| m.topic.contains(id) && m.text().contains("queued"));
        if power_cut {
            // What a broker forgets is not the daemon's matter: it has its sessions on disk.
            site.broker.save();
            site.broker.kill9();
        } else {
            site.broker.stop();
        }
        disconnected(&site.daemon);
        drop(busy);
        site.daemon.status_when("its final waits", |s| s["in_flight"] == 0 && s["store"]["outbox"] == 1);
        if power_cut {
            // It was not the broker's alone: a daemon that begins with a full outbox empties it.
            site.daemon.signal(Signal::KILL);
            site.daemon.restart();
        }
        site.broker.restart();
        peer.next(&response_topic("plc", id)).answer();
        site.settled();
    }
    let heard = peer.rest();
    assert!(
        finals(&heard, "plc", "stopped").is_empty() && finals(&heard, "plc", "killed").is_empty(),
        "{heard:#?}"
    );
}

#[test]
fn what_was_accepted_is_answered_by_the_next_run_with_its_mark_and_on_its_topic() {
    let mut site = Site::start(&["engine.slots=1", "service.stop_grace_s=0"]);
    let mut peer = site.peer("plc");
    for (round, signal) in [Signal::KILL, Signal::TERM].into_iter().enumerate() {
        let busy = occupy(&site.daemon);
        let inbox = response_topic("plc", &format!("inbox/{round}"));
        let properties = json!({"correlation": "00ff", "response_topic": inbox});
        peer.publish_with(&request_topic("plc", &format!("q{round}")), bytes(&prompt("Hi", 2)), &properties);
        site.daemon.status_when("it waits", |s| s["queued"]["normal"] == 1);
        site.daemon.signal(signal);
        drop(busy);
        // What comes while nobody is there waits with the broker.
        site.daemon.ended();
        peer.publish(&request_topic("plc", &format!("missed{round}")), bytes(&prompt("Hi", 2)));
        peer.publish(&format!("{NODE}/cancel/plc/nothing"), "");
        site.daemon.restart();
        let answer = peer.next(&inbox);
        assert_eq!(answer.json()["id"], format!("q{round}"));
        assert_eq!(answer.properties["correlation"], "00ff");
        answer.answer();
        peer.next(&response_topic("plc", &format!("missed{round}"))).answer();
        // Asked again it is the same, though another process made it.
        peer.publish(&request_topic("plc", &format!("q{round}")), bytes(&prompt("Hi", 2)));
        assert_eq!(peer.next(&response_topic("plc", &format!("q{round}"))).text(), answer.text());
    }
    site.settled();
    let heard = peer.rest();
    let second = heard.iter().find(|m| !m.topic.ends_with("/event"));
    assert!(second.is_none(), "{second:?}");
}

#[test]
fn a_broker_that_hangs_holds_nobody_up() {
    let site = Site::start(&[]);
    let mut peer = site.peer("plc");
    site.broker.pause();
    site.daemon.chat(&prompt("Hi", 1)).good();
    assert_eq!(site.daemon.get("/health/ready").status, 200);
    site.broker.resume();
    peer.publish(&request_topic("plc", "1"), bytes(&prompt("Hi", 1)));
    peer.next(&response_topic("plc", "1")).answer();
    until("it is still the first connection", || {
        (site.daemon.status()["mqtt"]["connections"] == 1).then_some(())
    });
}
