//! The README's examples do what it says.

use std::{fs, path::Path, process::Command};

use crate::harness::shared;

/// Fewer than these means that the examples are not found any more.
const EXAMPLES_MIN: usize = 4;
const SOCKET: &str = "/run/outpost/outpost.sock";

/// Every fenced block of shell whose first line is a call of curl over the socket.
fn examples(readme: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            if block.first().is_some_and(|l| l.starts_with("curl --unix-socket")) {
                examples.push(block.join("\n"));
            }
        }
    }
    examples
}

fn is_json_or_a_whole_stream(output: &str) -> bool {
    match output.strip_suffix("data: [DONE]\n\n") {
        Some(stream) => stream.split_terminator("\n\n").all(|event| {
            event.strip_prefix("data: ").is_some_and(|d| serde_json::from_str::<serde_json::Value>(d).is_ok())
        }),
        None => serde_json::from_str::<serde_json::Value>(output).is_ok_and(|v| v.get("error").is_none()),
    }
}

#[test]
fn every_curl_example_of_the_readme_works() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let examples = examples(&readme);
    assert!(examples.len() >= EXAMPLES_MIN, "{} examples in {}", examples.len(), path.display());
    for example in examples {
        assert!(example.contains(SOCKET), "{example}");
        let script = example.replace(SOCKET, &shared().socket().display().to_string());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{example}\n{err}");
        assert!(is_json_or_a_whole_stream(&out), "{example}\n{out}");
    }
}

#[test]
fn examples_are_told_from_other_blocks() {
    let readme =
        "```sh\nmake\n```\n```sh\ncurl --unix-socket a \\\n  b\n```\n```\ncurl --unix-socket c\n```\n";
    assert_eq!(examples(readme), ["curl --unix-socket a \\\n  b"]);
    assert!(is_json_or_a_whole_stream("{\"a\": 1}\n"));
    assert!(is_json_or_a_whole_stream("data: {}\n\ndata: [DONE]\n\n"));
    for bad in ["", "data: {}\n\n", "data: x\n\ndata: [DONE]\n\n", "{\"error\": {}}"] {
        assert!(!is_json_or_a_whole_stream(bad), "{bad:?}");
    }
}
