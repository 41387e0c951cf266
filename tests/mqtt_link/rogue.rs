//! A broker that breaks the rules: the connection ends with words, never with a panic, and never
//! in a way that repeats itself for ever.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Reads one packet; its first byte and what is behind the length.
async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.unwrap();
    let (mut len, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.unwrap();
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.unwrap();
    (first, body)
}

/// Answers the next CONNECT with `answer`; gives what was in it.
async fn accept(listener: &TcpListener, answer: &[u8]) -> (TcpStream, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (first, connect) = packet(&mut stream).await;
    assert_eq!(first, 0x10);
    stream.write_all(answer).await.unwrap();
    (stream, connect)
}

async fn rogue() -> (TcpListener, MqttConnector) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = options(listener.local_addr().unwrap().port(), "us");
    (listener, MqttConnector::new(options))
}

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

/// How a connection ends over which the broker says `bytes` after CONNACK and leaves.
async fn ends(listener: &TcpListener, us: &mut MqttConnector, bytes: &[u8]) -> Lost {
    let broker = async {
        let (mut stream, _) = accept(listener, CONNACK).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        // Until the other side has gone, so that nothing is reset before it is read.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let us = async {
        let (mut link, _) = connect(us).await;
        let lost = lost(&mut link).await;
        drop(link);
        lost
    };
    in_time("the connection ends", async { tokio::join!(broker, us) }).await.1
}

/// What is said when the task behind the connection did not end by itself.
const PANIC: &str = "internal";

#[tokio::test]
async fn every_broken_rule_ends_the_connection_with_words() {
    let (listener, mut us) = rogue().await;
    for (what, bytes) in [
        ("a second CONNACK", CONNACK),
        ("PUBACK of nothing", &[0x40, 2, 0, 1]),
        ("PUBACK beyond the window", &[0x40, 2, 0xff, 0xff]),
        ("PUBACK with packet id 0", &[0x40, 2, 0, 0]),
        ("PUBREC of nothing", &[0x50, 2, 0, 1]),
        ("PUBCOMP of nothing", &[0x70, 2, 0, 1]),
        ("SUBACK of nothing", &[0x90, 4, 0, 1, 0, 1]),
        ("UNSUBACK of nothing", &[0xb0, 4, 0, 1, 0, 0]),
        ("a topic alias that nobody offered", &[0x30, 6, 0, 0, 3, 0x23, 0, 1]),
        ("no topic at all", &[0x30, 3, 0, 0, 0]),
        ("QoS 3", &[0x36, 6, 0, 1, b't', 0, 1, 0]),
        ("QoS 1 with packet id 0", &[0x32, 6, 0, 1, b't', 0, 0, 0]),
        ("a topic with a wildcard", &[0x30, 4, 0, 1, b'#', 0]),
        ("a topic that is not UTF-8", &[0x30, 4, 0, 1, 0xff, 0]),
        ("a topic longer than its packet", &[0x30, 4, 0xff, 0xff, b't', 0]),
        ("properties longer than their packet", &[0x30, 4, 0, 1, b't', 0x7f]),
        ("a length without an end", &[0x30, 0xff, 0xff, 0xff, 0xff]),
        ("packet type 0", &[0x00, 0]),
        ("a CONNECT", &[0x10, 0]),
        ("a PINGREQ", &[0xc0, 0]),
        ("an AUTH that nobody asked for", &[0xf0, 0]),
        ("half a packet", &[0x30, 100, 0, 1]),
        ("nothing", &[]),
        ("DISCONNECT", &[0xe0, 0]),
        ("DISCONNECT with a reason", &[0xe0, 2, 0x8b, 0]),
        ("a reason that does not exist", &[0xe0, 2, 0x77, 0]),
    ] {
        let lost = ends(&listener, &mut us, bytes).await;
        eprintln!("{what}: {lost}");
        assert!(!lost.reason.is_empty() && !lost.reason.contains(PANIC), "{what}: {lost}");
    }
}

