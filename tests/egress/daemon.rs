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

pub(crate) struct Daemon {
    child: Child,
    dir: TempDir,
}

impl Daemon {
    pub(crate) fn start(policy: &str, token: &str, base_url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let uid = rustix::process::getuid().as_raw();
        let config = write(
            "outpost.toml",
            &format!(
                "[http]\nsocket = '{}'\n[store]\npath = '{}'\n[cloud]\nbase_url = '{base_url}'\ntoken_file = '{}'\n\
                 [policy]\nfile = '{}'\n[[client]]\nname = \"me\"\nuid = {uid}\ndata_class = \"public\"\n",
                dir.path().join("o.sock").display(),
                dir.path().join("state").display(),
                write("token", token).display(),
                write("policy.toml", policy).display(),
            ),
        );
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_outpost"));
        for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("OUTPOST_")) {
            command.env_remove(key);
        }
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
    pub(crate) fn chat(&self, body: &Value) -> Value {
        let answer = self.ask("POST", "/v1/chat/completions", &body.to_string());
        serde_json::from_str(&answer).unwrap_or_else(|_| serde_json::json!({"stream": answer}))
    }

    /// SHA-256 of everything that the audit says was sent.
    pub(crate) fn sent_digests(&self) -> Vec<String> {
        let rows: Value = serde_json::from_str(&self.ask("GET", "/v1/audit", "")).unwrap();
        let lines = rows["data"].as_array().unwrap().iter();
        let lines = lines.map(|row| serde_json::from_str::<Value>(row["line"].as_str().unwrap()).unwrap());
        lines
            .filter(|line| line["event"] == "sent")
            .map(|line| line["sha256"].as_str().unwrap().to_owned())
            .collect()
    }
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
