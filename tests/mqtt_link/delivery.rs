//! What is acknowledged has arrived; what is not comes again.

use outpost::transport::mqtt::Unsent;

use super::*;

#[tokio::test]
async fn every_publish_gets_its_own_answer() {
    let broker = Broker::start("");
    let mut peer = peer(&broker, "wanted/#").await;
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    for (token, topic) in [(7, "wanted/a"), (8, "unwanted"), (9, "wanted/b")] {
        link.publish(token, message(topic, "x")).unwrap();
    }
    let mut answers = [acked(&mut link).await, acked(&mut link).await, acked(&mut link).await];
    answers.sort_by_key(|(token, _)| *token);
    assert_eq!(answers, [(7, Ack::Delivered), (8, Ack::NoSubscribers), (9, Ack::Delivered)]);
    assert_eq!(taken(&mut peer).await.0, "wanted/a");
    assert_eq!(taken(&mut peer).await.0, "wanted/b");
}

#[tokio::test]
async fn what_a_message_carries_arrives_as_it_was_sent() {
    let broker = Broker::start("");
    let mut peer = peer(&broker, "t").await;
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    let payload: Vec<u8> = (0..128 * 1024_u32).map(|i| (i % 251) as u8).collect();
    let properties = Properties {
        response_topic: Some("answers/here".into()),
        correlation: Some(Bytes::from_static(&[0, 255, 1])),
        content_type: Some("application/json".into()),
        expiry_s: Some(1000),
        payload_is_utf8: false,
        user: vec![("lane".into(), "batch".into()), ("lane".into(), "äöü".into())],
    };
    link.publish(1, Outgoing { properties: properties.clone(), ..message("t", payload.clone()) }).unwrap();
    let got = received(&mut peer).await;
    assert_eq!((got.topic.as_str(), got.qos, got.retain, got.dup), ("t", 1, false, false));
    assert_eq!(got.payload, payload);
    assert_eq!(got.properties, properties);
}

#[tokio::test]
async fn a_message_that_was_not_acknowledged_comes_again() {
    let broker = Broker::start("");
    let mut us = connector(&broker, "us");
    let (mut link, connected) = connect(&mut us).await;
    assert!(!connected.session_present);
    subscribe(&mut link, "in").await;
    let (mut peer, _) = connect(&mut connector(&broker, "peer")).await;
    peer.publish(1, message("in", "first")).unwrap();
    let first = received(&mut link).await;
    assert!(!first.dup);
    drop(link);

    let (mut link, connected) = connect(&mut us).await;
    assert!(connected.session_present);
    let again = received(&mut link).await;
    assert!(again.dup);
    assert_eq!(again.payload, "first");
    // The receipt of the connection before is worth nothing, and does no harm.
    link.acknowledge(first.receipt, AckReason::Accepted);
    link.publish(9, message("elsewhere", "x")).unwrap();
    assert_eq!(acked(&mut link).await, (9, Ack::NoSubscribers), "all that was queued before has left");
    drop(link);

    let (mut link, _) = connect(&mut us).await;
    let again = received(&mut link).await;
    assert_eq!(again.payload, "first");
    link.acknowledge(again.receipt, AckReason::Accepted);
    link.close(false).await;

    // Acknowledged, it is gone: the next that comes is the next that was sent.
    let (mut link, connected) = connect(&mut us).await;
    assert!(connected.session_present);
    peer.publish(2, message("in", "second")).unwrap();
    assert_eq!(taken(&mut link).await.1, "second");
}

#[tokio::test]
async fn a_new_client_may_publish_in_a_session_that_the_broker_kept() {
    let broker = Broker::start("");
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    subscribe(&mut link, "in").await;
    link.close(false).await;
    let (mut link, connected) = connect(&mut connector(&broker, "us")).await;
    assert!(connected.session_present);
    link.publish(1, message("in", "x")).unwrap();
    assert!(matches!(
        event(&mut link).await,
        Event::Acked { token: 1, outcome: Ack::Delivered } | Event::Message(_)
    ));
    subscribe_while_messages_come(&mut link).await;
}

async fn subscribe_while_messages_come(link: &mut MqttLink) {
    link.subscribe(&["more".into()]).unwrap();
    loop {
        if let Event::Subscribed(results) = event(link).await {
            return assert_eq!(results[0].granted, Ok(1));
        }
    }
}

