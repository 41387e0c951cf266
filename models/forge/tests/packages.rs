//! Packages made of a tiny model: every combination runs, repeats itself byte for byte, and
//! appears whole or not at all.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;
#[path = "common/tiny.rs"]
#[allow(dead_code, unreachable_pub, reason = "used in part")]
mod tiny;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use outpost::model::{KvType, Manifest};
use outpost_forge::{
    Error,
    eval::{self, Windows},
    gguf::Format,
    import::{self, Options},
    progress::Silent,
    recipe::Weights,
    runtime::Model,
};
use tiny::File;

fn source(home: &Path, file: &File) -> PathBuf {
    let path = home.join("tiny.gguf");
    fs::write(&path, file.bytes()).unwrap();
    path
}

fn options(source: &Path, destination: &Path, weights: Weights, kv: KvType, block: usize) -> Options {
    common::load_runtime();
    let context = Some(128);
    let options = common::options(destination, weights, kv, block);
    Options { source: source.to_owned(), context, ..options }
}

fn logits(dir: &Path, manifest: &Manifest, tokens: &[u32]) -> Vec<f32> {
    let graph = dir.join("model.onnx");
    let kv = manifest.variants[0].kv;
    let mut model = Model::open(&graph, manifest.cache, kv, manifest.vocabulary);
    model.reset(tokens.len());
    // Two steps, so that the second reads the cache.
    let (first, second) = tokens.split_at(tokens.len() / 2);
    let mut logits = Vec::new();
    for part in [first, second] {
        let rows: Vec<usize> = (0..part.len()).collect();
        logits.extend(model.step(part, &rows).unwrap().logits);
    }
    logits
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let length = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>().sqrt();
    let difference: Vec<f32> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    length(&difference) / length(b)
}

#[test]
fn every_combination_computes_about_the_same() {
    let home = tempfile::tempdir().unwrap();
    let source = source(home.path(), &tiny::model());
    let tokens = [256, 72, 101, 108, 108, 111];
    let reference = home.path().join("reference");
    let manifest =
        import::import(&options(&source, &reference, Weights::F32, KvType::F32, 32), &Silent).unwrap();
    let wanted = logits(&reference, &manifest, &tokens);
    for (weights, zero_points, kv, bound) in [
        (Weights::F32, false, KvType::F16, 0.01),
        (Weights::F32, false, KvType::Int8, 0.05),
        (Weights::Int8, false, KvType::F32, 0.05),
        (Weights::Int8, false, KvType::Int8, 0.08),
        (Weights::Mixed, false, KvType::Int8, 0.4),
        (Weights::Int4, false, KvType::F32, 0.4),
        (Weights::Int4, true, KvType::F32, 0.4),
    ] {
        let dir = home.path().join(format!("{}-{zero_points}-{}", weights.name(), kv.name()));
        let options = Options { zero_points, ..options(&source, &dir, weights, kv, 64) };
        let manifest = import::import(&options, &Silent).unwrap();
        let found = distance(&logits(&dir, &manifest, &tokens), &wanted);
        assert!(found < bound, "{} {}: {found}", weights.name(), kv.name());
        assert!(found > 0.0, "{} {} is not another package", weights.name(), kv.name());
    }
}

#[test]
fn the_daemon_reads_the_package_and_its_digests_are_right() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("tiny");
    let source =
        source(home.path(), &tiny::model().set("tokenizer.chat_template", tiny::V::Text("{{ messages }}")));
    let made = import::import(&options(&source, &dir, Weights::Int8, KvType::Int8, 32), &Silent).unwrap();
    let text = fs::read_to_string(dir.join("outpost-model.toml")).unwrap();
    let manifest = Manifest::parse(&text).unwrap();
    assert_eq!(manifest, made);
    assert_eq!((manifest.eos.as_slice(), manifest.bos, manifest.context), ([257].as_slice(), None, 128));
    let mut listed: Vec<_> = manifest.files.iter().map(|f| f.path.as_str()).collect();
    listed.push("outpost-model.toml");
    let mut found: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    listed.sort_unstable();
    found.sort();
    assert_eq!(listed, found);
    assert_eq!(fs::read_to_string(dir.join("chat_template.jinja")).unwrap(), "{{ messages }}");
    let tokenizer = tokenizers::Tokenizer::from_file(dir.join("tokenizer.json")).unwrap();
    let ids = tokenizer.encode("the</s>", false).unwrap().get_ids().to_vec();
    assert_eq!(ids, [259, 257]);
}

