//! An audit that somebody has edited: the rows of the database are changed behind the daemon's back.

use std::{fs, process::Command};

use outpost::{
    domain::{ClientId, Clock, RequestId, SystemClock, Zone, hex},
    store::{AuditEntry, AuditEvent, Backend, Db, Digest, Op, RequestKey, StoreOptions},
};
use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{did, node::Node};

const ROWS: u64 = 6;

/// A daemon that has let something out before, stopped.
fn node() -> Node {
    let node = Node::new(&["store.free_min_mb=1".into()]);
    let clock: std::sync::Arc<dyn Clock> = std::sync::Arc::new(SystemClock::new());
    let at = clock.stamp();
    let (mut db, _) = Db::open(StoreOptions::new(node.state()), clock).unwrap();
    for n in 0..ROWS {
        let entry = AuditEntry {
            at: at.clone(),
            event: AuditEvent::Sent,
            key: RequestKey { client: ClientId::new("press-3").unwrap(), id: RequestId::generate() },
            zone: Zone::Cloud,
            provider: "scaleway".into(),
            model: "org/name".into(),
            rule: "telemetry".into(),
            reason: String::new(),
            sent: Some(Digest([n as u8; 32])),
            bytes_out: 100 + n,
            bytes_in: 0,
            cost: None,
            settles: None,
        };
        db.commit(vec![Op::Audit(Box::new(entry))]).pop().unwrap().unwrap();
    }
    db.close().unwrap();
    node
}

/// An export in which row 3 says something else and all hashes fit.
fn forged(export: &str) -> String {
    let mut lines = export.lines();
    let (mut out, mut prev) = (vec![lines.next().unwrap().to_owned()], None);
    for line in lines {
        let (_, line) = line.split_once(' ').unwrap();
        let mut line = line.replace("\"bytes_out\":102", "\"bytes_out\":2");
        if let Some(prev) = prev {
            let mut row: Value = serde_json::from_str(&line).unwrap();
            row["prev"] = Value::String(prev);
            line = row.to_string();
        }
        let hash = hex(&Sha256::digest(line.as_bytes()));
        out.push(format!("{hash} {line}"));
        prev = Some(hash);
    }
    out.join("\n")
}

/// Exit code, and what it says.
fn audit(node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outpost"));
    command
        .env("OUTPOST_CONFIG", "/dev/null")
        .arg("--socket")
        .arg(node.socket())
        .arg("audit")
        .args(arguments);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Changes the file while nobody runs, and what a check says of it then.
fn after(node: &mut Node, change: &str, arguments: &[&str]) -> (Option<i32>, String) {
    node.stop();
    Connection::open(node.database()).unwrap().execute_batch(change).unwrap();
    node.start();
    audit(node, arguments)
}

#[test]
fn an_audit_that_was_edited_is_found_out() {
    let mut node = node();
    node.start();
    let (code, said) = audit(&node, &["verify"]);
    assert_eq!(code, Some(0), "{said}");
    let place = said.lines().last().unwrap().to_owned();
    assert!(said.starts_with("6 rows") && place.starts_with("6:"), "{said}");
    let status = node.status();
    assert_eq!(place, format!("{}:{}", status["audit"]["rows"], status["audit"]["head"].as_str().unwrap()));
    assert!(audit(&node, &["show"]).1.contains("cloud/scaleway (telemetry) 105 bytes"));
    let (_, export) = audit(&node, &["export"]);
    let kept = node.dir().join("export");
    fs::write(&kept, &export).unwrap();
    let kept = kept.to_str().unwrap().to_owned();
    assert_eq!(audit(&node, &["verify", "--file", &kept, "--head", &place]).0, Some(0));

    let (code, said) =
        after(&mut node, "UPDATE audit SET line = replace(line, '103', '903') WHERE seq = 4", &["verify"]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("row 4: its line is not what was written"), "{said}");
    let (code, said) = after(&mut node, "DELETE FROM audit WHERE seq = 4", &["verify"]);
    assert!(code == Some(65) && said.contains("row 4: it is followed by row 5"), "{said}");
    // What is cut off at the end is found by who knows a later place.
    let (code, said) = after(&mut node, "DELETE FROM audit WHERE seq > 3", &["verify"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = audit(&node, &["verify", "--head", &place]);
    assert!(code == Some(65) && said.contains("row 6 is not among them"), "{said}");
    fs::write(&kept, export.replacen("\"bytes_out\":101", "\"bytes_out\":1", 1)).unwrap();
    let (code, said) = audit(&node, &["--json", "verify", "--file", &kept]);
    assert!(code == Some(65) && said.contains("row 2"), "{said}");
    assert_eq!(serde_json::from_str::<Value>(&audit(&node, &["verify", "--json"]).1).unwrap()["rows"], 3);
    // Somebody who knows how makes every hash from there on fit: that is found by who knows a later place.
    fs::write(&kept, forged(&export)).unwrap();
    let (code, said) = audit(&node, &["verify", "--file", &kept]);
    assert!(code == Some(0) && said.starts_with("6 rows"), "{said}");
    let (code, said) = audit(&node, &["verify", "--file", &kept, "--head", &place]);
    assert!(code == Some(65) && said.contains("row 6 is not the one whose hash is known"), "{said}");
    // What is older than what is kept is no forgery.
    let rows: Vec<&str> = export.lines().collect();
    let of = |n: usize| format!("{n}:{}", rows[n].split_once(' ').unwrap().0);
    let later = [&[format!("# outpost audit behind {}", of(2)).as_str()], &rows[3..]].concat().join("\n");
    fs::write(&kept, later).unwrap();
    let (code, said) = audit(&node, &["verify", "--file", &kept, "--head", &of(1)]);
    assert!(code == Some(69) && said.contains("row 1 is older than what is kept"), "{said}");
    assert_eq!(audit(&node, &["verify", "--file", &kept, "--head", &of(5)]).0, Some(0));
    did(
        "rows of the audit were changed, dropped, cut off at the end",
        "`outpost audit verify` names the first row that is wrong; a cut end is found with `--head`",
    );
}
