//! An accelerator's compiler at work: `OpenVINO`, on the processor, inside an ONNX Runtime that was built with it.
#![cfg(target_arch = "x86_64")]

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Daemon, cached, prompt, with};

/// Numbers of 32 bits, as the processor computes with.
const TOML: &str =
    "[[provider]]\nname = \"openvino\"\noptions = { device_type = \"CPU\", precision = \"FP32\" }\n";

fn start(providers: &str, more: &[&str]) -> Daemon {
    let settings = [
        format!("runtime.onnxruntime={}", cached("openvino/libonnxruntime.so").display()),
        format!("model.package={}", cached("models/tiny-fixed").display()),
        format!("model.providers={providers}"),
        "engine.context=128".into(),
        "engine.slots=2".into(),
    ];
    Daemon::start_with(TOML, &[&settings.each_ref().map(String::as_str), more].concat())
}

/// Two run at once, the third waits for one of them.
fn texts(daemon: &Daemon) -> Vec<Value> {
    let ask = |text: &str| {
        let answer = daemon.chat(&with(prompt(text, 40), json!({"ignore_eos": true}))).good();
        assert_eq!(answer["usage"]["completion_tokens"], 40);
        answer["choices"][0]["message"]["content"].clone()
    };
    thread::scope(|scope| {
        let asked = ["Go!", "A much longer prompt than sixteen tokens.", "Three"]
            .map(|text| scope.spawn(move || ask(text)));
        asked.map(|answer| answer.join().unwrap()).into()
    })
}

/// What lies in the folder of what was prepared.
fn prepared(daemon: &Daemon) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(daemon.socket().with_file_name("state").join("prepared")) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn is_served_by_openvino(daemon: &Daemon) {
    let model = &daemon.status()["model"];
    let found = (&model["provider"], &model["passed_over"]);
    assert_eq!(found, (&json!("openvino"), &json!([])), "{model}\n{}", daemon.log());
    // One for prompts and one for answers: each is the whole graph.
    assert_eq!(model["nodes"], json!({"OpenVINOExecutionProvider": 2}), "{model}");
}

fn kill(daemon: &mut Daemon) {
    daemon.signal(Signal::KILL);
    daemon.ended();
}

#[test]
fn a_compiler_takes_the_whole_graph_of_fixed_sizes_and_gives_the_same_tokens() {
    let plain = start("[\"cpu\"]", &[]);
    assert_eq!(plain.status()["model"]["provider"], "cpu");
    assert!(prepared(&plain).is_empty());
    let wanted = texts(&plain);

    let mut daemon = start("[\"openvino\", \"cpu\"]", &[]);
    is_served_by_openvino(&daemon);
    assert_eq!(texts(&daemon), wanted);

    // What this one writes down it cannot read again: that is found out once, where it harms nobody.
    let made = prepared(&daemon);
    let [dir] = &made[..] else { panic!("{made:?}") };
    assert!(dir.file_name().unwrap().to_str().unwrap().starts_with("compiled-tiny-fixed-"), "{dir:?}");
    let files = |dir: &PathBuf| {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert_eq!(files(dir), ["prepared.toml"]);
    let inode = fs::metadata(dir).unwrap().ino();
    kill(&mut daemon);
    daemon.restart();
    is_served_by_openvino(&daemon);
    assert_eq!(
        (prepared(&daemon), fs::metadata(dir).unwrap().ino()),
        (made.clone(), inode),
        "it is not tried again"
    );
    assert_eq!(texts(&daemon), wanted);
}

#[test]
fn nothing_is_kept_for_who_does_not_want_it() {
    let daemon = start("[\"openvino\", \"cpu\"]", &["engine.keep_compiled=false"]);
    is_served_by_openvino(&daemon);
    assert!(prepared(&daemon).is_empty());
}