#[tokio::test]
async fn refusing_a_message_is_an_acknowledgement_too() {
    let broker = Broker::start("");
    let mut us = connector(&broker, "us");
    let (mut link, _) = connect(&mut us).await;
    subscribe(&mut link, "in").await;
    let (mut peer, _) = connect(&mut connector(&broker, "peer")).await;
    for reason in
        [AckReason::QuotaExceeded, AckReason::NotAuthorized, AckReason::PayloadInvalid, AckReason::Refused]
    {
        peer.publish(1, message("in", "no")).unwrap();
        let no = received(&mut link).await;
        link.acknowledge(no.receipt, reason);
    }
    link.close(false).await;
    let (mut link, _) = connect(&mut us).await;
    peer.publish(2, message("in", "yes")).unwrap();
    assert_eq!(taken(&mut link).await.1, "yes");
}

#[tokio::test]
async fn the_broker_sends_no_more_than_we_said_we_hold() {
    let broker = Broker::start("");
    let mut narrow = options(broker.port(), "us");
    narrow.receive_maximum = 2;
    let (mut link, _) = connect(&mut MqttConnector::new(narrow)).await;
    subscribe(&mut link, "in").await;
    let (mut peer, _) = connect(&mut connector(&broker, "peer")).await;
    for (token, payload) in [(1, "1"), (2, "2"), (3, "3")] {
        peer.publish(token, message("in", payload)).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(acked(&mut peer).await.1, Ack::Delivered);
    }
    let (one, two) = (received(&mut link).await, received(&mut link).await);
    assert_eq!((&one.payload[..], &two.payload[..]), (&b"1"[..], &b"2"[..]));
    // Answered after everything that the broker sends of itself: the third does not come.
    link.publish(9, message("elsewhere", "x")).unwrap();
    assert_eq!(acked(&mut link).await, (9, Ack::NoSubscribers));
    link.acknowledge(one.receipt, AckReason::Accepted);
    assert_eq!(taken(&mut link).await.1, "3");
    link.acknowledge(two.receipt, AckReason::Accepted);
}

#[tokio::test]
async fn no_more_is_under_way_than_the_broker_takes() {
    let broker = Broker::start("max_inflight_messages 3");
    let (mut link, connected) = connect(&mut connector(&broker, "us")).await;
    assert_eq!(connected.limits.send_window, 3);
    for token in 1..=3 {
        link.publish(token, message("t", "x")).unwrap();
    }
    assert_eq!((link.window(), link.publish(4, message("t", "x"))), (0, Err(Unsent::Full)));
    acked(&mut link).await;
    assert_eq!(link.window(), 1);
    link.publish(4, message("t", "x")).unwrap();
    let mut rest = [acked(&mut link).await.0, acked(&mut link).await.0, acked(&mut link).await.0];
    rest.sort_unstable();
    assert_eq!(rest, [2, 3, 4]);
}

#[tokio::test]
async fn a_broker_that_loses_power_has_lost_nothing_that_it_saved() {
    let mut broker = Broker::start("");
    let mut us = connector(&broker, "us");
    let (mut link, _) = connect(&mut us).await;
    subscribe(&mut link, "in").await;
    let (mut peer, _) = connect(&mut connector(&broker, "peer")).await;
    peer.publish(1, message("in", "x")).unwrap();
    assert_eq!(acked(&mut peer).await, (1, Ack::Delivered));
    let unacknowledged = received(&mut link).await;
    broker.save();
    broker.kill9();
    let cut = lost(&mut link).await;
    assert!(!cut.permanent && !cut.taken_over, "{cut}");
    assert_eq!(link.publish(2, message("t", "x")), Err(Unsent::Ended));
    broker.restart();
    let (mut link, connected) = connect(&mut us).await;
    assert!(connected.session_present);
    assert_eq!(taken(&mut link).await.1, unacknowledged.payload);
}

#[tokio::test]
async fn at_most_once_is_dropped_rather_than_kept_waiting() {
    let broker = Broker::start("");
    let mut peer = peer(&broker, "delta").await;
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    let delta = || Outgoing { qos: Qos::AtMostOnce, ..message("delta", "x") };
    // Nothing is read from the connection meanwhile, so nothing is known to have left.
    let mut sent = 0;
    while link.publish(0, delta()).is_ok() {
        sent += 1;
        assert!(sent < 1000, "there is no bound");
    }
    assert_eq!(link.publish(0, delta()), Err(Unsent::Full));
    // It takes nothing from those that matter.
    link.publish(1, message("delta", "final")).unwrap();
    assert_eq!(acked(&mut link).await, (1, Ack::Delivered));
    for _ in 0..sent {
        assert_eq!(taken(&mut peer).await.1, "x");
    }
    assert_eq!(taken(&mut peer).await.1, "final");
    link.publish(0, delta()).unwrap();
}
