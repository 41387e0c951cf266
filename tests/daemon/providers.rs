//! Execution providers that compute, and those that do not: real plug-ins, real builds without one, a library that
//! crashes, an accelerator that goes wrong while it serves.
#![cfg(target_arch = "x86_64")]

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    harness::{Daemon, cached, prompt, until, with},
    tools::package,
};

/// `[[provider]]` of a plug-in that `make plugins` provides.
fn plugin(name: &str, file: &str) -> String {
    let library = cached(&format!("plugins/{file}"));
    format!("[[provider]]\nname = \"{name}\"\nlibrary = \"{}\"\n", library.display())
}

fn start(toml: &str, package: &Path, providers: &str) -> Daemon {
    let package = format!("model.package={}", package.display());
    Daemon::start_with(toml, &[&package, &format!("model.providers={providers}"), "engine.threads=1"])
}

/// Why a provider was passed over; the model answers on the processor all the same.
fn passed_over(toml: &str, package: &Path, provider: &str) -> String {
    let daemon = start(toml, package, &format!("[\"{provider}\", \"cpu\"]"));
    let status = daemon.status();
    assert_eq!(status["model"]["provider"], "cpu", "{status}");
    let passed = &status["model"]["passed_over"][0];
    assert_eq!(passed["provider"], provider, "{status}");
    let reason = passed["reason"].as_str().unwrap().to_owned();
    assert!(status["reason"].as_str().unwrap().contains(&reason), "{status}");
    assert!(daemon.log().contains("execution provider"), "{}", daemon.log());
    let answer = daemon.chat(&with(prompt("Go!", 4), json!({"ignore_eos": true}))).good();
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    reason
}

#[track_caller]
fn says(reason: &str, words: &[&str]) {
    for word in words {
        assert!(reason.contains(word), "`{word}` is not in: {reason}");
    }
}

#[test]
fn a_plug_in_computes_and_the_status_says_how_much_of_the_graph_it_took() {
    let package = package();
    let plain = start("", package.path(), "[\"cpu\"]");
    let daemon = start(&plugin("nxrt", "libnxrt.so"), package.path(), "[\"nxrt\", \"cpu\"]");
    let model = &daemon.status()["model"];
    assert_eq!(
        (&model["provider"], model["passed_over"].as_array().unwrap().len()),
        (&json!("nxrt"), 0),
        "{model}"
    );
    assert!(model["nodes"]["cpu_ep"].as_u64().unwrap() > 0, "{model}");
    assert!(daemon.status()["reason"].is_null());
    assert_eq!(plain.status()["model"]["nodes"], Value::Null);
    for extra in [json!({}), json!({"tools": [{"type": "function", "function": {"name": "go"}}]})] {
        let body = with(prompt("Go!", 12), extra);
        let [here, there] = [&plain, &daemon].map(|d| d.chat(&body).good()["choices"][0].clone());
        let content =
            |choice: &Value| (choice["message"]["content"].clone(), choice["finish_reason"].clone());
        assert_eq!(content(&here), content(&there), "the same tokens");
    }
}

#[test]
fn a_provider_that_does_nothing_is_not_called_running() {
    let optimum = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts/optimum");
    let reason = passed_over(&plugin("nxrt", "libnxrt.so"), &optimum, "nxrt");
    says(&reason, &["takes none of the graph's", "the processor would do all the work"]);
}

#[test]
fn a_provider_that_is_not_there_is_passed_over_with_what_to_do() {
    let package = package();
    says(&passed_over("", package.path(), "xnnpack"), &["this build of ONNX Runtime", "runtime.onnxruntime"]);
    says(&passed_over("", package.path(), "nnapi"), &["Android", "name another"]);
    let none = "[[provider]]\nname = \"npu\"\nlibrary = \"/nowhere/libnpu.so\"\n";
    says(&passed_over(none, package.path(), "npu"), &["/nowhere/libnpu.so is not there"]);
}

