//! What the broker does not take, and what we do not.

use std::process::Command;

use outpost::{domain::Secret, transport::mqtt::Unsent};

use super::*;

#[tokio::test]
async fn a_packet_larger_than_the_broker_takes_is_not_sent() {
    let broker = Broker::start("max_packet_size 20000");
    let (mut link, connected) = connect(&mut connector(&broker, "us")).await;
    assert_eq!(connected.limits.packet_bytes_max, 20_000);
    let refused = link.publish(1, message("t", vec![b'x'; 20_000])).unwrap_err();
    assert!(matches!(refused, Unsent::TooLarge { bytes, max: 20_000 } if bytes > 20_000), "{refused:?}");
    assert!(refused.to_string().contains("max_packet_size"), "{refused}");
    // To the byte: header 1 + 3, topic 2 + 1, packet id 2, properties 1.
    link.publish(2, message("t", vec![b'x'; 20_000 - 10])).unwrap();
    assert_eq!(acked(&mut link).await, (2, Ack::NoSubscribers));
    assert!(matches!(link.publish(3, message("t", vec![b'x'; 20_000 - 9])), Err(Unsent::TooLarge { .. })));
}

#[tokio::test]
async fn a_message_larger_than_we_take_is_kept_from_us() {
    let broker = Broker::start("");
    let mut small = options(broker.port(), "us");
    small.packet_bytes_max = 10_000;
    let (mut link, _) = connect(&mut MqttConnector::new(small)).await;
    subscribe(&mut link, "in").await;
    let (mut peer, _) = connect(&mut connector(&broker, "peer")).await;
    peer.publish(1, message("in", vec![b'x'; 20_000])).unwrap();
    peer.publish(2, message("in", "small")).unwrap();
    assert_eq!(taken(&mut link).await.1, "small");
}

#[tokio::test]
async fn what_mqtt_cannot_carry_is_not_sent() {
    let broker = Broker::start("");
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    let with = |properties| Outgoing { properties, ..message("t", "x") };
    let long = "x".repeat(65_536);
    for bad in [
        message("", "x"),
        message("a/#", "x"),
        message("a/+", "x"),
        message("a\0b", "x"),
        message(&long, "x"),
        with(Properties { response_topic: Some("a/#".into()), ..Properties::default() }),
        with(Properties { content_type: Some("a\0".into()), ..Properties::default() }),
        with(Properties { correlation: Some(long.clone().into()), ..Properties::default() }),
        with(Properties { user: vec![("k".into(), long.clone())], ..Properties::default() }),
    ] {
        assert_eq!(link.publish(1, bad), Err(Unsent::Malformed));
    }
    for filter in ["", "a/#/b", "a\0", &long] {
        assert_eq!(link.subscribe(&[filter.into()]), Err(Unsent::Malformed), "{}", filter.len());
    }
    link.publish(2, message("t", "x")).unwrap();
    assert_eq!(acked(&mut link).await, (2, Ack::NoSubscribers));
}

#[tokio::test]
async fn a_retained_message_is_told_and_an_old_one_does_not_come() {
    let broker = Broker::start("");
    let (mut peer, _) = connect(&mut connector(&broker, "peer")).await;
    let kept = |payload: &'static str| Outgoing { retain: true, ..message("in", payload) };
    peer.publish(1, kept("old")).unwrap();
    acked(&mut peer).await;
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    subscribe(&mut link, "in").await;
    peer.publish(2, kept("new")).unwrap();
    let new = received(&mut link).await;
    assert_eq!((&new.payload[..], new.retain), (&b"new"[..], true));
}

#[tokio::test]
async fn a_broker_without_retained_messages_gets_none() {
    let broker = Broker::start("retain_available false");
    let kept_will = Outgoing { retain: true, ..will() };
    let lost = in_time("it is refused", connector(&broker, "us").connect(kept_will, 16)).await.err().unwrap();
    assert!(lost.permanent && lost.reason.contains("(0x9A)"), "{lost}");
    let (mut link, connected) = connect(&mut connector(&broker, "us")).await;
    assert!(!connected.limits.retain);
    let kept = Outgoing { retain: true, ..message("t", "x") };
    assert_eq!(link.publish(1, kept), Err(Unsent::NoRetain));
    link.publish(2, message("t", "x")).unwrap();
    assert_eq!(acked(&mut link).await, (2, Ack::NoSubscribers));
}

#[tokio::test]
async fn a_broker_without_qos_1_is_no_broker_for_us() {
    let broker = Broker::start("max_qos 0");
    let lost = refused(&mut connector(&broker, "us")).await;
    assert!(lost.permanent && lost.reason.contains("QoS 1"), "{lost}");
}

#[tokio::test]
async fn wrong_credentials_are_named_and_right_ones_work() {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new(broker::installed("mosquitto_passwd"))
        .args(["-b", "-c"])
        .arg(dir.path().join("users"))
        .args(["anna", "geheim"])
        .status()
        .unwrap();
    assert!(made.success());
    let broker = Broker::start_in(dir, "allow_anonymous false\npassword_file {dir}/users");
    let with = |user: Option<&str>, password: Option<&str>| {
        let mut options = options(broker.port(), "us");
        options.username = user.map(Into::into);
        options.password = password.map(Secret::new);
        MqttConnector::new(options)
    };
    for mut wrong in [with(None, None), with(Some("anna"), Some("falsch")), with(Some("otto"), None)] {
        let lost = refused(&mut wrong).await;
        assert!(lost.permanent && !lost.taken_over, "{lost}");
        assert!(lost.reason.contains("not authorised (0x87)"), "{lost}");
        assert!(lost.reason.contains("`mqtt.password_file`"), "{lost}");
    }
    connect(&mut with(Some("anna"), Some("geheim"))).await;
}

#[tokio::test]
async fn a_publish_that_is_not_allowed_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("acl"), "topic readwrite open/#\n").unwrap();
    let broker = Broker::start_in(dir, "acl_file {dir}/acl");
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    link.publish(1, message("closed/t", "x")).unwrap();
    let (_, outcome) = acked(&mut link).await;
    assert!(matches!(&outcome, Ack::Refused(0x87, words) if words.contains("not authorised")), "{outcome:?}");
    link.publish(2, message("open/t", "x")).unwrap();
    assert_eq!(acked(&mut link).await, (2, Ack::NoSubscribers));
}
