//! A daemon that is to be broken: started in a directory of its own, killed at any moment, started
//! again, ended by its pid. Its READY is the one that systemd would hear.

#![allow(dead_code, reason = "not every test crate uses all of it")]

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// For anything that is going to happen; a test that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Looks until `look` finds something; fails with `what` when the deadline has passed.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, look)
}

/// The same with a deadline of its own.
pub(crate) fn within<T>(patience: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    found_within(patience, look).unwrap_or_else(|| panic!("after {patience:?} still waiting until {what}"))
}

/// The same; `None` when the deadline has passed.
pub(crate) fn found_within<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // Only between two looks: leaves the processor to the one that is waited for.
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// A file that `make runtime model` provides.
fn cached(name: &str) -> PathBuf {
    let cache = std::env::var_os("OUTPOST_TEST_CACHE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"), PathBuf::from);
    let path = cache.join(name);
    assert!(path.exists(), "{} is not there: run `make runtime model` first", path.display());
    path
}

/// Settings that name the model and the runtime.
pub(crate) fn with_model() -> Vec<String> {
    let model = cached("models/smollm2-135m-instruct");
    let runtime = cached("onnxruntime/libonnxruntime.so");
    vec![
        format!("model.package={}", model.display()),
        format!("runtime.onnxruntime={}", runtime.display()),
        "engine.threads=1".into(),
        "engine.context=512".into(),
    ]
}

/// The interpreter that has the clients of `tests/python`.
pub(crate) fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("OUTPOST_TEST_PYTHON")
        .map_or_else(|| root.join(".cache/clients/python"), PathBuf::from);
    assert!(python.exists(), "{} is not there: run `make test`", python.display());
    python
}

/// Ends the thread that hears what a daemon tells systemd.
const GOODBYE: &[u8] = b"GOODBYE";

/// A daemon, running or not. Dropping it ends it.
pub(crate) struct Node {
    child: Option<Child>,
    /// Ends the daemon when these tests are killed: the pipe to it closes then.
    keeper: (Child, ChildStdin),
    /// How often it has said READY.
    readies: Arc<AtomicUsize>,
    dir: TempDir,
    /// What is run in front of the daemon, such as `unshare`; it has to end in `exec "$@"`.
    pub(crate) wrapper: Vec<String>,
    pub(crate) settings: Vec<String>,
}

impl Node {
    /// One that is not started yet.
    pub(crate) fn new(settings: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notices = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let readies = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&readies);
        // Everything is read, as systemd does: what is not read makes the one who says it wait.
        thread::spawn(move || {
            let mut word = [0; 4096];
            while let Ok(n) = notices.recv(&mut word)
                && &word[..n] != GOODBYE
            {
                let said = String::from_utf8_lossy(&word[..n]).into_owned();
                count.fetch_add(usize::from(said.lines().any(|l| l == "READY=1")), Ordering::SeqCst);
            }
        });
        let script = "while read -r pid; do last=$pid; done; kill -KILL \"$last\"; rm -rf \"$0\"";
        let mut keeper = Command::new("sh");
        keeper.arg("-c").arg(script).arg(dir.path()).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().unwrap();
        let pipe = keeper.stdin.take().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let settings = settings.to_vec();
        Self { child: None, keeper: (keeper, pipe), readies, dir, wrapper: Vec::new(), settings }
    }

    /// Starts it and comes back at once.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        let mut words: Vec<OsString> = self.wrapper.iter().map(Into::into).collect();
        words.extend([env!("CARGO_BIN_EXE_outpost").into(), "serve".into(), "--socket".into()]);
        words.push(self.socket().into());
        let path = format!("store.path={}", self.state().display());
        for setting in [&path].into_iter().chain(&self.settings) {
            words.extend(["--set".into(), setting.into()]);
        }
        let mut command = Command::new(&words[0]);
        // What the person who runs the tests has configured is not for it.
        for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("OUTPOST_")) {
            command.env_remove(key);
        }
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        command.env("OUTPOST_CONFIG", "/dev/null").env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        writeln!(self.keeper.1, "{}", child.id()).unwrap();
        self.child = Some(child);
    }

    /// Starts it and waits for READY; how long that took.
    pub(crate) fn start(&mut self) -> Duration {
        let (began, before) = (Instant::now(), self.readies.load(Ordering::SeqCst));
        self.launch();
        until("the daemon says READY", || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            (self.readies.load(Ordering::SeqCst) > before).then_some(())
        });
        began.elapsed()
    }

    /// Waits until the model answers.
    pub(crate) fn ready(&self) {
        until("the model answers", || (self.get("/health/ready")?.0 == 200).then_some(()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it was started"))
    }

    /// Power cut, as far as the process is concerned. Whether there was a process to kill.
    pub(crate) fn kill(&mut self) -> bool {
        let mut child = self.child.take().expect("it was started");
        let alive = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        alive
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = until("the daemon has ended", || self.child.as_mut().unwrap().try_wait().unwrap());
        self.child = None;
        status
    }

    /// The orderly end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.state().join("outpost.db")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("o.sock")
    }

    /// What it has logged, in all its runs.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Status and body; `None` when nobody answers.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, Value)> {
        self.ask("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, &body.to_string()).expect("an answer")
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: o\r\nconnection: close\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let _ = stream.shutdown(Shutdown::Both);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_default()))
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/v1/status").expect("a status").1
    }

    /// Looks at the status until it is as wanted.
    pub(crate) fn status_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.get("/v1/status").map(|(_, s)| s).filter(|s| wanted(s)))
    }

    /// Whether SQLite finds nothing wrong with the database. The daemon must have ended.
    pub(crate) fn quick_check(&self) -> String {
        let conn = rusqlite::Connection::open(self.database()).unwrap();
        conn.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap_or_else(|e| e.to_string())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.keeper.0.kill();
        let _ = self.keeper.0.wait();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = UnixDatagram::unbound().and_then(|s| s.send_to(GOODBYE, self.dir.path().join("notify")));
        if thread::panicking() {
            println!("--- the daemon's log\n{}---", self.log());
        }
    }
}
