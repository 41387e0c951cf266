//! What is published, and what is made of it.

use std::fs;

use crate::{
    board::Board,
    hub_files::{Act, Door, Hub, Repo, sha256},
};

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn a_gguf_is_kept_and_the_line_that_imports_it_is_told() {
    let repo = Repo::new(
        "acme/Tiny-GGUF",
        &[("Tiny-Q4_0.gguf", vec![7; 5_000]), ("Tiny-Q8_0.gguf", vec![8; 9_000]), ("README.md", text("x"))],
    );
    let (board, hub) = (Board::new(), Hub::start(repo));
    let done = board.pull(&hub, &["acme/Tiny-GGUF", "--precision", "Q8_0"]).well();
    assert_eq!((done["layout"].as_str(), done["bytes"].as_u64()), (Some("gguf"), Some(9_000)));
    let models = board.models();
    let line = format!(
        "outpost-forge import {0}/Tiny-Q8_0.gguf/Tiny-Q8_0.gguf --out {0}/tiny-q8_0 --name tiny-q8_0",
        models.display()
    );
    assert_eq!(done["import"], line);
    board.pull(&hub, &["acme/Tiny-GGUF", "--precision", "Q3_K_S"]).refused(65, "Tiny-Q4_0.gguf");
}

#[test]
fn a_package_of_our_own_comes_with_the_digests_of_its_manifest() {
    let [graph, tokenizer] = [vec![1; 4_000], text("{}")];
    let manifest = format!(
        r#"
        format = 1
        name = "tiny"
        version = "1"
        architecture = "llama"
        licence = "Apache-2.0"
        context = 100
        vocabulary = 10
        eos = [2]
        cache = {{ layers = 1, heads = 1, head_width = 1 }}
        source = {{ file = "x.gguf", sha256 = "{}", quantization = "F32", made_by = "test" }}
        self_test = {{ prompt = [1], tokens = [1], first_logit = 0.0, tolerance = 0.1 }}
        [[variant]]
        graph = "model.onnx"
        providers = ["cpu"]
        kv = "f32"
        weights = "f32"
        block = 0
        [[file]]
        path = "model.onnx"
        bytes = 4000
        sha256 = "{}"
        [[file]]
        path = "tokenizer.json"
        bytes = 2
        sha256 = "{}"
        "#,
        "0".repeat(64),
        sha256(&graph),
        sha256(&tokenizer)
    );
    let files = |tokenizer: Vec<u8>| {
        [
            ("model.onnx", graph.clone()),
            ("tokenizer.json", tokenizer),
            ("outpost-model.toml", text(&manifest)),
            ("x.pkl", text("evil")),
        ]
    };
    let (board, hub) = (Board::new(), Hub::start(Repo::new("acme/tiny", &files(tokenizer.clone()))));
    let done = board.pull(&hub, &["acme/tiny"]).well();
    assert_eq!((done["layout"].as_str(), done["package"].as_str()), (Some("outpost"), Some("tiny")));
    let places: Vec<_> = board.package("tiny").into_iter().map(|(path, _)| path).collect();
    assert_eq!(places, ["model.onnx", "outpost-model.toml", "outpost-pull.toml", "tokenizer.json"]);
    // The server swears by another file than the manifest does.
    hub.change(|repo| *repo = Repo::new("acme/tiny", &files(text("[]"))));
    board
        .pull(&hub, &["acme/tiny", "--revision", "main", "--name", "two"])
        .refused(65, "tokenizer.json is not what it should be");
}

#[test]
fn a_repository_without_a_model_says_what_it_is() {
    let repo = Repo::new("acme/torch", &[("pytorch_model.bin", vec![1; 2_000]), ("config.json", text("{}"))]);
    let (board, hub) = (Board::new(), Hub::start(repo));
    board.pull(&hub, &["acme/torch"]).refused(65, "ends in `-ONNX` or `-GGUF`");
    board.pull(&hub, &["acme"]).refused(65, "expected `org/name`, or a name of the catalogue");
}

#[test]
fn a_repository_that_was_renamed_is_found_under_its_old_name() {
    let mut repo = Repo::tiny(100_000);
    repo.formerly = Some("acme/old".into());
    let (board, hub) = (Board::new(), Hub::start(repo));
    assert_eq!(board.pull(&hub, &["acme/old"]).well()["vouched"], "listing");
    board.pull(&hub, &["acme/other"]).refused(65, "there is no repository acme/other");
    board.pull(&hub, &["acme/old", "--revision", "v7"]).refused(65, "has no revision `v7`");
}

#[test]
fn a_mirror_that_gives_no_digests_is_said_to_vouch_for_nothing() {
    let mut repo = Repo::tiny(600_000);
    repo.silent = true;
    let (board, hub) = (Board::new(), Hub::start(repo.clone()));
    board.pull(&hub, &["acme/tiny-ONNX"]).well();
    let record = fs::read_to_string(board.models().join("tiny-ONNX-q4/outpost-pull.toml")).unwrap();
    assert!(record.contains("vouched = \"nothing\""), "{record}");
    // What could not be resumed, for nobody could tell whether it was still the same, is not even begun.
    let siblings = r#"[{"rfilename": "model.onnx", "size": 70000000}]"#;
    let listing = format!(r#"{{"sha": "{}", "siblings": {siblings}}}"#, "a".repeat(40));
    hub.play(Door::Api, 1, Act::Listing(listing.into()));
    board.pull(&hub, &["acme/large"]).refused(65, "nothing vouches for it");
}

#[test]
fn the_catalogue_and_the_plan_are_shown_without_fetching() {
    let (board, hub) = (Board::new(), Hub::start(Repo::tiny(600_000)));
    let list = board.pull(&hub, &["--list"]).well();
    assert!(list["models"].as_array().unwrap().iter().any(|model| model["name"] == "ministral-3-3b"));
    let plan = board.pull(&hub, &["acme/tiny-ONNX", "--dry-run"]).well();
    assert_eq!((plan["fits"].as_bool(), plan["left_bytes"].as_u64()), (Some(true), plan["bytes"].as_u64()));
    assert!(!board.models().exists());
    let files: Vec<_> =
        plan["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert!(files.contains(&"onnx/model_q4.onnx_data") && !files.contains(&"pytorch_model.bin"), "{files:?}");
}
