//! Packages as others publish them: onnxruntime-genai's, transformers.js' and Optimum's, run as they are.
//!
//! The goldens are what ONNX Runtime itself computes of these graphs, called from Python in the plainest way:
//! `tests/golden/make_layouts.py`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use outpost::{
    engine::{Graph, GraphError, GraphOptions, Provider, argmax, load_runtime},
    model::{ChatTemplate, KvType, Message, Package, PackageError, Tokenizer},
};
use serde::Deserialize;
use sha2::Digest;

/// Package, format of its cache, and how far a logit may be from the golden one. Four-bit products round
/// their activations, in one order here and perhaps another where the golden was made.
const PACKAGES: [(&str, KvType, f32); 5] = [
    ("genai-f32", KvType::F32, 1e-4),
    ("genai-int4", KvType::F32, 1e-2),
    ("optimum", KvType::F32, 1e-4),
    ("transformersjs-q4", KvType::F32, 1e-2),
    ("transformersjs-q4f16", KvType::F16, 2e-2),
];

#[derive(Deserialize)]
struct Golden {
    prompt: Vec<u32>,
    forced: Vec<u32>,
    greedy: Vec<u32>,
    vocab: usize,
    #[serde(skip)]
    logits: Vec<f32>,
}

fn layouts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts")
}

fn golden(name: &str) -> Golden {
    let read = |end: &str| fs::read(layouts().join(format!("{name}.{end}"))).unwrap();
    let mut golden: Golden = serde_json::from_slice(&read("json")).unwrap();
    let words = read("bin");
    golden.logits = words.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(golden.logits.len(), (golden.prompt.len() + golden.forced.len()) * golden.vocab);
    golden
}

fn open(dir: &Path) -> Result<Graph, GraphError> {
    load_runtime(None, None).unwrap_or_else(|e| panic!("{e}\n`make runtime` fetches it"));
    let package = Package::open(dir).unwrap();
    let options = GraphOptions { slots: 3, context: 64, threads: 1 };
    Graph::open(dir, &package.manifest, &package.manifest.variants[0], &Provider::cpu(), &options)
}

/// A copy that may be changed.
fn copy(name: &str) -> tempfile::TempDir {
    fn all(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let place = to.join(entry.file_name());
            if entry.path().is_dir() {
                all(&entry.path(), &place);
            } else {
                fs::copy(entry.path(), place).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    all(&layouts().join(name), dir.path());
    dir
}

#[track_caller]
fn same(found: &[f32], golden: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), golden.len(), "{what}");
    let apart = found.iter().zip(golden).map(|(f, g)| (f - g).abs()).fold(0.0, f32::max);
    assert!(apart <= tolerance, "{what}: {apart} apart");
}

