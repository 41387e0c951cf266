//! Templates and tokenizer agree with transformers, token for token.
//!
//! The expectations are in `tests/data/golden/chat.json`; `tests/golden/make_templates.py`
//! made them and says how. The tokenizer is the demo package's, to which each template's
//! own control tokens are added.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use outpost::{
    domain::{ErrorKind, UnixSeconds},
    model::{
        CacheShape, ChatTemplate, Convention, FileEntry, KvType, MANIFEST_FILE, Manifest, Message, Package,
        Requires, SelfTest, Source, Tokenizer, Variant,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Golden {
    now: i64,
    /// Added tokens by template.
    added: BTreeMap<String, Vec<Value>>,
    /// Begin and end of text by template.
    named: BTreeMap<String, (String, String)>,
    chats: Vec<Chat>,
    encoded: Vec<Text>,
    decoded: Vec<Text>,
}

#[derive(Deserialize)]
struct Chat {
    template: String,
    messages: Vec<Value>,
    tools: Option<Value>,
    prompt: bool,
    rendered: Option<String>,
    ids: Option<Vec<u32>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

fn golden() -> Golden {
    serde_json::from_slice(&read(Path::new("tests/data/golden/chat.json"))).unwrap()
}

fn demo() -> PathBuf {
    let cache = env::var_os("OUTPOST_TEST_CACHE").map_or_else(|| PathBuf::from(".cache"), PathBuf::from);
    cache.join("models/smollm2-135m-instruct")
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path)
        .unwrap_or_else(|error| panic!("{}: {error}. Run `make runtime model` first", path.display()))
}

/// The demo package with `name`'s template and tokens in place of its own.
fn package(golden: &Golden, name: &str, dir: &Path) -> Package {
    let mut tokenizer: Value = serde_json::from_slice(&read(&demo().join("tokenizer.json"))).unwrap();
    let ids = tokenizer["model"]["vocab"].as_object().unwrap().values();
    let size = ids.map(|id| id.as_u64().unwrap()).max().unwrap() + 1;
    let added = golden.added.get(name).map(Vec::as_slice).unwrap_or_default();
    for (id, token) in (size..).zip(added) {
        let mut token = token.clone();
        token["id"] = json!(id);
        token["single_word"] = json!(false);
        token["normalized"] = json!(false);
        tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    }
    let own = ("<|im_start|>".to_owned(), "<|im_end|>".to_owned());
    let (bos, eos) = golden.named.get(name).unwrap_or(&own);
    let template = match name {
        "package" => read(&demo().join("chat_template.jinja")),
        name => read(&Path::new("tests/golden/templates").join(format!("{name}.jinja"))),
    };
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(dir.join("tokenizer_config.json"), json!({"bos_token": bos, "eos_token": eos}).to_string())
        .unwrap();
    fs::write(dir.join("chat_template.jinja"), template).unwrap();
    fs::write(dir.join("model.onnx"), "").unwrap();
    fs::write(dir.join(MANIFEST_FILE), manifest(size as usize + added.len()).to_toml().unwrap()).unwrap();
    Package::open(dir).unwrap()
}

fn manifest(vocabulary: usize) -> Manifest {
    let empty = String::new;
    Manifest {
        format: 1,
        name: "golden".to_owned(),
        version: "1".to_owned(),
        architecture: "llama".to_owned(),
        licence: "Apache-2.0".to_owned(),
        context: 8192,
        vocabulary,
        eos: vec![2],
        bos: None,
        cache: CacheShape { layers: 1, heads: 1, head_width: 1 },
        source: Source { file: empty(), sha256: empty(), quantization: empty(), made_by: empty() },
        self_test: Some(SelfTest { prompt: vec![1], tokens: vec![1], first_logit: 0.0, tolerance: 0.1 }),
        variants: vec![Variant {
            graph: "model.onnx".to_owned(),
            providers: vec!["cpu".to_owned()],
            kv: KvType::F32,
            weights: "f32".to_owned(),
            block: 0,
            requires: Requires::default(),
            shapes: None,
            self_test: None,
            convention: Convention::default(),
        }],
        files: vec![FileEntry { path: "model.onnx".to_owned(), bytes: 0, sha256: "0".repeat(64) }],
    }
}

fn message(json: &Value) -> Message {
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    Message {
        role: text("role").unwrap(),
        content: text("content"),
        name: text("name"),
        tool_calls: json.get("tool_calls").cloned(),
        tool_call_id: text("tool_call_id"),
    }
}

/// What is wrong with our answer to `chat`, if anything.
fn difference(
    chat: &Chat,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    now: UnixSeconds,
) -> Option<String> {
    let messages: Vec<_> = chat.messages.iter().map(message).collect();
    let prompt = match (template.render(&messages, chat.tools.as_ref(), chat.prompt, now), &chat.error) {
        (Err(error), Some(expected)) => {
            let same = error.kind == ErrorKind::InvalidRequest
                && error.param.as_deref() == Some("messages")
                && error.public.contains(expected);
            return (!same).then(|| format!("refused with {error} instead of {expected}"));
        }
        (Ok(prompt), Some(expected)) => {
            return Some(format!("gave {:?} instead of the error {expected}", prompt.text()));
        }
        (Err(error), None) => return Some(format!("refused with {error}")),
        (Ok(prompt), None) => prompt,
    };
    let (rendered, ids) = (chat.rendered.as_deref().unwrap(), chat.ids.as_deref().unwrap());
    if prompt.text() != rendered {
        return Some(format!("gave\n{}\ninstead of\n{rendered}", prompt.text()));
    }
    let ours = tokenizer.encode_prompt(&prompt).unwrap();
    (ours != ids).then(|| format!("gave {ours:?}\ninstead of {ids:?}\nfor {rendered:?}"))
}

#[test]
fn prompts_are_those_of_transformers_token_for_token() {
    let golden = golden();
    assert!(golden.chats.len() >= 300, "only {} cases", golden.chats.len());
    let mut by_template: BTreeMap<&str, Vec<&Chat>> = BTreeMap::new();
    golden.chats.iter().for_each(|chat| by_template.entry(&chat.template).or_default().push(chat));
    let mut wrong = Vec::new();
    for (name, chats) in by_template {
        let dir = tempfile::tempdir().unwrap();
        let package = package(&golden, name, dir.path());
        let tokenizer = Tokenizer::load(&package).unwrap();
        let template = ChatTemplate::load(&package, &tokenizer).unwrap();
        for chat in chats {
            if let Some(difference) = difference(chat, &tokenizer, &template, UnixSeconds(golden.now)) {
                wrong.push(format!("{name}, {}: {difference}", json!(chat.messages)));
            }
        }
    }
    let shown = wrong.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(wrong.is_empty(), "{} of {} differ:\n{shown}", wrong.len(), golden.chats.len());
}

#[test]
fn texts_are_encoded_and_decoded_as_transformers_does() {
    let golden = golden();
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::load(&package(&golden, "package", dir.path())).unwrap();
    for Text { text, ids } in &golden.encoded {
        assert_eq!(&tokenizer.encode_text(text).unwrap(), ids, "{text:?}");
    }
    for Text { text, ids } in &golden.decoded {
        let mut detokenizer = tokenizer.detokenizer();
        let mut ours: String = ids.iter().map(|id| detokenizer.push(*id)).collect();
        ours += &detokenizer.finish();
        assert_eq!(&ours, text, "{ids:?}");
    }
}
