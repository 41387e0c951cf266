//! The README's examples do what it says.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
};

use crate::{
    broker::Broker,
    harness::{DEADLINE, shared},
    mqtt::{hears, start_at},
};

/// Fewer than these means that the examples are not found any more.
const EXAMPLES_MIN: usize = 4;
const SOCKET: &str = "/run/outpost/outpost.sock";

/// Every fenced block in this language whose first line begins like this.
fn blocks(readme: &str, language: &str, beginning: &str) -> Vec<String> {
    let (fence, mut found) = (format!("```{language}"), Vec::new());
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.trim() == fence {
            let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            if block.first().is_some_and(|l| l.starts_with(beginning)) {
                found.push(block.join("\n"));
            }
        }
    }
    found
}

/// The only such block.
pub(crate) fn block(readme: &str, language: &str, beginning: &str) -> String {
    let found = blocks(readme, language, beginning);
    assert_eq!(found.len(), 1, "blocks of {language} that begin with {beginning:?}");
    found.into_iter().next().unwrap_or_default()
}

pub(crate) fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
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
    let examples = blocks(&readme(), "sh", "curl --unix-socket");
    assert!(examples.len() >= EXAMPLES_MIN, "{} examples", examples.len());
    for example in examples {
        assert!(example.contains(SOCKET), "{example}");
        let script = example.replace(SOCKET, &shared().socket().display().to_string());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{example}\n{err}");
        assert!(is_json_or_a_whole_stream(&out), "{example}\n{out}");
    }
}

/// An example for a broker called `broker`, as it is for this one.
fn at(example: &str, broker: &Broker) -> Command {
    let host = " -h broker ";
    assert!(example.contains(host), "{example}");
    let mut command = Command::new("sh");
    let local = example.replace(host, &format!(" -h 127.0.0.1 -p {} ", broker.port()));
    // The shell becomes the client: what ends the one ends the other.
    command.args(["-c", &format!("exec {local}")]);
    command
}

#[test]
fn what_the_readme_publishes_is_answered_to_what_it_subscribes() {
    let readme = readme();
    let broker = Broker::start("");
    let _daemon = start_at(&broker, "press-3", &block(&readme, "toml", "[[task]]"), &[]);
    let subscription = block(&readme, "sh", "mosquitto_sub");
    let mut subscriber = at(&subscription, &broker).stdout(Stdio::piped()).spawn().unwrap();
    let (heard, news) = channel();
    let lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| heard.send(line)));
    hears(&broker, "plc");

    let published = at(&block(&readme, "sh", "mosquitto_pub"), &broker).output().unwrap();
    assert!(published.status.success(), "{published:?}");
    let topic = "outpost/v1/press-3/response/plc/4711 ";
    let mut said = Vec::new();
    let answer = loop {
        let line = news.recv_timeout(DEADLINE).unwrap_or_else(|e| panic!("{e}, only {said:?}"));
        match line.strip_prefix(topic) {
            Some(body) => break serde_json::from_str::<serde_json::Value>(body).unwrap(),
            None => said.push(line),
        }
    };
    subscriber.kill().unwrap();
    subscriber.wait().unwrap();
    assert_eq!(answer["object"], "chat.completion", "{answer}");
}

#[test]
fn examples_are_told_from_other_blocks() {
    let readme =
        "```sh\nmake\n```\n```sh\ncurl --unix-socket a \\\n  b\n```\n```\ncurl --unix-socket c\n```\n";
    assert_eq!(blocks(readme, "sh", "curl"), ["curl --unix-socket a \\\n  b"]);
    assert!(is_json_or_a_whole_stream("{\"a\": 1}\n"));
    assert!(is_json_or_a_whole_stream("data: {}\n\ndata: [DONE]\n\n"));
    for bad in ["", "data: {}\n\n", "data: x\n\ndata: [DONE]\n\n", "{\"error\": {}}"] {
        assert!(!is_json_or_a_whole_stream(bad), "{bad:?}");
    }
}
