//! How a connection ends, or does not begin, and what is said about it.

use std::net::TcpListener;

use super::*;

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lost = refused(&mut MqttConnector::new(options(port, "us"))).await;
    assert!(!lost.permanent && lost.reason.contains("connection refused"), "{lost}");
    assert!(lost.reason.contains(&format!("127.0.0.1:{port}")), "{lost}");
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    let mut options = options(1, "us");
    options.url = "mqtt://no.such.host.invalid".parse().unwrap();
    let lost = refused(&mut MqttConnector::new(options)).await;
    assert!(!lost.permanent && lost.reason.contains("no.such.host.invalid"), "{lost}");
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = options(silent.local_addr().unwrap().port(), "us");
    options.connect_timeout = Duration::from_millis(200);
    let lost = refused(&mut MqttConnector::new(options)).await;
    assert!(!lost.permanent && lost.reason.contains("no answer within 200ms"), "{lost}");
}

#[tokio::test]
async fn a_broker_that_hangs_is_noticed() {
    let broker = Broker::start("");
    let mut quick = options(broker.port(), "us");
    quick.keep_alive = Duration::from_secs(2);
    let (mut link, _) = connect(&mut MqttConnector::new(quick)).await;
    broker.pause();
    let lost = lost(&mut link).await;
    broker.resume();
    assert!(!lost.permanent && lost.reason.contains("silent"), "{lost}");
}

/// Its kernel still takes bytes, so that writing works, and each write puts off the next ping.
#[tokio::test]
async fn a_broker_that_hangs_is_noticed_while_we_write_to_it() {
    let broker = Broker::start("");
    let mut quick = options(broker.port(), "us");
    quick.keep_alive = Duration::from_secs(2);
    let (mut link, _) = connect(&mut MqttConnector::new(quick)).await;
    broker.pause();
    link.publish(1, message("t", "final")).unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let lost = in_time("the connection ends", async {
        loop {
            tokio::select! {
                event = link.next() => if let Err(lost) = event { return lost },
                _ = pace.tick() => {
                    let _ = link.publish(0, Outgoing { qos: Qos::AtMostOnce, ..message("t", "delta") });
                }
            }
        }
    })
    .await;
    broker.resume();
    assert!(lost.reason.contains("silent"), "{lost}");
}

/// The socket takes nothing more, and the write in progress waits.
#[tokio::test]
async fn a_broker_that_hangs_is_noticed_while_a_write_is_stuck() {
    let broker = Broker::start("");
    let mut quick = options(broker.port(), "us");
    quick.keep_alive = Duration::from_secs(2);
    let (mut link, _) = connect(&mut MqttConnector::new(quick)).await;
    broker.pause();
    let large = Bytes::from(vec![b'x'; 2 << 20]);
    for token in 0..link.window() as u64 {
        link.publish(token, message("t", large.clone())).unwrap();
    }
    let lost = lost(&mut link).await;
    broker.resume();
    assert!(lost.reason.contains("silent"), "{lost}");
}

#[tokio::test]
async fn the_brokers_keep_alive_is_the_one_that_counts() {
    let broker = Broker::start("max_keepalive 10");
    let mut slow = options(broker.port(), "us");
    slow.keep_alive = Duration::from_mins(10);
    let (mut link, connected) = connect(&mut MqttConnector::new(slow)).await;
    assert_eq!(connected.limits.keep_alive_s, 10);
    broker.pause();
    let lost = lost(&mut link).await;
    broker.resume();
    assert!(lost.reason.contains("silent"), "{lost}");
}

/// Mosquitto 2.0.11 just closes the connection of the one whom it throws out; 0x8E is said by
/// the broker in `rogue`.
#[tokio::test]
async fn two_clients_that_throw_each_other_out_are_suspected() {
    let broker = Broker::start("");
    let (mut us, mut them) = (connector(&broker, "us"), connector(&broker, "us"));
    let (mut link, _) = connect(&mut us).await;
    for round in 1.. {
        assert!(round < 10, "nobody gets suspicious");
        let _theirs = connect(&mut them).await;
        let lost = lost(&mut link).await;
        assert!(!lost.permanent, "{lost}");
        if lost.reason.contains("`mqtt.client_id`") {
            assert!(round > 2, "a single cut is no reason for suspicion: {lost}");
            return;
        }
        link = connect(&mut us).await.0;
    }
}

#[tokio::test]
async fn a_broker_that_is_stopped_says_so() {
    let mut broker = Broker::start("");
    let (mut link, _) = connect(&mut connector(&broker, "us")).await;
    broker.stop();
    let lost = lost(&mut link).await;
    assert!(!lost.permanent && !lost.taken_over, "{lost}");
    // And says it again to whoever asks again.
    assert_eq!(link.next().await.unwrap_err(), lost);
}

#[tokio::test]
async fn the_will_is_published_unless_we_take_our_leave() {
    let broker = Broker::start("");
    let mut peer = peer(&broker, "#").await;
    let mut us = connector(&broker, "us");

    let (link, _) = connect(&mut us).await;
    drop(link);
    assert_eq!(taken(&mut peer).await, ("will".into(), "gone".into()));

    let (link, _) = connect(&mut us).await;
    in_time("it is closed", link.close(true)).await;
    assert_eq!(taken(&mut peer).await, ("will".into(), "gone".into()));

    let (mut link, _) = connect(&mut us).await;
    link.publish(1, message("last", "words")).unwrap();
    in_time("it is closed", link.close(false)).await;
    assert_eq!(taken(&mut peer).await, ("last".into(), "words".into()));

    // Not a will but this is the next that comes.
    let (mut link, _) = connect(&mut us).await;
    link.publish(1, message("next", "x")).unwrap();
    assert_eq!(taken(&mut peer).await.0, "next");
}

#[tokio::test]
async fn what_was_acknowledged_before_the_close_stays_acknowledged() {
    let broker = Broker::start("");
    let mut us = connector(&broker, "us");
    let (mut link, _) = connect(&mut us).await;
    subscribe(&mut link, "in").await;
    let (mut peer, _) = connect(&mut connector(&broker, "peer")).await;
    for token in 0..10 {
        peer.publish(token, message("in", "old")).unwrap();
    }
    for _ in 0..10 {
        let old = received(&mut link).await;
        link.acknowledge(old.receipt, AckReason::Accepted);
    }
    in_time("it is closed", link.close(false)).await;
    let (mut link, _) = connect(&mut us).await;
    peer.publish(10, message("in", "new")).unwrap();
    assert_eq!(taken(&mut link).await.1, "new");
}