#[test]
fn the_same_file_gives_the_same_package() {
    let home = tempfile::tempdir().unwrap();
    let source = source(home.path(), &tiny::model());
    let make = |name: &str| {
        let dir = home.path().join(name);
        let manifest =
            import::import(&options(&source, &dir, Weights::Mixed, KvType::Int8, 64), &Silent).unwrap();
        (manifest.files, manifest.self_test)
    };
    assert_eq!(make("one"), make("two"));
}

/// Stores every matrix as `format` with arbitrary codes and small scales.
fn requantised(format: (u32, Format), mut file: File) -> File {
    let (block, size) = format.1.block();
    for tensor in file.tensors.iter_mut().filter(|t| t.dimensions.len() == 2) {
        let blocks = tensor.dimensions.iter().product::<u64>() as usize / block;
        tensor.code = format.0;
        tensor.bytes = (0..blocks)
            .flat_map(|b| {
                let mut bytes: Vec<u8> = (0..size).map(|i| ((b * 131 + i * 29) % 253) as u8).collect();
                bytes[..2].copy_from_slice(&half::f16::from_f32(0.01 + (b % 7) as f32 / 500.0).to_le_bytes());
                bytes
            })
            .collect();
    }
    file
}

/// Float weights against codes: products of 8-bit activations are the only difference.
#[test]
fn q4_0_and_q8_0_are_repacked_without_loss() {
    for (format, weights) in [((2, Format::Q4_0), Weights::Int4), ((8, Format::Q8_0), Weights::Int8)] {
        let home = tempfile::tempdir().unwrap();
        let source = source(home.path(), &requantised(format, tiny::model()));
        let [exact, packed] = [Weights::F32, weights].map(|weights| {
            let dir = home.path().join(weights.name());
            let manifest =
                import::import(&options(&source, &dir, weights, KvType::F32, 32), &Silent).unwrap();
            logits(&dir, &manifest, &[256, 84, 104, 105, 115])
        });
        let found = distance(&packed, &exact);
        assert!(found < 0.03, "{}: {found}", format.1.name());
    }
}

#[test]
fn a_name_cannot_leave_its_place() {
    let home = tempfile::tempdir().unwrap();
    let source = source(home.path(), &tiny::model());
    for name in ["../evil", "a/b", "", ".hidden", "a b"] {
        let mut options = options(&source, &home.path().join("out"), Weights::Int8, KvType::F32, 32);
        options.name = Some(name.into());
        let error = import::import(&options, &Silent).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{name}: {error}");
    }
    assert!(!home.path().join("out").exists());
}

#[test]
fn eval_gives_a_source_and_its_float_package_the_same_number() {
    let home = tempfile::tempdir().unwrap();
    let source = source(home.path(), &tiny::model());
    let text = home.path().join("text.txt");
    fs::write(&text, "the cat and the dog and the bird ".repeat(20)).unwrap();
    let dir = home.path().join("f32");
    import::import(&options(&source, &dir, Weights::F32, KvType::F32, 32), &Silent).unwrap();
    let windows = Windows { count: 3, tokens: 100 };
    let of = |path: &Path| eval::eval(path, &text, windows, &Silent).unwrap();
    let (package, file) = (of(&dir), of(&source));
    assert_eq!((package.tokens, package.windows), (297, 3));
    assert!((package.perplexity / file.perplexity - 1.0).abs() < 1e-6);
    let long = Windows { count: 1, tokens: 500 };
    assert!(matches!(eval::eval(&dir, &text, long, &Silent), Err(Error::Usage(_))), "beyond the context");
}

fn forge(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outpost-forge"))
        .args(arguments)
        .env("ORT_DYLIB_PATH", common::cached("onnxruntime/libonnxruntime.so"))
        .output()
        .unwrap()
}

