//! `outpost doctor`: what is sound is said to be, and each thing that is not comes with one thing to do.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    harness::{Daemon, binary, cached},
    tools::package,
};

struct Said {
    code: Option<i32>,
    findings: Vec<Value>,
    text: String,
}

impl Said {
    fn of(&self, what: &str) -> (&str, &str, &str) {
        let all: Vec<_> = self.findings.iter().filter(|finding| finding["what"] == what).collect();
        let [one] = all[..] else { panic!("{} findings about {what}: {:#?}", all.len(), self.findings) };
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        (text("mark"), text("says"), text("fix"))
    }

    #[track_caller]
    fn is(&self, what: &str, mark: &str, says: &str, fix: &str) {
        let found = self.of(what);
        assert_eq!(found.0, mark, "{what}: {found:?}");
        assert!(found.1.contains(says) && found.2.contains(fix), "{what}: {found:?}");
    }
}

/// Runs the doctor with a configuration file, once as text and once as JSON.
fn doctor(dir: &Path, toml: &str, arguments: &[&str]) -> Said {
    let file = dir.join("doctor.toml");
    fs::write(&file, toml).unwrap();
    let run = |json: &[&str]| {
        let mut command = binary();
        command.env("OUTPOST_CONFIG", &file).args(json).arg("doctor").args(arguments);
        command.output().unwrap()
    };
    let (json, text) = (run(&["--json"]), run(&[]));
    assert_eq!(json.status.code(), text.status.code());
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    let findings = document["findings"].as_array().unwrap().clone();
    assert_eq!(document["ok"] == true, json.status.success(), "{document:#}");
    let text = String::from_utf8(text.stdout).unwrap();
    let lines = |finding: &Value| 1 + usize::from(finding["fix"].is_string());
    let expected: usize = findings.iter().map(lines).sum();
    assert_eq!(text.lines().count(), expected, "one line for a finding, one for what to do:\n{text}");
    Said { code: json.status.code(), findings, text }
}

fn toml(dir: &Path, package: &Path, more: &str) -> String {
    let runtime = cached("onnxruntime/libonnxruntime.so");
    format!(
        "[store]\npath = \"{}\"\n[http]\nsocket = \"{}\"\n[runtime]\nonnxruntime = \"{}\"\n[model]\npackage = \"{}\"\n{more}",
        dir.display(),
        dir.join("o.sock").display(),
        runtime.display(),
        package.display()
    )
}

#[test]
fn a_sound_device_is_called_sound_with_and_without_its_daemon() {
    let package = package();
    let daemon = Daemon::start(&[&format!("model.package={}", package.path().display())]);
    let socket = daemon.socket();
    let dir = tempfile::tempdir().unwrap();
    let alone = doctor(dir.path(), &toml(dir.path(), package.path(), ""), &["--verify"]);
    assert_eq!(alone.code, Some(0), "{}", alone.text);
    alone.is("daemon", "attention", "No such file", "systemctl start outpost");
    alone.is("configuration", "good", "", "");
    alone.is("disk", "good", "MB are free", "");
    alone.is("runtime", "good", "ONNX Runtime 1.", "");
    alone.is("model", "good", "up to 512 tokens; nothing vouches", "");
    alone.is("memory", "good", "MB can be had", "");
    alone.is("policy", "good", "nothing leaves", "");

    let with = toml(dir.path(), package.path(), "")
        .replace(&dir.path().join("o.sock").display().to_string(), &socket.display().to_string());
    let with = doctor(dir.path(), &with, &[]);
    with.is("daemon", "good", "it runs and answers", "");
    with.is("memory", "good", "the daemon has the model loaded", "");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_each_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.toml");
    fs::write(&policy, "version = 7\n").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "[store]\npath = \"/nowhere/at/all\"\n[runtime]\nonnxruntime = \"/nowhere/lib.so\"\n[model]\npackage = \"{0}\"\n\
         [mqtt]\nurl = \"mqtt://127.0.0.1:{closed}\"\n[policy]\nfile = \"{1}\"\n[cloud]\ntoken_file = \"/nowhere/token\"\n\
         [engine]\nslot = 3\n",
        dir.path().display(),
        policy.display()
    );
    let said = doctor(dir.path(), &text, &[]);
    assert_eq!(said.code, Some(69), "{}", said.text);
    said.is("configuration", "bad", "no key `engine.slot`", "outpost config check");
    said.is("disk", "bad", "/nowhere/at/all is not there", "create /nowhere/at/all");
    said.is("runtime", "bad", "/nowhere/lib.so", "set `runtime.onnxruntime`");
    said.is("model", "bad", "is not a model package", "fetch or import");
    said.is("broker", "bad", "takes no connection", "`mqtt.url`");
    said.is("policy", "bad", "this Outpost knows 1", "outpost policy check");
    said.is("cloud", "bad", "/nowhere/token", "put the token there");
    assert!(said.text.contains("BAD  model"), "{}", said.text);

    let none = doctor(dir.path(), &format!("[store]\npath = \"{}\"\n", dir.path().display()), &[]);
    none.is("model", "bad", "no package is activated", "outpost models activate");
}

