//! A variant of fixed sizes in the daemon, on the processor.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{Daemon, cached, prompt, with};

/// The package with this change to its manifest.
fn changed(change: impl Fn(String) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(cached("models/tiny-fixed")).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join("outpost-model.toml");
    let text = fs::read_to_string(&path).unwrap();
    let new = change(text.clone());
    assert_ne!(new, text, "the manifest has what is to be changed");
    fs::write(path, new).unwrap();
    dir
}

fn settings(package: &Path) -> [String; 4] {
    [
        format!("runtime.onnxruntime={}", cached("onnxruntime/libonnxruntime.so").display()),
        format!("model.package={}", package.display()),
        "engine.context=128".into(),
        "engine.slots=3".into(),
    ]
}

fn answers(package: &Path) -> Vec<Value> {
    let daemon = Daemon::start(&settings(package).each_ref().map(String::as_str));
    let ask = |(text, tokens): (&str, usize)| {
        let body = with(prompt(text, tokens), json!({"ignore_eos": true, "logprobs": true}));
        let choice = daemon.chat(&body).good()["choices"][0].clone();
        assert_eq!(choice["logprobs"]["content"].as_array().unwrap().len(), tokens);
        choice["message"]["content"].clone()
    };
    // They begin and end at different times: slots change their places while others go on.
    let asked = [
        ("Go!", 60),
        ("A prompt that is much longer than sixteen tokens are.", 20),
        ("x", 45),
        ("Three", 30),
    ];
    std::thread::scope(|scope| {
        let asked = asked.map(|one| scope.spawn(move || ask(one)));
        asked.map(|answer| answer.join().unwrap()).into()
    })
}

#[test]
fn it_answers_as_the_free_variant_does() {
    let fixed =
        changed(|text| text.replace("providers = [\"openvino\", \"xnnpack\"]", "providers = [\"cpu\"]"));
    assert_eq!(answers(fixed.path()), answers(&cached("models/tiny-fixed")));
}

#[test]
fn it_must_pass_the_self_test_of_its_own() {
    let on_cpu =
        |text: String| text.replace("providers = [\"openvino\", \"xnnpack\"]", "providers = [\"cpu\"]");
    let first = |text: String, section: &str| {
        let (before, after) = text.split_once(section).unwrap();
        format!("{before}{section}{}", after.replacen("first_logit = 1", "first_logit = 7", 1))
    };
    let other = changed(|text| first(on_cpu(text), "\n[self_test]"));
    Daemon::start(&settings(other.path()).each_ref().map(String::as_str));

    let own = changed(|text| first(on_cpu(text), "[variant.self_test]"));
    let daemon = Daemon::start_without_model("", &settings(own.path()).each_ref().map(String::as_str));
    let status = daemon.status_when("the model has failed", |status| status["state"] == "failed");
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("self-test failed: the first logit is off by"), "{reason}");
}
