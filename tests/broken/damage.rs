//! Databases that are not what was written.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::OnceLock,
};

use serde_json::json;

use crate::{
    broker::Broker,
    did,
    node::{Node, until, with_model},
    wire::{Ear, bulky, chat, connected, node, request},
};

/// A sound database with some finished requests, as the daemon left it.
fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let mut node = Node::new(&with_model());
        node.settings.push("store.free_min_mb=1".into());
        node.start();
        for n in 0..3 {
            let mut body = chat(4);
            body["outpost"] = json!({"id": format!("kept-{n}")});
            assert_eq!(node.post("/v1/requests", &body).0, 202);
            until("it has its final", || {
                (node.get(&format!("/v1/requests/kept-{n}"))?.0 == 200).then_some(())
            });
        }
        assert!(node.stop().success());
        fs::read(node.database()).unwrap()
    })
}

/// A daemon without a model whose database is `file`.
fn on(file: &[u8], settings: &[&str]) -> Node {
    let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let mut node = Node::new(&settings);
    node.settings.push("store.free_min_mb=1".into());
    fs::write(node.database(), file).unwrap();
    node
}

fn aside(node: &Node) -> PathBuf {
    node.state().join("outpost.db.corrupt-1")
}

fn starts_empty_and_keeps(what: &str, file: &[u8]) {
    let mut node = on(file, &[]);
    node.start();
    assert_eq!(fs::read(aside(&node)).unwrap(), file, "kept, byte for byte");
    let status = node.status();
    let told = status["store"]["set_aside"].as_str().unwrap_or_default();
    assert!(told.contains("outpost.db.corrupt-1"), "{status}");
    let log = node.log();
    assert!(log.contains("the database was corrupt") && log.contains("outpost.db.corrupt-1"), "{log}");
    assert_eq!(node.get("/v1/requests/kept-0").unwrap().0, 404);
    assert!(node.stop().success());
    assert_eq!(node.quick_check(), "ok");
    // The next start is an ordinary one.
    node.start();
    assert!(node.status()["store"]["set_aside"].is_null());
    did(
        what,
        "moved it to outpost.db.corrupt-1 byte for byte, runs with an empty one, says so in status and log",
    );
}

#[test]
fn a_sound_database_is_taken_as_it_is() {
    let mut node = on(sample(), &[]);
    node.start();
    assert_eq!(node.get("/v1/requests/kept-0").unwrap().0, 200);
    assert!(!aside(&node).exists());
}

#[test]
fn a_truncated_database_is_kept_aside() {
    starts_empty_and_keeps("the database was cut in half", &sample()[..sample().len() / 2]);
}

#[test]
fn a_flipped_bit_in_an_answer_is_found_and_the_database_kept_aside() {
    let mut file = sample().to_vec();
    let answer = b"chat.completion";
    let at = file.windows(answer.len()).position(|w| w == answer).expect("an answer is in it");
    file[at] ^= 1;
    starts_empty_and_keeps("one bit of a stored answer flipped", &file);
}

#[test]
fn who_chose_to_stop_at_corruption_is_not_started() {
    let half = &sample()[..sample().len() / 2];
    let mut node = on(half, &["store.on_corruption=stop"]);
    for _ in 0..2 {
        node.launch();
        let status = node.ended();
        let log = node.log();
        let last = log.lines().last().unwrap_or_default();
        assert_eq!(status.code(), Some(78), "{log}");
        assert!(last.contains("outpost.db.corrupt-1") && last.contains("on_corruption"), "{last}");
        assert_eq!(fs::read(aside(&node)).unwrap(), half);
        assert!(!node.database().exists(), "nothing was begun anew");
    }
    fs::write(node.database(), sample()).unwrap();
    node.start();
    assert_eq!(node.get("/v1/requests/kept-2").unwrap().0, 200);
    did(
        "a corrupt database and `store.on_corruption = \"stop\"`",
        "moved it aside byte for byte, ended with 78 at this start and the next; runs with a backup in its place",
    );
}

#[test]
fn damage_while_it_runs_ends_the_daemon_with_the_reason_and_no_wrong_final() {
    let broker = Broker::start("");
    let mut node = node(&broker, true, &["engine.slots=1"]);
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    node.ready();
    // More than the daemon keeps in memory, so that it has to read what was damaged.
    request(&broker, "first", &chat(450));
    let ids: Vec<String> = (0..45).map(|n| format!("r{n}")).collect();
    for id in &ids {
        request(&broker, id, &bulky(1, 100_000));
    }
    let file = File::options().write(true).open(node.database()).unwrap();
    let length = file.metadata().unwrap().len();
    assert!(length > 3_000_000, "{length}");
    for page in length / 8_192..length / 4_096 - 1 {
        file.write_all_at(&[0xa5; 4_096], page * 4_096).unwrap();
    }
    let status = node.ended();
    let log = node.log();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(log.contains("the store can no longer be trusted") && !log.contains("panicked"), "{log}");
    for id in ids.iter().chain([&"first".to_owned()]) {
        let finals = ear.finals(id);
        assert!(finals.len() <= 1 && finals.iter().all(|f| f["object"] == "chat.completion"), "{finals:?}");
    }
    node.start();
    assert!(aside(&node).exists(), "{}", node.log());
    assert!(node.log().contains("the database was corrupt"));
    node.ready();
    connected(&node);
    request(&broker, "after", &chat(1));
    assert_eq!(ear.answer("after")["object"], "chat.completion");
    did(
        "pages of the database are overwritten while it runs",
        "ended with 69 and the reason, no panic, no wrong final; the next start kept the file aside and runs",
    );
}
