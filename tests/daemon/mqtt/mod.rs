//! The daemon behind a real broker, as the clients that devices have see it.
//!
//! - [`shared`] serves every test that brings a client name of its own and only asks.
//! - [`alone`] is for one test at a time, with one slot, idle: there one can make others wait.

mod cancel;
mod extras;
mod peer;
mod pool;
mod report;
mod request;
mod task;
mod tls;
mod unreliable;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;

use crate::{
    broker::Broker,
    harness::{Daemon, endless, until},
    http::{Connection, request},
};

pub(crate) use peer::{Message, Peer, first_heard, hex, mosquitto};

/// First levels of the node's own topics.
pub(crate) const NODE: &str = "outpost/v1/n";

/// A broker and a daemon that is connected to it.
pub(crate) struct Site {
    pub(crate) daemon: Daemon,
    pub(crate) broker: Broker,
}

impl Site {
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_with("", settings)
    }

    /// With a configuration file.
    pub(crate) fn start_with(file: &str, settings: &[&str]) -> Self {
        let broker = Broker::start("");
        let daemon = start_at(&broker, "n", file, settings);
        Self { daemon, broker }
    }

    /// A client that hears everything that is meant for it.
    pub(crate) fn peer(&self, client: &str) -> Peer {
        Peer::connect(&self.broker, client, &[&format!("{NODE}/response/{client}/#")])
    }

    /// Waits until every request has its final and the broker has every final.
    pub(crate) fn settled(&self) {
        self.daemon.status_when("every final is with the broker", |s| {
            s["in_flight"] == 0 && s["store"]["outbox"] == 0
        });
    }
}

/// Takes the only slot, and the place of the one who is next, until the connections are dropped:
/// whoever comes then waits in the queue.
pub(crate) fn occupy(daemon: &Daemon) -> [Connection; 2] {
    [1, 2].map(|n| {
        let mut connection = daemon.connect();
        let body = bytes(&endless(true));
        connection.send(&request("POST", "/v1/chat/completions", "", &body)).unwrap();
        daemon.status_when("it is with the engine", |s| {
            s["engine"]["running"] == 1 && s["in_flight"] == n && s["queued"]["interactive"] == 0
        });
        connection
    })
}

/// A daemon at this broker, called `node`; it is ready and hears.
pub(crate) fn start_at(broker: &Broker, node: &str, file: &str, settings: &[&str]) -> Daemon {
    let url = format!("mqtt.url=mqtt://127.0.0.1:{}", broker.port());
    let id = format!("node.id={node}");
    let daemon = Daemon::start_with(file, &[&[id.as_str(), &url], settings].concat());
    hears(broker, &format!("outpost-{node}"));
    daemon
}

/// Waits until the broker has granted the subscriptions of this client.
pub(crate) fn hears(broker: &Broker, client: &str) {
    let granted = format!("Sending SUBACK to {client}");
    until("the daemon has subscribed", || broker.log().contains(&granted).then_some(()));
}

/// One site for every test with a client name of its own.
pub(crate) fn shared() -> &'static Site {
    static SHARED: OnceLock<Site> = OnceLock::new();
    SHARED
        .get_or_init(|| Site::start(&["engine.slots=4", "mqtt.response_topic_allow=[\"plant/+/answers/#\"]"]))
}

/// One site with one slot, idle, for one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, Site> {
    static ALONE: OnceLock<Mutex<Site>> = OnceLock::new();
    let site = ALONE.get_or_init(|| Mutex::new(Site::start(&["engine.slots=1"])));
    let site = site.lock().unwrap_or_else(PoisonError::into_inner);
    site.daemon.idle();
    site
}

pub(crate) fn request_topic(client: &str, id: &str) -> String {
    format!("{NODE}/request/{client}/{id}")
}

pub(crate) fn response_topic(client: &str, id: &str) -> String {
    format!("{NODE}/response/{client}/{id}")
}

/// The events of one request, by their names.
pub(crate) fn events(heard: &[Message], client: &str, id: &str) -> Vec<String> {
    let topic = format!("{}/event", response_topic(client, id));
    let events = heard.iter().filter(|m| m.topic == topic);
    events.map(|m| m.json()["event"].as_str().unwrap().to_owned()).collect()
}

/// The messages that are finals of this id: nothing below its topic is one.
pub(crate) fn finals<'a>(heard: &'a [Message], client: &str, id: &str) -> Vec<&'a Message> {
    let topic = response_topic(client, id);
    heard.iter().filter(|m| m.topic == topic).collect()
}

/// A body as it is published.
pub(crate) fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
