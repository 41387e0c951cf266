//! A second daemon with the same client id, and a broker that hangs.

use crate::{
    broker::Broker,
    did,
    node::Node,
    wire::{Ear, chat, connected, node, publish, request},
};

/// Waits between tries, milliseconds, as the log has them.
fn waits(node: &Node) -> Vec<u64> {
    let log = node.log();
    let after = log.split("retry_in_ms=").skip(1);
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    after.map(|text| number(text).parse().unwrap()).collect()
}

fn says_so(node: &Node) {
    node.status_when("its status says what is wrong", |s| {
        s["mqtt"]["reason"].as_str().is_some_and(|reason| reason.contains("`mqtt.client_id`"))
    });
}

/// Some brokers say who threw whom out; mosquitto 2.0.11 just cuts the connection.
#[test]
fn two_daemons_with_one_client_id_say_so_and_fight_ever_less() {
    let broker = Broker::start("");
    let mut one = node(&broker, false, &["mqtt.client_id=twin"]);
    let mut two = node(&broker, false, &["mqtt.client_id=twin"]);
    one.start();
    connected(&one);
    two.start();
    says_so(&one);
    says_so(&two);
    let connections = broker.log().matches("as twin").count();
    assert!(connections <= 14, "{connections} connections");
    for waits in [waits(&one), waits(&two)] {
        assert!(waits.is_sorted() && *waits.last().unwrap() > 1_000, "each wait is longer: {waits:?}");
    }
    did(
        "two daemons with one client id (a broker that does not say so)",
        &format!(
            "both name `mqtt.client_id` in their status; waits of {:?} and {:?} ms; {connections} connections in all",
            waits(&one),
            waits(&two)
        ),
    );
}

#[test]
fn a_broker_that_hangs_is_noticed_and_used_again() {
    let broker = Broker::start("");
    let mut node = node(&broker, true, &["mqtt.keep_alive_s=5"]);
    node.start();
    connected(&node);
    let ear = Ear::new(&broker);
    broker.pause();
    let status = node.status_when("it notices", |s| s["mqtt"]["state"] == "disconnected");
    let why = status["mqtt"]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("silent"), "{why}");
    broker.resume();
    connected(&node);
    request(&broker, "a", &chat(2));
    assert_eq!(ear.answer("a")["object"], "chat.completion");
    did("the broker hangs (SIGSTOP)", &format!("noticed: {why}; connected again when it went on"));
}

#[test]
fn a_node_that_leaves_a_pool_hears_no_more_of_it() {
    let broker = Broker::start("");
    let mut node = node(&broker, true, &[]);
    let alone = node.settings.clone();
    node.settings.push("mqtt.pools=[\"line\"]".into());
    node.start();
    connected(&node);
    node.stop();
    node.settings = alone;
    node.start();
    connected(&node);
    assert!(
        broker.log().contains("Received UNSUBSCRIBE from outpost-press"),
        "it takes back what it asked for"
    );
    let ear = Ear::new(&broker);
    publish(&broker, "outpost/v1/pool/line/request/plc/a", &chat(1).to_string());
    request(&broker, "own", &chat(1));
    assert_eq!(ear.answer("own")["object"], "chat.completion");
    assert_eq!(ear.finals("a").len(), 0, "the pool's request is for those who are in it");
    did(
        "a node leaves a pool, its session is still at the broker",
        "it unsubscribed; the others get the pool's requests",
    );
}
