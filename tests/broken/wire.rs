//! The outside of the broker: mosquitto's own clients.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::{
    broker::{Broker, installed},
    node::{Node, until, with_model},
};

pub(crate) const NODE: &str = "press";
pub(crate) const ROOT: &str = "outpost/v1/press";

/// A daemon for `broker`, not started yet. With the model when `model` says so.
pub(crate) fn node(broker: &Broker, model: bool, settings: &[&str]) -> Node {
    let mut all = if model { with_model() } else { Vec::new() };
    all.extend([
        format!("mqtt.url=mqtt://127.0.0.1:{}", broker.port()),
        format!("node.id={NODE}"),
        "store.free_min_mb=1".into(),
        "service.stop_grace_s=0".into(),
    ]);
    all.extend(settings.iter().map(ToString::to_string));
    Node::new(&all)
}

/// Waits until the daemon is connected; the status.
pub(crate) fn connected(node: &Node) -> Value {
    node.status_when("it is connected", |s| s["mqtt"]["state"] == "connected")
}

/// A chat of one message.
pub(crate) fn chat(tokens: usize) -> Value {
    json!({
        "messages": [{"role": "user", "content": "Tell me of the sea."}],
        "max_tokens": tokens, "ignore_eos": true,
    })
}

/// A chat whose request takes `bytes` more than its prompt.
pub(crate) fn bulky(tokens: usize, bytes: usize) -> Value {
    let mut body = chat(tokens);
    body["user"] = "x".repeat(bytes).into();
    body
}

/// Publishes a request and waits for its PUBACK, however long the daemon takes.
pub(crate) fn request(broker: &Broker, id: &str, body: &Value) {
    publish(broker, &format!("{ROOT}/request/plc/{id}"), &body.to_string());
}

pub(crate) fn publish(broker: &Broker, topic: &str, payload: &str) {
    let mut command = Command::new(installed("mosquitto_pub"));
    command.args(["-V", "5", "-q", "1", "-p", &broker.port().to_string(), "-t", topic, "-s"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), payload.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "mosquitto_pub to {topic}");
}

type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// A subscriber that keeps everything that it hears.
pub(crate) struct Ear {
    child: Child,
    heard: Heard,
}

impl Ear {
    /// It listens when this returns.
    pub(crate) fn new(broker: &Broker) -> Self {
        let mut command = Command::new(installed("mosquitto_sub"));
        command.args(["-V", "5", "-q", "1", "-p", &broker.port().to_string(), "-i", "ear"]);
        command.args(["-t", &format!("{ROOT}/#"), "-F", "%t\t%p"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let heard = Heard::default();
        let book = Arc::clone(&heard);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let (topic, payload) = line.split_once('\t').unwrap_or((&line, ""));
                book.lock().unwrap().push((topic.to_owned(), payload.to_owned()));
            }
        });
        until("the ear listens", || broker.log().contains("Sending SUBACK to ear").then_some(()));
        Self { child, heard }
    }

    /// Everything that came on a topic below the node's, in order.
    pub(crate) fn on(&self, topic: &str) -> Vec<String> {
        let topic = format!("{ROOT}/{topic}");
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(t, _)| *t == topic).map(|(_, payload)| payload.clone()).collect()
    }

    /// Finals of a request.
    pub(crate) fn finals(&self, id: &str) -> Vec<Value> {
        let finals = self.on(&format!("response/plc/{id}"));
        finals.iter().map(|f| serde_json::from_str(f).unwrap()).collect()
    }

    /// Waits for a request's final.
    pub(crate) fn answer(&self, id: &str) -> Value {
        until(&format!("{id} has its final"), || self.finals(id).pop())
    }

    /// The alert of this kind as it stands: `None` when there is none or it is over.
    pub(crate) fn alert(&self, kind: &str) -> Option<String> {
        let last = self.on(&format!("alert/{kind}")).pop().filter(|alert| !alert.is_empty())?;
        let alert: Value = serde_json::from_str(&last).unwrap();
        Some(alert["reason"].as_str().unwrap().to_owned())
    }

    pub(crate) fn alert_over(&self, kind: &str) {
        until(&format!("alert/{kind} is cleared"), || {
            self.on(&format!("alert/{kind}")).pop().filter(String::is_empty)
        });
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("--- heard\n{:#?}", self.heard.lock().unwrap());
        }
    }
}

/// `error.code` of a final; empty for a completion.
pub(crate) fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}
