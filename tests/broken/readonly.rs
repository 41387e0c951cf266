//! Disks that cannot be written.

use crate::{broker::Broker, did, disk::own_mount, wire::node};

#[test]
fn a_read_only_file_system_at_start_is_said_and_ends_with_69() {
    let what = "the store's file system is read-only at start";
    let broker = Broker::start("");
    let mut node = node(&broker, false, &[]);
    let Some(wrapper) = own_mount(what, &node, "ro") else { return };
    node.wrapper = wrapper;
    node.launch();
    let status = node.ended();
    let log = node.log();
    let last = log.lines().last().unwrap_or_default();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(last.contains("Read-only file system") && last.contains("`store.path`"), "{last}");
    assert!(!broker.log().contains("as outpost-press"), "it went to the broker without a store");
    did(what, &format!("ended with 69: {last}").replace(node.dir().to_str().unwrap(), "…"));
}

#[test]
fn a_full_disk_at_start_is_said_and_ends_with_69() {
    let what = "the store's disk is full at start and there is no database yet";
    let broker = Broker::start("");
    let mut node = node(&broker, false, &[]);
    let Some(wrapper) = own_mount(what, &node, "size=4k") else { return };
    node.wrapper = wrapper;
    node.launch();
    let status = node.ended();
    let log = node.log();
    let last = log.lines().last().unwrap_or_default();
    assert_eq!(status.code(), Some(69), "{log}");
    assert!(last.contains("is full") && last.contains("free some space"), "{last}");
    did(what, &format!("ended with 69: {last}").replace(node.dir().to_str().unwrap(), "…"));
}
