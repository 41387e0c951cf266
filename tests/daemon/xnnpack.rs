//! XNNPACK at work: an ONNX Runtime that has it, in a Debian system of its own (`make test-xnnpack`).

use std::{path::Path, thread};

use serde_json::{Value, json};

use crate::harness::{Daemon, binary, cached, prompt, with};

/// In Debian's `libonnxruntime1.23`.
const LIBRARY: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/libonnxruntime.so.1.23", "/usr/lib/aarch64-linux-gnu/libonnxruntime.so.1.23"];

fn start(package: &Path, providers: &str) -> Daemon {
    let library = LIBRARY.iter().find(|path| Path::new(path).exists());
    let library = library.expect("Debian's library: `make test-xnnpack` runs this where it is");
    let toml = format!("[model]\nproviders = {providers}\n");
    let settings = [
        format!("runtime.onnxruntime={library}"),
        format!("model.package={}", package.display()),
        "engine.context=512".into(),
        "engine.slots=2".into(),
        "engine.threads=2".into(),
    ];
    Daemon::start_with(&toml, &settings.each_ref().map(String::as_str))
}

fn texts(daemon: &Daemon) -> Vec<String> {
    let questions = [
        "What is the capital of France?",
        "Name three fruits.",
        "Write one sentence about the sea, and one about a mountain that is higher than all the others around it.",
    ];
    let ask = |question: &str| {
        let body = with(prompt(question, 40), json!({"temperature": 0}));
        let answer = daemon.chat(&body).good();
        answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    // Two run at once, the third waits for one of them.
    thread::scope(|scope| {
        let asked = questions.map(|question| scope.spawn(move || ask(question)));
        asked.map(|answer| answer.join().unwrap()).into()
    })
}

#[test]
#[ignore = "make test-xnnpack"]
fn xnnpack_computes_what_the_processor_computes() {
    let package = cached("xnnpack/smollm2");
    let wanted = texts(&start(&package, "[\"cpu\"]"));

    let daemon = start(&package, "[\"xnnpack\", \"cpu\"]");
    let model = &daemon.status()["model"];
    println!("{}: nodes {}, passed over {}", model["provider"], model["nodes"], model["passed_over"]);
    assert_eq!((&model["provider"], &model["passed_over"]), (&json!("xnnpack"), &json!([])), "{model}");
    // 30 layers of four products and a softmax, and the output: once for prompts, once for answers.
    assert_eq!(model["nodes"]["XnnpackExecutionProvider"], json!(2 * (30 * 5 + 1)), "{model}");
    let found = texts(&daemon);
    println!("{found:#?}");
    assert_eq!(found, wanted);
}

#[test]
#[ignore = "make test-xnnpack"]
fn options_of_xnnpack_come_from_the_configuration() {
    let package = cached("xnnpack/smollm2");
    let library = LIBRARY.iter().find(|path| Path::new(path).exists()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let doctor = |options: &str| -> Value {
        let file = home.path().join("outpost.toml");
        let text = format!(
            "[store]\npath = \"{}\"\n[runtime]\nonnxruntime = \"{library}\"\n[engine]\ncontext = 256\n\
             [model]\npackage = \"{}\"\nproviders = [\"xnnpack\", \"cpu\"]\n\
             [[provider]]\nname = \"xnnpack\"\noptions = {{ {options} }}\n",
            home.path().display(),
            package.display(),
        );
        std::fs::write(&file, text).unwrap();
        let output = binary().args(["doctor", "--json", "--config"]).arg(&file).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let provider = |report: &Value| {
        let all = report["findings"].as_array().unwrap();
        all.iter().find(|check| check["what"] == "provider").unwrap_or_else(|| panic!("{report}")).clone()
    };
    let sound = provider(&doctor("intra_op_num_threads = \"1\""));
    println!("{sound}");
    assert!(sound["says"].as_str().unwrap().contains("`xnnpack` runs the model and takes 302 of"), "{sound}");
    let wrong = provider(&doctor("intra_op_num_threads = \"several\""));
    println!("{wrong}");
    let says = wrong["says"].as_str().unwrap();
    assert!(says.contains("does not start with its options intra_op_num_threads = \"several\""), "{wrong}");
    assert_ne!(wrong["mark"], sound["mark"], "{wrong}");
}
