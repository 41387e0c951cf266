//! The way to a broker that asks who one is: TLS, certificates, passwords.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::json;

use super::{Peer, bytes, hears, request_topic, response_topic};
use crate::{
    authority::Authority,
    broker::{Broker, installed},
    harness::{Daemon, prompt, until},
};

/// A year that no test reaches.
const FAR: i32 = 4000;
const SERVER: &str = "cafile {dir}/ca.pem\ncertfile {dir}/server.pem\nkeyfile {dir}/server.key\n";

/// A daemon without a model: it is the connection that matters here, and a refusal is an answer.
fn daemon(broker: &Broker, more: &[(&str, &Path)], settings: &[&str]) -> Daemon {
    let mut all = vec![
        "node.id=n".to_owned(),
        format!("mqtt.url=mqtts://127.0.0.1:{}", broker.port()),
        format!("mqtt.ca={}", broker.dir().join("ca.pem").display()),
    ];
    all.extend(more.iter().map(|(key, path)| format!("mqtt.{key}={}", path.display())));
    all.extend(settings.iter().map(ToString::to_string));
    let daemon = Daemon::spawn(&all.iter().map(String::as_str).collect::<Vec<_>>());
    until("it listens", || std::os::unix::net::UnixStream::connect(daemon.socket()).ok());
    daemon
}

fn site() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("the plant's");
    authority.write(&dir.path().join("ca.pem"));
    authority.issue(dir.path(), "server", &["127.0.0.1"], FAR);
    (dir, authority)
}

#[test]
fn renewed_certificates_are_taken_at_sighup_without_a_restart() {
    let (dir, authority) = site();
    for name in ["node", "renewed", "plc"] {
        authority.issue(dir.path(), name, &[], FAR);
    }
    let broker =
        Broker::start_in(dir, &format!("{SERVER}require_certificate true\nuse_identity_as_username true"));
    let file = |name: &str| broker.dir().join(name);
    let daemon = daemon(&broker, &[("cert", &file("node.pem")), ("key", &file("node.key"))], &[]);
    let connected_as = |name: &str| {
        let user = format!("u'{name}'");
        let log = broker.log();
        log.lines().any(|line| line.contains("as outpost-n (") && line.contains(&user))
    };
    until("it is connected", || connected_as("node").then_some(()));
    hears(&broker, "outpost-n");
    let pem = |name: &str| file(name).display().to_string();
    let options = json!({"version": 5, "ca": pem("ca.pem"), "cert": pem("plc.pem"), "key": pem("plc.key")});
    let mut peer = Peer::connect_as(&broker, "plc", &[&response_topic("plc", "#")], &options);
    let mut ask = |id: &str| {
        peer.publish(&request_topic("plc", id), bytes(&prompt("Hi", 1)));
        assert_eq!(peer.next(&response_topic("plc", id)).error().1, "model_not_found");
    };
    ask("before");
    for end in ["pem", "key"] {
        fs::copy(file(&format!("renewed.{end}")), file(&format!("node.{end}"))).unwrap();
    }
    assert!(!connected_as("renewed"));
    daemon.signal(Signal::HUP);
    until("it has shown the new one", || connected_as("renewed").then_some(()));
    daemon.status_when("it is connected again", |s| {
        s["mqtt"]["state"] == "connected" && s["mqtt"]["connections"] == 2
    });
    ask("after");

    // What is wrong with new files is told, and mended with the next SIGHUP.
    fs::write(file("node.pem"), "not a certificate").unwrap();
    daemon.signal(Signal::HUP);
    let status = daemon.status_when("it has seen that", |s| s["mqtt"]["state"] == "disconnected");
    assert!(status["mqtt"]["reason"].as_str().unwrap().contains("`mqtt.cert`"), "{status}");
    fs::copy(file("renewed.pem"), file("node.pem")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.status_when("it is connected", |s| s["mqtt"]["state"] == "connected");
    ask("mended");
}

#[test]
fn a_user_and_a_password_go_over_tls_and_into_no_log() {
    let (dir, _authority) = site();
    let secret = dir.path().join("secret");
    let made = Command::new(installed("mosquitto_passwd"))
        .args(["-b", "-c"])
        .arg(dir.path().join("users"))
        .args(["node", "geheim-1"])
        .status();
    assert!(made.unwrap().success());
    fs::write(&secret, "falsch-2\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let broker =
        Broker::start_in(dir, &format!("{SERVER}allow_anonymous false\npassword_file {{dir}}/users"));
    let secret = broker.dir().join("secret");
    let wrong = daemon(&broker, &[("password_file", &secret)], &["mqtt.username=node"]);
    let status = wrong
        .status_when("it is refused", |s| s["mqtt"]["reason"].as_str().is_some_and(|r| r != "connecting"));
    assert!(status["mqtt"]["reason"].as_str().unwrap().contains("`mqtt.password_file`"), "{status}");
    assert!(!wrong.log().contains("falsch-2"));
    fs::write(&secret, "geheim-1\n").unwrap();
    let right = daemon(&broker, &[("password_file", &secret)], &["mqtt.username=node"]);
    right.status_when("it is connected", |s| s["mqtt"]["state"] == "connected");
    hears(&broker, "outpost-n");
    let ca = broker.dir().join("ca.pem").display().to_string();
    let options = json!({"version": 5, "ca": ca, "user": "node", "password": "geheim-1"});
    let mut peer = Peer::connect_as(&broker, "plc", &[&response_topic("plc", "#")], &options);
    peer.publish(&request_topic("plc", "1"), bytes(&prompt("Hi", 1)));
    assert_eq!(peer.next(&response_topic("plc", "1")).error().1, "model_not_found");
    assert!(!right.log().contains("geheim-1"));
}
