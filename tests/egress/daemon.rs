//! The daemon under test, without a model: whatever is answered is answered elsewhere.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{allow::own_uid, audit::Audit, hf::TOKEN};

pub(crate) struct Daemon {
    child: Child,
    dir: TempDir,
}

impl Daemon {
    /// `class`: what the operator says of the client's data. `prefer`: how a provider is chosen.
    pub(crate) fn start(policy: &str, class: Option<&str>, prefer: &str, base_url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let class = class.map(|class| format!("data_class = {class:?}\n")).unwrap_or_default();
        let config = write(
            "outpost.toml",
            &format!(
                "[http]\nsocket = '{}'\n[store]\npath = '{}'\n[cloud]\nbase_url = '{base_url}'\ntoken_file = '{}'\n\
                 model = 'org/small'\nprefer = '{prefer}'\n[policy]\nfile = '{}'\n\
                 [[client]]\nname = \"me\"\nuid = {}\n{class}",
                dir.path().join("o.sock").display(),
                dir.path().join("state").display(),
                write("token", TOKEN).display(),
                write("policy.toml", policy).display(),
                own_uid(),
            ),
        );
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = binary();
        command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let daemon = Self { child: command.spawn().unwrap(), dir };
        let deadline = Instant::now() + Duration::from_mins(1);
        while UnixStream::connect(daemon.socket()).is_err() {
            assert!(Instant::now() < deadline, "it does not listen:\n{}", daemon.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("o.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: o\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let _ = stream.shutdown(Shutdown::Both);
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// The answer; of a stream a document that says that it is one.
    pub(crate) fn chat(&self, body: &str) -> Value {
        let answer = self.ask("POST", "/v1/chat/completions", body);
        serde_json::from_str(&answer).unwrap_or_else(|_| serde_json::json!({"stream": answer}))
    }

    /// The audit from its first row, whole.
    pub(crate) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        loop {
            let page = self.ask("GET", &format!("/v1/audit?after={}", audit.rows.len()), "");
            if audit.take(&serde_json::from_str(&page).unwrap()) {
                return audit;
            }
        }
    }

    /// What `outpost policy explain` says of a request at one provider, and at this worst price.
    pub(crate) fn explain(&self, body: &str, provider: &str, worst_micro_usd: u64) -> Value {
        let request = self.dir.path().join("request.json");
        fs::write(&request, body).unwrap();
        let out = binary()
            .arg("--json")
            .arg("--config")
            .arg(self.dir.path().join("outpost.toml"))
            .args(["policy", "explain", "--client", "me", "--model", "org/small", "--provider", provider])
            .args(["--lane", "interactive", "--uid", &own_uid().to_string()])
            .args(["--worst-usd", &format!("{:.6}", worst_micro_usd as f64 / 1e6)])
            .arg(request)
            .output()
            .unwrap();
        let said = serde_json::from_slice::<Value>(&out.stdout);
        let said = said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        said["providers"][0].clone()
    }
}

/// The binary under test. What the person who runs this has configured is not for it.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outpost"));
    for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("OUTPOST_")) {
        command.env_remove(key);
    }
    command
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}