#[test]
fn a_plug_in_without_a_device_and_one_that_refuses_are_told_apart() {
    let package = package();
    let without = passed_over(&plugin("webgpu", "libwebgpu.so"), package.path(), "webgpu");
    says(&without, &["is loaded and shows no device", "driver"]);
    // Under such a name it shows a device that cannot compute.
    let refuses = passed_over(&plugin("webgpu.virtual", "libwebgpu.so"), package.path(), "webgpu.virtual");
    says(&refuses, &["virtual GPU device"]);
    let npu = format!("{}device = \"npu\"\n", plugin("nxrt", "libnxrt.so"));
    says(&passed_over(&npu, package.path(), "nxrt"), &["shows no npu device"]);
}

#[test]
fn a_plug_in_that_crashes_takes_nobody_along() {
    let package = package();
    let dir = tempfile::tempdir().unwrap();
    let crash = |name: &str, statement: &str| {
        let (source, library) = (dir.path().join("crash.c"), dir.path().join(name));
        let text = format!(
            "#include <stdlib.h>\n#include <stdio.h>\n\
             __attribute__((constructor)) static void begin(void) {{ fputs(\"no such chip\\n\", stderr); {statement} }}\n"
        );
        fs::write(&source, text).unwrap();
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(made.unwrap().success(), "cc");
        format!("[[provider]]\nname = \"broken\"\nlibrary = \"{}\"\n", library.display())
    };
    let abort = crash("abort.so", "abort();");
    says(
        &passed_over(&abort, package.path(), "broken"),
        &["it crashed (signal 6)", "last words: no such chip"],
    );
    let exit = crash("exit.so", "_Exit(0);");
    says(&passed_over(&exit, package.path(), "broken"), &["it ended the process (status 0)", "no such chip"]);
}

#[test]
fn a_plug_in_that_talks_and_does_not_end_is_waited_for_no_longer_than_for_its_answer() {
    let (package, dir) = (package(), tempfile::tempdir().unwrap());
    let (source, library) = (dir.path().join("talks.c"), dir.path().join("talks.so"));
    // The real plug-in behind one that prints where the answer is expected, and sleeps when a trial is over.
    let real = cached("plugins/libnxrt.so");
    let text = format!(
        r#"#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
typedef void *any;
static any real(const char *name) {{ return dlsym(dlopen("{}", RTLD_NOW), name); }}
__attribute__((constructor)) static void begin(void) {{ puts("{{}}\nhello"); fflush(stdout); }}
__attribute__((destructor)) static void end(void) {{
    char line[4096] = {{0}};
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t n = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (memmem(line, n, "probe", 5)) for (;;) pause();
}}
any CreateEpFactories(any a, any b, any c, any d, size_t e, any f) {{
    return ((any (*)(any, any, any, any, size_t, any)) real("CreateEpFactories"))(a, b, c, d, e, f);
}}
any ReleaseEpFactory(any a) {{ return ((any (*)(any)) real("ReleaseEpFactory"))(a); }}
"#,
        real.display()
    );
    fs::write(&source, text).unwrap();
    let made = Command::new("cc")
        .args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(made.unwrap().success(), "cc");
    let toml = format!("[[provider]]\nname = \"talks\"\nlibrary = \"{}\"\n", library.display());
    let daemon = start(&toml, package.path(), "[\"talks\", \"cpu\"]");
    assert_eq!(daemon.status()["model"]["provider"], "talks", "{}", daemon.status());
}

#[test]
fn without_a_provider_that_runs_every_reason_is_given() {
    let package = package();
    let settings = [
        format!("runtime.onnxruntime={}", cached("onnxruntime/libonnxruntime.so").display()),
        format!("model.package={}", package.path().display()),
        "model.providers=[\"xnnpack\", \"nnapi\"]".into(),
    ];
    let daemon = Daemon::start_without_model("", &settings.each_ref().map(String::as_str));
    let status = daemon.status_when("the model has failed", |status| status["state"] == "failed");
    says(status["reason"].as_str().unwrap(), &["no execution provider", "`xnnpack`:", "`nnapi`:", "Android"]);
    let refused = daemon.chat(&prompt("Go!", 4));
    assert_eq!(refused.error().1, "model_loading");
}

