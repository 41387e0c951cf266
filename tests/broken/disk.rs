//! Disks without room.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    broker::Broker,
    did,
    node::{Node, until},
    wire::{Ear, bulky, chat, code, connected, node, request},
};

/// What has to stand in front of the daemon so that its state lies on a file system of its own;
/// `None`, and a line in the table, when this machine does not permit that.
pub(crate) fn own_mount(what: &str, node: &Node, options: &str) -> Option<Vec<String>> {
    let unshare = ["unshare", "-m", "--propagation", "private"];
    let mut probe = Command::new(unshare[0]);
    probe.args(&unshare[1..]).args(["mount", "-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        did(what, "NOT TRIED: this machine permits no mount in a namespace of one's own");
        return None;
    }
    let script = "dir=$0 options=$1; shift; mount -t tmpfs -o \"$options\" none \"$dir\" && exec \"$@\"";
    let rest = ["sh", "-c", script, node.state().to_str().unwrap(), options].map(str::to_owned);
    Some(unshare.map(str::to_owned).into_iter().chain(rest).collect())
}

/// A file beside the database, as the daemon sees it, that takes all the room there is.
fn ballast(node: &Node) -> PathBuf {
    let seen = format!("/proc/{}/root{}", node.pid().as_raw_nonzero(), node.state().display());
    let path = PathBuf::from(seen).join("ballast");
    let mut file = File::create(&path).unwrap();
    for size in [65_536, 4_096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    path
}

fn refused_over_http(node: &Node) {
    let (status, answer) = node.post("/v1/requests", &chat(1));
    assert_eq!((status, code(&answer)), (507, "store_full"), "{answer}");
    let mut keyed = chat(1);
    keyed["outpost"] = serde_json::json!({"id": "keyed"});
    let (status, answer) = node.post("/v1/chat/completions", &keyed);
    assert_eq!((status, code(&answer)), (507, "store_full"), "{answer}");
    let (status, answer) = node.post("/v1/chat/completions", &chat(1));
    assert_eq!(status, 200, "what needs no disk is answered: {answer}");
}

/// Exactly one final each, none of them an error.
fn all_answered(ear: &Ear, ids: &[String]) {
    for id in ids {
        assert_eq!(ear.answer(id)["object"], "chat.completion", "{id}");
        assert_eq!(ear.finals(id).len(), 1, "{id}");
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    let what = "the disk of the store is full";
    let broker = Broker::start("");
    let mut node = node(&broker, true, &["engine.slots=1", "store.free_min_mb=0"]);
    let Some(wrapper) = own_mount(what, &node, "size=4m") else { return };
    node.wrapper = wrapper;
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    node.ready();
    let mut accepted: Vec<String> = Vec::new();
    for (n, tokens) in [(0, 400), (1, 4), (2, 4), (3, 4)] {
        accepted.push(format!("before-{n}"));
        request(&broker, &accepted[n], &chat(tokens));
    }
    node.status_when("all are on disk", |s| s["store"]["unfinished"] == 4);
    let ballast = ballast(&node);
    // There may be room for some more in what the store has already.
    let refused = (0..50).find(|n| {
        let id = format!("while-{n}");
        request(&broker, &id, &bulky(4, 20_000));
        let full = until("it is refused or on disk", || match ear.finals(&id).pop() {
            Some(answer) => Some(code(&answer) == "store_full"),
            None => (!ear.on(&format!("response/plc/{id}/event")).is_empty()).then_some(false),
        });
        if !full {
            accepted.push(id);
        }
        full
    });
    assert!(refused.is_some(), "never full");
    refused_over_http(&node);
    until("an alert", || ear.alert("disk").filter(|reason| reason.contains("disk is full")));
    assert_eq!(node.status()["store"]["state"], "full");

    let pid = node.pid();
    fs::remove_file(ballast).unwrap();
    ear.alert_over("disk");
    all_answered(&ear, &accepted);
    request(&broker, "after", &chat(2));
    all_answered(&ear, &["after".into()]);
    assert_eq!(node.status()["store"]["state"], "ok");
    assert_eq!((node.pid(), node.log().matches("panicked").count()), (pid, 0));
    did(
        what,
        &format!(
            "store_full (507) for what is new, answers without id go on, alert/disk; with room again the {} accepted \
             finals came once each, the alert was cleared, no restart",
            accepted.len()
        ),
    );
}

#[test]
fn a_full_disk_that_nobody_writes_to_is_noticed_when_it_has_room_again() {
    let what = "the disk is full, has room again, and nobody sends anything";
    let broker = Broker::start("");
    let mut node = node(&broker, true, &["store.free_min_mb=0"]);
    let Some(wrapper) = own_mount(what, &node, "size=2m") else { return };
    node.wrapper = wrapper;
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    node.ready();
    let ballast = ballast(&node);
    let full = (0..50).any(|_| node.post("/v1/requests", &bulky(1, 60_000)).0 == 507);
    assert!(full, "never full");
    until("an alert", || ear.alert("disk"));
    fs::remove_file(ballast).unwrap();
    ear.alert_over("disk");
    assert_eq!(node.status()["store"]["state"], "ok");
    did(what, "alert/disk was cleared all the same");
}

#[test]
fn a_limit_on_the_size_of_files_ends_the_daemon_and_loses_nothing() {
    let what = "files may not grow any more (RLIMIT_FSIZE), which SQLite takes for a broken disk";
    let broker = Broker::start("");
    let mut node = node(&broker, true, &["engine.slots=1"]);
    // In units of 512 bytes: 256 KiB. The signal would end the daemon before it could say anything.
    node.wrapper = ["sh", "-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    let ids: Vec<String> = (0..12).map(|n| format!("r{n}")).collect();
    for id in &ids {
        request(&broker, id, &bulky(2, 40_000));
    }
    let status = node.ended();
    assert_eq!(status.code(), Some(69), "{}", node.log());
    assert!(node.log().contains("the store can no longer be trusted"), "{}", node.log());
    assert!(!node.log().contains("panicked"), "{}", node.log());
    node.wrapper.clear();
    node.start();
    all_answered(&ear, &ids);
    assert!(!node.log().contains("the database was corrupt"), "{}", node.log());
    did(what, "ended with 69 and the reason; the next start, without the limit, answered all 12 once each");
}

#[test]
fn below_the_floor_of_free_disk_nothing_new_is_accepted() {
    let broker = Broker::start("");
    let mut node = node(&broker, true, &["store.free_min_mb=100000000"]);
    node.start();
    let ear = Ear::new(&broker);
    connected(&node);
    node.ready();
    request(&broker, "a", &chat(1));
    let answer: Value = ear.answer("a");
    assert_eq!(code(&answer), "store_full", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("have to stay free"), "{answer}");
    assert!(
        answer["error"]["retryable"] == true && answer["error"]["retry_after_ms"].is_number(),
        "{answer}"
    );
    refused_over_http(&node);
    until("an alert", || ear.alert("disk").filter(|reason| reason.contains("have to stay free")));
    assert_eq!(ear.finals("a").len(), 1);
    did(
        "less free disk than `store.free_min_mb`",
        "store_full (507) with a time to come back, answers without id go on, alert/disk",
    );
}
