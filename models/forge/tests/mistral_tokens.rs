//! Conversations become the tokens that Mistral's own library makes of them: with a real
//! vocabulary, `tekken.json` made into `tokenizer.json` here, and the template of Ministral 3.
//!
//! `tests/golden/make_mistral_tokens.py` made the cases and says where transformers, with the
//! same template, differs from the library, and why: then either's tokens will do. (Arguments of
//! calls are read and written again here as in the library, and not as in transformers.)
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::{fs, path::Path};

use outpost::{
    domain::UnixSeconds,
    model::{ChatTemplate, MANIFEST_FILE, Manifest, Message, Package, Tokenizer},
};
use outpost_forge::{import, progress::Silent, recipe::Weights, source::Origin};
use serde_json::{Value, json};

const VOCABULARY: usize = 131_072;

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    fs::read_to_string(path).unwrap()
}

/// The vocabulary with the special tokens of Ministral 3.
fn tekken(special: &Value) -> String {
    let path = common::cached("tekken/tekken_240911.json");
    let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let named = special.as_object().unwrap();
    file["special_tokens"] = named
        .iter()
        .map(|(text, rank)| json!({"rank": rank, "token_str": text, "is_control": true}))
        .collect();
    file.to_string()
}

/// A package with this tokenizer and template; its weights are never looked at.
fn package(home: &Path, special: &Value) -> Package {
    common::load_runtime();
    let dir = home.join("package");
    let options = import::Options {
        source: "synth:tiny".into(),
        ..common::options(&dir, Weights::F32, outpost::model::KvType::F32, 32)
    };
    import::import(&options, &Silent).unwrap();
    let tokenizer = tokenizer(home, special);
    fs::write(dir.join("tokenizer.json"), tokenizer).unwrap();
    fs::write(
        dir.join("tokenizer_config.json"),
        json!({"bos_token": "<s>", "eos_token": "</s>"}).to_string(),
    )
    .unwrap();
    fs::write(dir.join("chat_template.jinja"), golden("templates/ministral3.jinja")).unwrap();
    let path = dir.join(MANIFEST_FILE);
    let mut manifest = Manifest::parse(&fs::read_to_string(&path).unwrap()).unwrap();
    manifest.vocabulary = VOCABULARY;
    manifest.files.retain(|file| file.path.starts_with("model.onnx"));
    fs::write(path, manifest.to_toml().unwrap()).unwrap();
    Package::open(&dir).unwrap()
}

/// `tokenizer.json`, as the forge makes it of a repository that has `tekken.json` alone.
fn tokenizer(home: &Path, special: &Value) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ministral/hf");
    let repository = home.join("repository");
    fs::create_dir(&repository).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("model") || name == "config.json" || name == "generation_config.json" {
            fs::copy(entry.path(), repository.join(name)).unwrap();
        }
    }
    fs::write(repository.join("tekken.json"), tekken(special)).unwrap();
    let made = Origin::open(&repository).unwrap().tokenizer(VOCABULARY, 256).unwrap();
    assert_eq!((made.eos, made.bos), (vec![2], Some(1)));
    made.json
}

fn messages(case: &Value) -> Vec<Message> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let message = |message: &Value| Message {
        role: text(&message["role"]).unwrap(),
        content: text(&message["content"]),
        name: text(&message["name"]),
        tool_calls: message.get("tool_calls").cloned(),
        tool_call_id: text(&message["tool_call_id"]),
    };
    case["messages"].as_array().unwrap().iter().map(message).collect()
}

#[test]
fn conversations_become_the_tokens_of_mistrals_own_library() {
    let golden: Value = serde_json::from_str(&golden("mistral_tokens.json")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let package = package(home.path(), &golden["special"]);
    let tokenizer = Tokenizer::load(&package).unwrap();
    let template = ChatTemplate::load(&package, &tokenizer).unwrap();
    let (mut same, mut own, mut refused, mut wrong) = (0, 0, 0, Vec::new());
    for (number, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
        // The service makes one text of a list of parts before the template sees it.
        if case["messages"].as_array().unwrap().iter().any(|message| message["content"].is_array()) {
            continue;
        }
        // Whole numbers beyond 64 bits are floats here: 1e+30.
        if case["messages"].to_string().contains(&format!("1{}", "0".repeat(30))) {
            continue;
        }
        let rendered = template.render(&messages(case), case.get("tools"), true, UnixSeconds(0));
        let ids = rendered.and_then(|prompt| tokenizer.encode_prompt(&prompt));
        match ids {
            Ok(ids) if json!(ids) == case["ids"] => same += 1,
            Ok(ids) if case.get("template_ids") == Some(&json!(ids)) => own += 1,
            Err(_) if case.get("template_error").is_some() => refused += 1,
            other => wrong.push(format!("case {number} {case}: {other:?}")),
        }
    }
    println!("{same} as mistral-common, {own} as the template has it, {refused} refused by it");
    assert!(wrong.is_empty(), "{} wrong, such as\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    assert!(same > 300 && own > 5 && refused > 2);
}
