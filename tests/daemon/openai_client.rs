//! The official `openai` client for Python, run against a daemon (`tests/python`).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::Daemon;

#[test]
fn the_official_openai_client_is_content() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("OUTPOST_TEST_PYTHON")
        .map_or_else(|| root.join(".cache/clients/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is not there: run `make test`, or set OUTPOST_TEST_PYTHON to an interpreter with \
         tests/python/requirements.txt installed",
        python.display()
    );
    // One slot, so that what the status says of cancelled work is unambiguous and answers of one
    // seed are computed alone.
    let daemon = Daemon::start(&["engine.slots=1"]);
    let output = Command::new(python)
        .args(["-B", "-W", "error::DeprecationWarning", "-m", "unittest", "-v", "test_openai"])
        .current_dir(root.join("tests/python"))
        .env("OUTPOST_SOCKET", daemon.socket())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
}