#[test]
fn a_model_that_does_not_fit_is_told_with_figures() {
    let (dir, package) = (tempfile::tempdir().unwrap(), package());
    fs::write(dir.path().join("meminfo"), "MemTotal: 65536 kB\nMemAvailable: 65536 kB\n").unwrap();
    let board =
        format!("[board]\nproc = \"{}\"\n[engine]\ncontext = 512\nslots = 16\n", dir.path().display());
    // 16 slots of 512 tokens, 2 layers, keys and values of 2 heads of 16 numbers of 4 bytes.
    let said = doctor(dir.path(), &toml(dir.path(), package.path(), &board), &[]);
    said.is("memory", "bad", "5 of KV cache, 64 to work with; 67 MB can be had", "`engine.slots`");
    // The daemon says the same, and loads it only when it is told to.
    let package = format!("model.package={}", package.path().display());
    let proc = format!("board.proc={}", dir.path().display());
    let runtime = format!("runtime.onnxruntime={}", cached("onnxruntime/libonnxruntime.so").display());
    let settings = [package, proc, runtime, "engine.context=512".into(), "engine.slots=16".into()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::start_without_model("", &settings);
    let failed = daemon.status_when("the model is refused", |status| status["state"] == "failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("5 of KV cache") && reason.contains("67 MB can be had"), "{reason}");
    let other = Daemon::start_without_model("", &[&settings[..], &["engine.check_memory=false"]].concat());
    other.status_when("it is loaded all the same", |status| status["state"] == "ready");
    // Somebody gives memory back.
    fs::write(dir.path().join("meminfo"), "MemTotal: 655360 kB\nMemAvailable: 655360 kB\n").unwrap();
    daemon.status_when("it fits now, and is loaded", |status| status["state"] == "ready");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn providers_are_tried_and_what_they_take_is_told() {
    let (dir, package) = (tempfile::tempdir().unwrap(), package());
    let plugin = format!(
        "providers = [\"nxrt\", \"cpu\"]\n[[provider]]\nname = \"nxrt\"\nlibrary = \"{}\"\n",
        cached("plugins/libnxrt.so").display()
    );
    let text = toml(dir.path(), package.path(), &plugin);
    doctor(dir.path(), &text, &[]).is("provider", "good", "`nxrt` runs the model and takes 1 of", "");
    doctor(dir.path(), &text, &["--quick"]).is("provider", "good", "was not tried", "");
    let missing = text.replace("\"nxrt\", \"cpu\"", "\"xnnpack\", \"cpu\"");
    doctor(dir.path(), &missing, &[]).is(
        "provider",
        "attention",
        "this build of ONNX Runtime",
        "take `xnnpack` out",
    );
}