#[test]
fn no_bytes_whatsoever_make_it_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (listener, us) = runtime.block_on(rogue());
    let us = std::cell::RefCell::new(us);
    // A first byte and a length that fit, more often than not, reach deeper.
    let packet = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()).prop_map(
        |(first, body, honest)| {
            let mut bytes = vec![first, if honest { body.len() as u8 } else { first }];
            bytes.extend(body);
            bytes
        },
    );
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    runner
        .run(&proptest::collection::vec(packet, 1..4), |packets| {
            let lost = runtime.block_on(ends(&listener, &mut us.borrow_mut(), &packets.concat()));
            prop_assert!(!lost.reason.contains(PANIC), "{lost}");
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn what_begins_without_connack_is_no_broker() {
    let (listener, mut us) = rogue().await;
    for (answer, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "cut"),
        (&[], "does that port want TLS"),
        (&[0x30, 4, 0, 1, b't', 0], "CONNACK"),
        // MQTT 3.1.1: unacceptable protocol version.
        (&[0x20, 2, 0, 1], "MQTT 5"),
        (&[0x20, 3, 0, 0x85, 0], "`mqtt.client_id`"),
        // Says that it has a session and that we may not come in.
        (&[0x20, 3, 1, 0x87, 0], ""),
    ] {
        let broker = async {
            let (mut stream, _) = accept(&listener, answer).await;
            let _ = stream.shutdown().await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        };
        let ((), lost) = in_time("the attempt ends", async { tokio::join!(broker, refused(&mut us)) }).await;
        eprintln!("{lost}");
        assert!(lost.reason.contains(why), "{lost}");
    }
}

#[tokio::test]
async fn another_client_with_our_id_is_named() {
    let (listener, mut us) = rogue().await;
    let lost = ends(&listener, &mut us, &[0xe0, 2, 0x8e, 0]).await;
    assert!(lost.taken_over && lost.reason.contains("`mqtt.client_id`"), "{lost}");
    let lost = ends(&listener, &mut us, &[0xe0, 2, 0x8b, 0]).await;
    assert!(!lost.taken_over, "{lost}");
}

#[tokio::test]
async fn a_filter_that_is_not_allowed_says_why_beside_one_that_is() {
    let (listener, mut us) = rogue().await;
    let broker = async {
        let (mut stream, _) = accept(&listener, CONNACK).await;
        let (first, body) = packet(&mut stream).await;
        assert_eq!(first, 0x82);
        stream.write_all(&[0x90, 5, body[0], body[1], 0, 0x87, 1]).await.unwrap();
        stream
    };
    let us = async {
        let (mut link, _) = connect(&mut us).await;
        link.subscribe(&["closed/#".into(), "open/#".into()]).unwrap();
        event(&mut link).await
    };
    let (_, answer) = in_time("it is answered", async { tokio::join!(broker, us) }).await;
    let Event::Subscribed(results) = answer else { panic!("{answer:?}") };
    assert_eq!((results[0].filter.as_str(), results[1].filter.as_str()), ("closed/#", "open/#"));
    assert!(results[0].granted.as_ref().is_err_and(|e| e == "not authorised (0x87)"), "{results:?}");
    assert_eq!(results[1].granted, Ok(1));
}

/// The broker acknowledges and is gone, all in one go.
#[tokio::test]
async fn what_was_acknowledged_last_is_known_before_the_loss() {
    let (listener, mut us) = rogue().await;
    let broker = async {
        let (mut stream, _) = accept(&listener, CONNACK).await;
        let (first, _) = packet(&mut stream).await;
        assert_eq!(first, 0x32);
        // Topic `t`: the packet id of the first publish is 1.
        stream.write_all(&[0x40, 2, 0, 1, 0xe0, 2, 0x8b, 0]).await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    };
    let us = async {
        let (mut link, _) = connect(&mut us).await;
        link.publish(5, message("t", "x")).unwrap();
        let first = acked(&mut link).await;
        let second = lost(&mut link).await;
        drop(link);
        (first, second)
    };
    let ((), (first, second)) = in_time("it is over", async { tokio::join!(broker, us) }).await;
    assert_eq!(first, (5, Ack::Delivered));
    assert!(second.reason.contains("0x8B"), "{second}");
}

/// Otherwise it would be sent again at once, for ever.
#[tokio::test]
async fn a_packet_that_we_never_take_costs_the_session_and_not_the_daemon() {
    const CLEAN_START: u8 = 0x02;
    let flags = |connect: &[u8]| connect[7];
    let (listener, mut us) = rogue().await;
    let mut large = vec![0x32, 0x84, 0x80, 0x80, 0x01, 0, 1, b't', 0, 1, 0];
    large.resize(100_000, b'x');
    let lost = ends(&listener, &mut us, &large).await;
    assert!(lost.permanent && lost.reason.contains("bytes although it was told"), "{lost}");

    let broker = async {
        let (first, connect) = accept(&listener, CONNACK).await;
        assert_ne!(flags(&connect) & CLEAN_START, 0, "the session that holds the packet is given up");
        let (second, connect) = accept(&listener, CONNACK).await;
        assert_eq!(flags(&connect) & CLEAN_START, 0, "the one after it is kept");
        (first, second)
    };
    let us = async { (connect(&mut us).await, connect(&mut us).await) };
    in_time("both connections are made", async { tokio::join!(broker, us) }).await;
}
