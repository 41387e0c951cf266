//! Several nodes that share the requests of a pool.

use std::collections::BTreeSet;

use super::{Peer, bytes, start_at};
use crate::{
    broker::Broker,
    harness::{Daemon, prompt},
};

const REQUESTS: usize = 12;

#[test]
fn a_pools_requests_are_answered_once_each_by_whichever_node_gets_them() {
    let broker = Broker::start("");
    let start = |node| start_at(&broker, node, "", &["mqtt.pools=[\"line\"]", "engine.slots=2"]);
    let nodes: Vec<Daemon> = ["a", "b"].map(start).into();
    let mut peer = Peer::connect(&broker, "plc", &["outpost/v1/+/response/plc/#"]);
    for n in 0..REQUESTS {
        peer.publish(&format!("outpost/v1/pool/line/request/plc/{n}"), bytes(&prompt("Hi", 2)));
    }
    // A pool that nobody serves, and a node's own requests beside the pool's.
    peer.publish("outpost/v1/pool/other/request/plc/x", bytes(&prompt("Hi", 2)));
    peer.publish("outpost/v1/a/request/plc/own", bytes(&prompt("Hi", 2)));
    let mut answered = BTreeSet::new();
    let mut answering = BTreeSet::new();
    for _ in 0..=REQUESTS {
        let answer = peer.find("all are answered", |m| m.topic.split('/').count() == 6);
        answer.answer();
        let levels: Vec<&str> = answer.topic.split('/').collect();
        let id = levels[5].to_owned();
        assert_eq!(answer.json()["id"], id.as_str());
        if id == "own" {
            assert_eq!(levels[2], "a");
        } else {
            answering.insert(levels[2].to_owned());
        }
        assert!(answered.insert(id), "twice: {}", answer.topic);
    }
    assert_eq!(answered.len(), REQUESTS + 1);
    assert_eq!(answering.len(), 2, "all by {answering:?}");
    for node in &nodes {
        node.status_when("nothing is left", |s| s["in_flight"] == 0 && s["store"]["outbox"] == 0);
    }
    let rest = peer.rest();
    assert!(!rest.iter().any(|m| m.topic.split('/').count() == 6), "{rest:#?}");
}
