//! A connection against a real mosquitto, and against a broker that breaks every rule.
//!
//! Nothing waits for time to pass: every wait is for an event and has a deadline.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "deadlines of tests are kept by the clock that tests have")]
#![allow(clippy::print_stderr, reason = "a failed test shows the broker's log")]
#![allow(clippy::large_futures, reason = "a test has the stack of a test")]

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/broker.rs"]
mod broker;
mod delivery;
mod endings;
mod refusals;
mod rogue;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use outpost::transport::mqtt::{
    Ack, AckReason, Connected, Connector, Event, Incoming, Link, LinkOptions, Lost, MqttConnector, MqttLink,
    Outgoing, Properties, Qos,
};

use broker::{Broker, DEADLINE};

fn options(port: u16, client: &str) -> LinkOptions {
    let mut options = LinkOptions::new(format!("mqtt://127.0.0.1:{port}").parse().unwrap(), client);
    options.keep_alive = Duration::from_secs(30);
    options
}

fn connector(broker: &Broker, client: &str) -> MqttConnector {
    MqttConnector::new(options(broker.port(), client))
}

fn message(topic: &str, payload: impl Into<Bytes>) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        payload: payload.into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
    }
}

fn will() -> Outgoing {
    message("will", "gone")
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("after {DEADLINE:?} still waiting until {what}"))
}

async fn connect(connector: &mut MqttConnector) -> (MqttLink, Connected) {
    in_time("it connects", connector.connect(will(), 16)).await.unwrap()
}

async fn refused(connector: &mut MqttConnector) -> Lost {
    match in_time("the attempt ends", connector.connect(will(), 16)).await {
        Ok((_, connected)) => panic!("connected: {connected:?}"),
        Err(lost) => lost,
    }
}

/// A second client that looks at what the first does.
async fn peer(broker: &Broker, filter: &str) -> MqttLink {
    let (mut link, _) = connect(&mut connector(broker, "peer")).await;
    subscribe(&mut link, filter).await;
    link
}

async fn subscribe(link: &mut MqttLink, filter: &str) {
    link.subscribe(&[filter.into()]).unwrap();
    match event(link).await {
        Event::Subscribed(results) => {
            assert_eq!((results[0].filter.as_str(), &results[0].granted), (filter, &Ok(1)));
        }
        other => panic!("{other:?} instead of an answer to SUBSCRIBE"),
    }
}

async fn event(link: &mut MqttLink) -> Event {
    in_time("something happens", link.next()).await.unwrap()
}

async fn received(link: &mut MqttLink) -> Incoming {
    loop {
        match event(link).await {
            Event::Message(message) => return message,
            Event::Acked { .. } => {}
            other @ Event::Subscribed(_) => panic!("{other:?} instead of a message"),
        }
    }
}

/// The next message, acknowledged; its topic and payload.
async fn taken(link: &mut MqttLink) -> (String, Bytes) {
    let message = received(link).await;
    link.acknowledge(message.receipt, AckReason::Accepted);
    (message.topic, message.payload)
}

async fn acked(link: &mut MqttLink) -> (u64, Ack) {
    match event(link).await {
        Event::Acked { token, outcome } => (token, outcome),
        other => panic!("{other:?} instead of an acknowledgement"),
    }
}

async fn lost(link: &mut MqttLink) -> Lost {
    in_time("the connection ends", async {
        loop {
            if let Err(lost) = link.next().await {
                return lost;
            }
        }
    })
    .await
}