#[test]
fn exit_codes_tell_usage_data_and_absence_apart() {
    let home = tempfile::tempdir().unwrap();
    let good = source(home.path(), &tiny::model());
    let bad = home.path().join("bad.gguf");
    fs::write(&bad, "no model").unwrap();
    let out = home.path().join("out");
    let [good, bad, out] = [&good, &bad, &out].map(|p| p.to_str().unwrap());
    let code = |arguments: &[&str]| forge(arguments).status.code();
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["import", good]), Some(64));
    assert_eq!(code(&["import", good, "--out", out, "--block", "48"]), Some(64));
    assert_eq!(code(&["import", bad, "--out", out]), Some(65));
    assert_eq!(code(&["import", "/nowhere.gguf", "--out", out]), Some(69));
    assert_eq!(code(&["import", good, "--out", out, "--runtime", "/nowhere.so"]), Some(69));
    assert_eq!(code(&["import", good, "--out", out, "--context", "100000"]), Some(64));
    assert!(!Path::new(out).exists());
    assert_eq!(code(&["import", good, "--out", out, "--kv", "f32"]), Some(0));
    assert_eq!(code(&["import", good, "--out", out]), Some(64), "exists already");
    assert_eq!(code(&["import", good, "--out", out, "--force"]), Some(0));
    let report = forge(&["inspect", good, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((report["formats"].as_str(), report["obstacle"].is_null()), (Some("F32"), true));
}

/// Killed at many moments, an import leaves the old package or the new one, never a mixture.
#[test]
fn a_killed_import_leaves_no_half_package() {
    let home = tempfile::tempdir().unwrap();
    let good = source(home.path(), &tiny::model());
    let out = home.path().join("out");
    for milliseconds in [5, 30, 60, 90, 120, 150, 200, 300, 500] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_outpost-forge"))
            .args([
                "import",
                good.to_str().unwrap(),
                "--out",
                out.to_str().unwrap(),
                "--force",
                "--weights",
                "int8",
            ])
            .env("ORT_DYLIB_PATH", common::cached("onnxruntime/libonnxruntime.so"))
            .spawn()
            .unwrap();
        // The moment of the kill is what varies; nothing is waited for.
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        if out.exists() {
            let manifest =
                Manifest::parse(&fs::read_to_string(out.join("outpost-model.toml")).unwrap()).unwrap();
            for file in &manifest.files {
                let (bytes, sha256) = outpost_forge::package::digest(&out.join(&file.path), &Silent).unwrap();
                assert_eq!((bytes, &sha256), (file.bytes, &file.sha256), "{}", file.path);
            }
        }
    }
    let last = forge(&["import", good.to_str().unwrap(), "--out", out.to_str().unwrap(), "--force"]);
    assert!(last.status.success());
    let mut names: Vec<_> =
        fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["out", "tiny.gguf"], "leftovers are swept");
}

#[test]
fn the_real_tokenizer_gives_the_published_tokens() {
    common::load_runtime();
    let gguf = outpost_forge::gguf::Gguf::open(&common::source()).unwrap();
    let tokenizer = outpost_forge::tokenizer::build(&gguf, 49_152, 8192).unwrap();
    let reference =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/reference/smollm2-f32-logits.json");
    let reference: serde_json::Value = serde_json::from_str(&fs::read_to_string(reference).unwrap()).unwrap();
    for prompt in reference["prompts"].as_array().unwrap() {
        let ids = tokenizer.model.encode(prompt["text"].as_str().unwrap(), false).unwrap().get_ids().to_vec();
        let wanted: Vec<u32> = serde_json::from_value(prompt["tokens"].clone()).unwrap();
        assert_eq!(ids, wanted, "{}", prompt["name"]);
    }
    let text = "Grüße, 世界! \u{1f980}  1234.5 kWh\n\ttabs\r\n";
    let ids = tokenizer.model.encode(text, false).unwrap().get_ids().to_vec();
    assert_eq!(tokenizer.model.decode(&ids, false).unwrap(), text);
}

#[test]
fn what_cannot_be_calibrated_or_tested_is_refused_before_the_work() {
    let home = tempfile::tempdir().unwrap();
    let source = source(home.path(), &tiny::model());
    let sample = home.path().join("sample.txt");
    fs::write(&sample, "").unwrap();
    let into = |name: &str| home.path().join(name);
    let empty = Options {
        sample: Some(sample),
        ..options(&source, &into("empty"), Weights::Mixed, KvType::Int8, 32)
    };
    let error = import::import(&empty, &Silent).unwrap_err();
    assert!(matches!(&error, Error::Usage(why) if why.contains("the sample has 0 tokens")), "{error}");
    for context in [0, 24] {
        let short = options(&source, &into("short"), Weights::F32, KvType::F32, 32);
        let error = import::import(&Options { context: Some(context), ..short }, &Silent).unwrap_err();
        assert!(matches!(&error, Error::Usage(why) if why.contains("the self-test alone takes")), "{error}");
    }
    assert!(!into("empty").exists() && !into("short").exists());
}
