//! The official `openai` client for Python, run against a daemon (`tests/python`).

use std::process::Command;

use crate::harness::{Daemon, python};

#[test]
fn the_official_openai_client_is_content() {
    // One slot, so that what the status says of cancelled work is unambiguous and answers of one
    // seed are computed alone.
    let daemon = Daemon::start(&["engine.slots=1"]);
    let output = Command::new(python())
        .args(["-B", "-W", "error::DeprecationWarning", "-m", "unittest", "-v", "test_openai"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python"))
        .env("OUTPOST_SOCKET", daemon.socket())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
}
