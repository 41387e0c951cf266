//! Brokers with little room, and brokers that forget.

use crate::{
    broker::Broker,
    did,
    node::until,
    wire::{Ear, chat, code, connected, node, request},
};

#[test]
fn a_final_larger_than_the_brokers_packets_is_replaced_by_a_small_one() {
    let broker = Broker::start("max_packet_size 1000");
    let mut node = node(&broker, true, &[]);
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    request(&broker, "a", &chat(300));
    let answer = ear.answer("a");
    assert_eq!(code(&answer), "too_large", "{answer}");
    node.status_when("the outbox is empty", |s| s["store"]["outbox"] == 0);
    assert_eq!(ear.finals("a").len(), 1);
    // Asked again, it says the same again.
    request(&broker, "a", &chat(300));
    let twice = until("a second copy", || Some(ear.finals("a")).filter(|finals| finals.len() == 2));
    assert_eq!(twice[0], twice[1]);
    assert_eq!(node.log().matches("panicked").count(), 0);
    did(
        "the broker takes packets of 1000 bytes",
        "one small `too_large` final, and the same when asked again",
    );
}

#[test]
fn a_broker_that_takes_one_message_at_a_time_gets_everything_in_turn() {
    let broker = Broker::start("max_inflight_messages 1");
    let mut node = node(&broker, true, &[]);
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    let ids: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    for id in &ids {
        request(&broker, id, &chat(2));
    }
    for id in &ids {
        assert_eq!(ear.answer(id)["object"], "chat.completion");
    }
    node.status_when("the outbox is empty", |s| s["store"]["outbox"] == 0);
    assert!(ids.iter().all(|id| ear.finals(id).len() == 1));
    for report in ["availability", "status", "info"] {
        until(report, || ear.on(report).pop());
    }
    did("max_inflight_messages 1", "every final once; availability, status and info as well");
}

#[test]
fn a_session_that_expired_is_begun_anew() {
    let broker = Broker::start("");
    let mut node = node(&broker, true, &["mqtt.session_expiry_s=1"]);
    node.start();
    connected(&node);
    node.kill();
    until("its session has expired", || {
        broker.log().contains("Expiring client outpost-press due to timeout").then_some(())
    });
    node.start();
    let ear = Ear::new(&broker);
    // Retained when it has subscribed.
    until("it is online", || ear.on("availability").pop().filter(|word| word == "online"));
    request(&broker, "a", &chat(2));
    assert_eq!(ear.answer("a")["object"], "chat.completion");
    assert!(node.log().contains("session_present=false"));
    did(
        "its session at the broker expired while it was away",
        "subscribed anew; the next request was answered",
    );
}