#[test]
fn every_layout_computes_what_onnx_runtime_computes_of_it() {
    for (name, kv, tolerance) in PACKAGES {
        let golden = golden(name);
        let mut graph = open(&layouts().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(graph.kv(), kv, "{name}");
        let (prompt, v) = (golden.prompt.len(), golden.vocab);
        let all: Vec<usize> = (0..prompt).collect();
        same(
            graph.prefill(1, 0, &golden.prompt, &all).unwrap(),
            &golden.logits[..prompt * v],
            tolerance,
            name,
        );
        // In parts, and only the last token of each part.
        for (from, to) in [(0, 5), (5, 6), (6, prompt)] {
            let logits = graph.prefill(0, from, &golden.prompt[from..to], &[to - from - 1]).unwrap();
            same(logits, &golden.logits[(to - 1) * v..to * v], tolerance, &format!("{name}, up to {to}"));
        }
        for (at, token) in golden.forced.iter().enumerate() {
            let logits = graph.decode(&[*token], &[prompt + at]).unwrap();
            let row = prompt + at;
            same(logits, &golden.logits[row * v..(row + 1) * v], tolerance, &format!("{name}, token {row}"));
        }
    }
}

#[test]
fn sequences_of_different_lengths_run_beside_one_another_and_move_between_slots() {
    for (name, _, tolerance) in PACKAGES {
        let golden = golden(name);
        let mut graph = open(&layouts().join(name)).unwrap();
        let v = golden.vocab;
        let prompt = &golden.prompt;
        let row = |n: usize| &golden.logits[n * v..(n + 1) * v];
        graph.prefill(0, 0, &prompt[..4], &[3]).unwrap();
        graph.prefill(1, 0, &prompt[..9], &[8]).unwrap();
        graph.prefill(2, 0, &prompt[..6], &[5]).unwrap();
        let both = graph.decode(&[prompt[4], prompt[9], prompt[6]], &[4, 9, 6]).unwrap();
        for (found, at) in both.chunks(v).zip([4, 9, 6]) {
            same(found, row(at), tolerance, &format!("{name}, token {at}"));
        }
        // The first ends; the last takes its place, with one token less than it had.
        graph.copy_slot(2, 0, 6);
        let both = graph.decode(&[prompt[6], prompt[10]], &[6, 10]).unwrap();
        same(&both[..v], row(6), tolerance, &format!("{name}, moved"));
        same(&both[v..], row(10), tolerance, &format!("{name}, not moved"));
        // And a slot that is used anew forgets what it held.
        let anew = graph.prefill(0, 0, &prompt[..3], &[2]).unwrap();
        same(anew, row(2), tolerance, &format!("{name}, anew"));
    }
}

#[test]
fn greedy_answers_are_the_golden_ones() {
    for (name, ..) in PACKAGES {
        let golden = golden(name);
        let mut graph = open(&layouts().join(name)).unwrap();
        let prompt = golden.prompt.len();
        let mut tokens = vec![argmax(graph.prefill(0, 0, &golden.prompt, &[prompt - 1]).unwrap())];
        while tokens.len() < golden.greedy.len() {
            let past = prompt + tokens.len() - 1;
            tokens.push(argmax(graph.decode(&tokens[tokens.len() - 1..], &[past]).unwrap()));
        }
        assert_eq!(tokens, golden.greedy, "{name}");
    }
}

#[test]
fn what_a_published_package_says_of_itself_is_taken_over() {
    for (name, ..) in PACKAGES {
        let package = Package::open(&layouts().join(name)).unwrap();
        let manifest = &package.manifest;
        assert_eq!((manifest.name.as_str(), manifest.vocabulary, &manifest.eos[..]), (name, 320, &[2][..]));
        assert_eq!((manifest.bos, manifest.cache.layers, manifest.cache.head_width), (Some(1), 2, 16));
        // The scale of queries beyond the original context is not in the graphs.
        let context = if name.starts_with("transformersjs") { 256 } else { 512 };
        assert_eq!(manifest.context, context, "{name}");
        let tokenizer = Tokenizer::load(&package).unwrap();
        let template = ChatTemplate::load(&package, &tokenizer).unwrap();
        let now = outpost::domain::UnixSeconds(1_795_334_709);
        let prompt = template.render(&[Message::new("user", "ab")], None, true, now).unwrap();
        assert!(!tokenizer.encode_prompt(&prompt).unwrap().is_empty());
    }
}

/// The one error that opening a changed package gives.
fn refusal(name: &str, change: impl Fn(&Path)) -> String {
    let dir = copy(name);
    change(dir.path());
    let error = match Package::open(dir.path()) {
        Err(error) => error.to_string(),
        Ok(_) => match open(dir.path()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{name} was opened"),
        },
    };
    assert!(error.len() < 2_000, "{error}");
    error
}

#[track_caller]
fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

fn remove(file: &str) -> impl Fn(&Path) {
    move |dir| fs::remove_file(dir.join(file)).unwrap()
}

fn edit(file: &str, from: &str, to: &str) -> impl Fn(&Path) {
    move |dir| {
        let text = fs::read_to_string(dir.join(file)).unwrap();
        assert!(text.contains(from), "`{from}` is not in {file}");
        fs::write(dir.join(file), text.replace(from, to)).unwrap();
    }
}

#[test]
fn a_published_package_with_a_part_missing_or_broken_is_refused_by_name() {
    let q4 = "transformersjs-q4";
    says(&refusal(q4, remove("onnx/embed_tokens_fp16.onnx")), &["takes embeddings", "`embed_tokens`"]);
    says(
        &refusal(q4, remove("onnx/decoder_model_merged_q4.onnx_data_1")),
        &["decoder_model_merged_q4.onnx_data_1"],
    );
    says(&refusal(q4, remove("config.json")), &["config.json is missing"]);
    says(
        &refusal(q4, edit("generation_config.json", "\"eos_token_id\": 2", "\"eos_token_id\": 999")),
        &["token 999"],
    );
    says(
        &refusal(q4, edit("config.json", "num_hidden_layers\": 2", "num_hidden_layers\": 3")),
        &["layer 2's key"],
    );
    says(&refusal(q4, edit("config.json", "\"vocab_size\"", "\"words\"")), &["config.json", "`vocab_size`"]);
    says(&refusal(q4, edit("config.json", "{", "[")), &["config.json"]);
    says(&refusal("optimum", remove("model.onnx")), &["not a model package"]);
    says(
        &refusal("optimum", |dir| fs::write(dir.join("model.onnx"), "no graph").unwrap()),
        &["`model.onnx`"],
    );
    let genai = "genai-f32";
    says(&refusal(genai, remove("model.onnx.data")), &["model.onnx"]);
    says(
        &refusal(genai, edit("genai_config.json", "model.onnx", "../model.onnx")),
        &["genai_config.json", "no path below"],
    );
    says(&refusal(genai, edit("genai_config.json", "\"filename\"", "\"pipeline\"")), &["several graphs"]);
    says(
        &refusal(
            genai,
            edit("genai_config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4"),
        ),
        &["4 heads of 16"],
    );
    says(
        &refusal(genai, edit("genai_config.json", "\"context_length\": 512", "\"context_length\": -1")),
        &["genai_config.json"],
    );
}

#[test]
fn a_graph_that_forgets_or_mixes_up_its_cache_is_not_believed() {
    for name in ["genai-f32", "optimum"] {
        let dir = copy(name);
        let path = dir.path().join("model.onnx");
        let graph = fs::read(&path).unwrap();
        // Each layer keeps its keys under the other one's name.
        let (mine, yours) = (b"present.0.key".as_slice(), b"present.1.key".as_slice());
        let mut mixed = graph.clone();
        for at in 0..graph.len() - mine.len() {
            match &graph[at..at + mine.len()] {
                name if name == mine => mixed[at..at + mine.len()].copy_from_slice(yours),
                name if name == yours => mixed[at..at + mine.len()].copy_from_slice(mine),
                _ => {}
            }
        }
        assert_ne!(mixed, graph);
        fs::write(&path, mixed).unwrap();
        let error = open(dir.path()).err().unwrap();
        assert!(matches!(error, GraphError::Unsound { .. }), "{name}: {error}");
        says(&error.to_string(), &["does not run here", "other logits than at once", "outpost-forge"]);
    }
}

#[test]
fn a_gguf_that_was_pulled_is_no_package_yet() {
    let dir = tempfile::tempdir().unwrap();
    let record = "format = 1\nlayout = \"gguf\"\nvouched = \"nothing\"\nfile = []\n";
    fs::write(dir.path().join("outpost-pull.toml"), record).unwrap();
    let error = Package::open(dir.path()).unwrap_err();
    assert!(matches!(error, PackageError::Gguf { .. }), "{error}");
    says(&error.to_string(), &["outpost-forge import"]);
}

#[test]
fn a_damaged_file_of_a_pulled_package_is_found_by_the_record_of_the_pull() {
    let dir = copy("genai-f32");
    let entry = |file: &str| {
        let bytes = fs::read(dir.path().join(file)).unwrap();
        let sha256 = outpost::domain::hex(&sha2::Sha256::digest(&bytes));
        format!("[[file]]\npath = \"{file}\"\nbytes = {}\nsha256 = \"{sha256}\"\n", bytes.len())
    };
    let files: String = ["model.onnx", "model.onnx.data", "genai_config.json"].map(entry).concat();
    let record = format!("format = 1\nlayout = \"onnxruntime-genai\"\nvouched = \"listing\"\n{files}");
    fs::write(dir.path().join("outpost-pull.toml"), record).unwrap();
    let seen = dir.path().join("seen.json");
    let verify = || Package::open(dir.path()).unwrap().verify(&seen, false, &mut |_, _| {});
    assert_eq!(verify().unwrap().hashed, 3);
    let mut data = fs::read(dir.path().join("model.onnx.data")).unwrap();
    data[70_000] ^= 1;
    fs::write(dir.path().join("model.onnx.data"), &data).unwrap();
    let error = verify().unwrap_err();
    assert!(matches!(error, PackageError::Digest { .. }), "{error}");
    data.pop();
    fs::write(dir.path().join("model.onnx.data"), &data).unwrap();
    assert!(matches!(Package::open(dir.path()).unwrap_err(), PackageError::Size { .. }));
}
