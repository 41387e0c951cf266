//! Real clients of a broker: paho as a process (`tests/python/mqtt_peer.py`), mosquitto's commands.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    broker::{Broker, installed},
    harness::{DEADLINE, python},
};

/// A message as a client got it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u64,
    pub(crate) retain: bool,
    /// What MQTT 5 carries beside it; bytes are hexadecimal.
    pub(crate) properties: Value,
}

impl Message {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.payload.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }

    /// The text of a chat.
    pub(crate) fn answer(&self) -> String {
        let json = self.json();
        let text = json["choices"][0]["message"]["content"].as_str();
        text.unwrap_or_else(|| panic!("no answer: {json}")).to_owned()
    }

    /// Status, `error.code` and `error.param`; empty where there is none.
    pub(crate) fn error(&self) -> (u64, String, String) {
        let error = &self.json()["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (error["status"].as_u64().unwrap_or_default(), text("code"), text("param"))
    }
}

/// A paho client; dropping it ends it.
pub(crate) struct Peer {
    child: Child,
    orders: Option<ChildStdin>,
    news: Receiver<Value>,
    /// Heard and not yet asked for.
    heard: VecDeque<Message>,
    marker: String,
    marks: u32,
}

impl Peer {
    /// MQTT 5; it hears what matches these filters.
    pub(crate) fn connect(broker: &Broker, client: &str, filters: &[&str]) -> Self {
        Self::connect_as(broker, client, filters, &json!({"version": 5}))
    }

    /// With `version` 5 or 4, and `user`, `password`, `ca`, `cert`, `key`, `session_s` as needed.
    pub(crate) fn connect_as(broker: &Broker, client: &str, filters: &[&str], options: &Value) -> Self {
        let marker = format!("marker/{client}");
        let mut options = options.clone();
        options["port"] = broker.port().into();
        options["client"] = client.into();
        options["filters"] = [filters, &[marker.as_str()]].concat().into();
        let mut child = Command::new(python())
            .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/mqtt_peer.py")])
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (heard, news) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if heard.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let orders = child.stdin.take();
        let mut peer = Self { child, orders, news, heard: VecDeque::new(), marker, marks: 0 };
        let deadline = Instant::now() + DEADLINE;
        while peer.news("it is subscribed", deadline).get("ready").is_none() {}
        peer
    }

    fn news(&mut self, what: &str, deadline: Instant) -> Value {
        let news = self.news.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        news.unwrap_or_else(|e| panic!("still waiting until {what} ({e}); heard: {:#?}", self.heard))
    }

    /// Publishes at `QoS` 1.
    pub(crate) fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.publish_with(topic, payload, &json!({}));
    }

    /// The same with properties of MQTT 5; `retain` among them makes it retained.
    pub(crate) fn publish_with(&mut self, topic: &str, payload: impl AsRef<[u8]>, properties: &Value) {
        let mut properties = properties.clone();
        let retain = properties.as_object_mut().unwrap().remove("retain").is_some();
        let order = json!({
            "topic": topic, "payload": hex(payload.as_ref()), "qos": 1, "retain": retain,
            "properties": properties,
        });
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// The next message on `topic`, which must come.
    pub(crate) fn next(&mut self, topic: &str) -> Message {
        self.find(topic, |message| message.topic == topic)
    }

    /// The next message that is as wanted. Others stay for later.
    pub(crate) fn find(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        if let Some(at) = self.heard.iter().position(&wanted) {
            return self.heard.remove(at).unwrap();
        }
        // For all of it: what goes on for ever is not what was waited for.
        let deadline = Instant::now() + DEADLINE;
        loop {
            let news = self.news(what, deadline);
            let Some(message) = message(&news) else { continue };
            if wanted(&message) {
                return message;
            }
            self.heard.push_back(message);
        }
    }

    /// Everything that the broker had for this client up to now and nobody asked for yet.
    pub(crate) fn rest(&mut self) -> Vec<Message> {
        let (marker, marks) = (self.marker.clone(), self.marks.to_string());
        self.marks += 1;
        // What the broker took before this comes before this.
        self.publish(&marker, &marks);
        self.find("its own mark", |m| m.topic == marker && m.payload == marks.as_bytes());
        self.heard.drain(..).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn message(news: &Value) -> Option<Message> {
    Some(Message {
        topic: news["topic"].as_str()?.to_owned(),
        payload: unhex(news["payload"].as_str()?),
        qos: news["qos"].as_u64()?,
        retain: news["retain"].as_bool()?,
        properties: news["properties"].clone(),
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// `mosquitto_pub` or `mosquitto_sub` for this broker, as MQTT 3.1.1.
pub(crate) fn mosquitto(command: &str, broker: &Broker) -> Command {
    let mut command = Command::new(installed(command));
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-q", "1"]);
    command
}

/// The first `count` messages that a new subscriber gets, one per line: topic and payload.
pub(crate) fn first_heard(broker: &Broker, filter: &str, count: usize) -> String {
    let patience = DEADLINE.as_secs().to_string();
    let mut command = mosquitto("mosquitto_sub", broker);
    let output = command.args(["-v", "-W", &patience, "-C", &count.to_string(), "-t", filter]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "nothing on {filter}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
