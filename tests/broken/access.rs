//! Brokers that do not let the daemon do what it wants.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use rustix::process::{Signal, kill_process};

use crate::{
    broker::{Broker, installed},
    did,
    node::until,
    wire::{Ear, ROOT, chat, connected, node, request},
};

fn set_password(broker: &Path, password: &str) {
    let mut command = Command::new(installed("mosquitto_passwd"));
    command.args(["-b", "-c"]).arg(broker.join("passwords")).args(["daemon", password]);
    assert!(command.status().unwrap().success());
}

#[test]
fn a_wrong_password_is_said_and_a_new_one_taken_at_sighup() {
    let dir = tempfile::tempdir().unwrap();
    set_password(dir.path(), "right");
    let broker = Broker::start_in(dir, "allow_anonymous false\npassword_file {dir}/passwords");
    let secret = broker.dir().join("secret");
    fs::write(&secret, "wrong").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let file = format!("mqtt.password_file={}", secret.display());
    let mut node = node(&broker, false, &["mqtt.username=daemon", &file]);
    node.start();
    let status = node.status_when("it says why", |s| {
        s["mqtt"]["reason"].as_str().is_some_and(|reason| reason.contains("refused the connection"))
    });
    let reason = status["mqtt"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("check `mqtt.username` and `mqtt.password_file`"), "{reason}");
    fs::write(&secret, "right").unwrap();
    node.signal(Signal::HUP);
    connected(&node);
    assert_eq!(broker.log().matches("New client connected").count(), 1, "{}", broker.log());
    did("the broker does not take the password", &format!("status: {reason}; took the new one at SIGHUP"));
}

#[test]
fn a_refused_subscription_is_said() {
    let what = "the broker refuses the subscription";
    let plugins = ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let plugin = plugins.map(|dir| format!("{dir}/mosquitto_dynamic_security.so"));
    let Some(plugin) = plugin.iter().find(|path| Path::new(path).exists()) else {
        return did(what, "NOT TRIED: this mosquitto has no plugin that can refuse one");
    };
    let dir = tempfile::tempdir().unwrap();
    let rules = r#"{"defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true,
        "subscribe": false, "unsubscribe": true}}"#;
    fs::write(dir.path().join("rules.json"), rules).unwrap();
    let lines = format!("plugin {plugin}\nplugin_opt_config_file {{dir}}/rules.json");
    let broker = Broker::start_in(dir, &lines);
    let mut node = node(&broker, false, &[]);
    node.start();
    // Nobody can subscribe here, so the broker's log tells of the alert.
    until("an alert", || broker.log().contains(&format!("'{ROOT}/alert/mqtt', ... (")).then_some(()));
    let log = until("the log says it", || {
        let log = node.log();
        log.contains("the broker refuses a subscription").then_some(log)
    });
    assert!(log.contains("not authorised") || log.contains("0x87"), "{log}");
    did(what, "the log names the filter and the reason, alert/mqtt");
}

#[test]
fn a_final_that_may_not_be_published_waits_until_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let open = "topic readwrite #\n";
    fs::write(dir.path().join("acl"), format!("{open}topic deny {ROOT}/response/#\n")).unwrap();
    let broker = Broker::start_in(dir, "acl_file {dir}/acl");
    let mut node = node(&broker, true, &[]);
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    request(&broker, "a", &chat(4));
    let why = until("an alert", || ear.alert("mqtt"));
    assert!(why.contains("not authorised"), "{why}");
    assert_eq!(node.status()["store"]["outbox"], 1);
    assert_eq!(ear.finals("a").len(), 0);

    fs::write(broker.dir().join("acl"), open).unwrap();
    kill_process(broker.pid(), Signal::HUP).unwrap();
    until("the broker has read it", || broker.log().contains("Reloading config").then_some(()));
    node.signal(Signal::HUP);
    assert_eq!(ear.answer("a")["object"], "chat.completion");
    ear.alert_over("mqtt");
    node.status_when("the outbox is empty", |s| s["store"]["outbox"] == 0);
    assert_eq!(ear.finals("a").len(), 1);
    did(
        "the broker does not let it publish finals",
        &format!(
            "the final stayed in the outbox, alert/mqtt: {why}; delivered once after the ACL was mended and SIGHUP"
        ),
    );
}
