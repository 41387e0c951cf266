//! TLS: whom we trust, who we are, and what is said when either does not hold.

use std::{fs, path::Path};

use outpost::transport::mqtt::TlsFiles;
use tempfile::TempDir;

use super::{authority::Authority, *};

/// A year that no test reaches.
const FAR: i32 = 4000;
const SERVER: &str = "certfile {dir}/server.pem\nkeyfile {dir}/server.key";

/// A directory with `ca.pem`, and the authority behind it.
fn authority() -> (TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("the plant's");
    authority.write(&dir.path().join("ca.pem"));
    (dir, authority)
}

fn secure(broker: &Broker, ca: &Path) -> LinkOptions {
    let mut options = options(broker.port(), "us");
    options.url.tls = true;
    options.tls = TlsFiles { ca: Some(ca.into()), cert: None, key: None };
    options
}

#[tokio::test]
async fn a_broker_that_the_authority_knows_is_trusted_and_no_other() {
    let (dir, authority) = authority();
    authority.issue(dir.path(), "server", &["127.0.0.1"], FAR);
    let broker = Broker::start_in(dir, SERVER);
    let ca = broker.dir().join("ca.pem");
    let mut us = MqttConnector::new(secure(&broker, &ca));
    let (mut link, _) = connect(&mut us).await;
    link.publish(1, message("t", vec![b'x'; 128 * 1024])).unwrap();
    assert_eq!(acked(&mut link).await, (1, Ack::NoSubscribers));

    // The file is read at every connect: a wrong one is noticed, a renewed one helps.
    Authority::new("somebody's").write(&ca);
    let lost = refused(&mut us).await;
    assert!(lost.permanent && lost.reason.contains("not signed by the authority in `mqtt.ca`"), "{lost}");
    authority.write(&ca);
    connect(&mut us).await;

    fs::remove_file(&ca).unwrap();
    let lost = refused(&mut us).await;
    assert!(
        lost.permanent && lost.reason.contains("`mqtt.ca`") && lost.reason.contains("No such file"),
        "{lost}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_host_or_another_time_is_not_accepted() {
    for (hosts, year, why) in
        [(&["plant.example"], FAR, "is not for `127.0.0.1`"), (&["127.0.0.1"], 2001, "has expired")]
    {
        let (dir, authority) = authority();
        authority.issue(dir.path(), "server", hosts, year);
        let broker = Broker::start_in(dir, SERVER);
        let lost = refused(&mut MqttConnector::new(secure(&broker, &broker.dir().join("ca.pem")))).await;
        assert!(lost.permanent && lost.reason.contains(why), "{lost}");
    }
}

#[tokio::test]
async fn a_broker_that_asks_who_we_are_gets_our_certificate() {
    let (dir, authority) = authority();
    authority.issue(dir.path(), "server", &["127.0.0.1"], FAR);
    authority.issue(dir.path(), "us", &[], FAR);
    Authority::new("somebody's").issue(dir.path(), "stranger", &[], FAR);
    let broker = Broker::start_in(dir, &format!("{SERVER}\ncafile {{dir}}/ca.pem\nrequire_certificate true"));
    let file = |name: &str| Some(broker.dir().join(name));
    let with = |cert, key| {
        let mut options = secure(&broker, &broker.dir().join("ca.pem"));
        (options.tls.cert, options.tls.key) = (cert, key);
        MqttConnector::new(options)
    };
    connect(&mut with(file("us.pem"), file("us.key"))).await;
    for (mut wrong, why) in [
        (with(None, None), "wants a client certificate: set `mqtt.cert`"),
        (with(file("stranger.pem"), file("stranger.key")), "does not accept the certificate in `mqtt.cert`"),
        (with(file("us.pem"), None), "`mqtt.key` is not"),
        (with(None, file("us.key")), "`mqtt.cert` is not"),
        (with(file("us.pem"), file("ca.pem")), "holds no private key"),
        (with(file("us.pem"), file("stranger.key")), "`mqtt.cert`"),
    ] {
        let lost = refused(&mut wrong).await;
        assert!(lost.permanent && lost.reason.contains(why), "{lost}");
    }
}

#[tokio::test]
async fn a_port_that_speaks_the_other_language_is_recognised() {
    let (dir, authority) = authority();
    authority.issue(dir.path(), "server", &["127.0.0.1"], FAR);
    let plain = Broker::start("");
    let tls = Broker::start_in(dir, SERVER);
    let lost = refused(&mut MqttConnector::new(secure(&plain, &tls.dir().join("ca.pem")))).await;
    assert!(lost.reason.contains("does that port speak TLS?"), "{lost}");
    let lost = refused(&mut connector(&tls, "us")).await;
    assert!(lost.reason.contains("mqtts://"), "{lost}");
}