/// A package of ours with a variant for the plug-in, which goes wrong while it serves, and one for the processor.
fn spoiled(how: &str) -> tempfile::TempDir {
    let dir = package();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files = String::new();
    for name in [how, "sound"] {
        let graph = fs::read(golden.join(format!("scripted-{name}.onnx"))).unwrap();
        let sha256 = outpost::domain::hex(&Sha256::digest(&graph));
        let entry = [
            format!("path = \"{name}.onnx\""),
            format!("bytes = {}", graph.len()),
            format!("sha256 = \"{sha256}\""),
        ];
        files.extend(["[[file]]\n", &entry.join("\n"), "\n"]);
        fs::write(dir.path().join(format!("{name}.onnx")), graph).unwrap();
    }
    let variant = |graph: &str, provider: &str| {
        format!(
            "[[variant]]\ngraph = \"{graph}.onnx\"\nproviders = [\"{provider}\"]\nkv = \"f32\"\nweights = \"f32\"\nblock = 0\n"
        )
    };
    // [/INST] calls `go`: tokens and logit of the script.
    let manifest = format!(
        "format = 1\nname = \"scripted\"\nversion = \"1\"\narchitecture = \"script\"\nlicence = \"Apache-2.0\"\n\
         context = 512\nvocabulary = 320\neos = [2]\nbos = 1\n\
         cache = {{ layers = 2, heads = 2, head_width = 16 }}\n\
         source = {{ file = \"none\", sha256 = \"\", quantization = \"F32\", made_by = \"test\" }}\n\
         self_test = {{ prompt = [1, 4], tokens = [9, 139, 147], first_logit = 20.0, tolerance = 0.1 }}\n{}{}{files}",
        variant(how, "nxrt"),
        variant("sound", "cpu"),
    );
    fs::write(dir.path().join("outpost-model.toml"), manifest).unwrap();
    dir
}

#[test]
fn an_accelerator_that_goes_wrong_while_it_serves_loses_its_place_and_no_request() {
    let same = "`nxrt`: it gave every token the same logit while it served";
    for (how, reason) in [("fading", same), ("failing", "`nxrt`: ONNX Runtime: ")] {
        let package = spoiled(how);
        let daemon = start(&plugin("nxrt", "libnxrt.so"), package.path(), "[\"nxrt\", \"cpu\"]");
        assert_eq!(daemon.status()["model"]["provider"], "nxrt");
        let short = daemon.chat(&prompt("Go!", 4)).good();
        assert_eq!(short["choices"][0]["message"]["content"], "go", "{short}");
        // This one goes beyond the place where it goes wrong.
        let long = with(prompt("Go!", 60), json!({"ignore_eos": true}));
        let accepted = daemon.post("/v1/requests", &with(long.clone(), json!({"outpost": {"id": "long"}})));
        assert_eq!(accepted.head.status, 202);
        let kept = until("it has its final", || {
            let answer = daemon.get("/v1/requests/long");
            (answer.head.status == 200)
                .then(|| answer.json())
                .filter(|json| json["object"] == "chat.completion")
        });
        assert_eq!(kept["usage"]["completion_tokens"], 60, "{how}: {kept}");
        let status = daemon.status();
        let found = (&status["model"]["provider"], &status["engine"]["restarts"]);
        assert_eq!(found, (&json!("cpu"), &json!(1)), "{how}: {status}");
        says(status["reason"].as_str().unwrap(), &[reason, "while it served"]);
        assert_eq!(daemon.chat(&long).good()["usage"]["completion_tokens"], 60);
    }
}
