//! Packages of others, from a folder onto the board and into the daemon.

use std::{fs, path::Path};

use serde_json::json;

use crate::board::Board;

const LAYOUTS: [(&str, &str); 5] = [
    ("genai-f32", "f32"),
    ("genai-int4", "f32"),
    ("optimum", "f32"),
    ("transformersjs-q4", "f32"),
    ("transformersjs-q4f16", "f16"),
];

#[test]
fn every_published_layout_is_pulled_activated_and_answers() {
    let mut board = Board::new(&[]);
    board.node.settings.retain(|setting| !setting.starts_with("engine.slots"));
    board.node.settings.push("engine.slots=2".into());
    board.node.start();
    let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts");
    for (name, kv) in LAYOUTS {
        board.pull_folder(&layouts.join(name), name);
        board.activate(name);
        // Weights of chance write what they like; that they write is what counts.
        let body = json!({"prompt": "abcab", "max_tokens": 12, "ignore_eos": true, "temperature": 0});
        let [one, two] = std::thread::scope(|scope| {
            [0, 1]
                .map(|_| scope.spawn(|| board.node.post("/v1/completions", &body)))
                .map(|h| h.join().unwrap())
        });
        assert_eq!((one.0, &one.1["model"]), (200, &json!(name)), "{one:?}");
        assert_eq!(one.1["usage"]["completion_tokens"], 12, "{one:?}");
        assert_eq!(one.1["choices"][0]["text"], two.1["choices"][0]["text"], "greedy, hence the same");
        let status = board.node.status();
        assert_eq!(
            (&status["model"]["name"], &status["model"]["kv"]),
            (&json!(name), &json!(kv)),
            "{status}"
        );
        assert!(status["model"]["kv_bytes"].as_u64().unwrap() > 0, "{status}");
    }
}

#[test]
fn a_published_package_that_is_broken_gives_its_place_back() {
    let mut board = Board::new(&[]);
    board.good("good");
    board.node.start();
    board.activate("good");
    let layout = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts/optimum");
    let broken = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(layout).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), broken.path().join(entry.file_name())).unwrap();
    }
    fs::write(broken.path().join("model.onnx"), "no graph at all").unwrap();
    board.pull_folder(broken.path(), "broken");
    let said = board.models_say(&["activate", "broken"]);
    assert_eq!(said.code, Some(65), "{said:?}");
    assert!(said.words.contains("`broken` did not pass: graph `model.onnx`"), "{said:?}");
    assert_eq!(board.answers(), "good");
}
