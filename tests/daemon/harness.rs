//! Daemons to test: started in a directory of their own, waited for, ended by their pid.
//!
//! - [`shared`] serves every test that only asks and looks at the answer.
//! - [`alone`] is for one test at a time, with one slot: what its status says is that test's doing.
//! - [`Daemon::start`] is for tests that need their own settings or end their daemon.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Connection, Stream};

/// For anything that is going to happen; a test that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The binary under test.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outpost"));
    // What the person who runs the tests has configured is not for them.
    for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("OUTPOST_")) {
        command.env_remove(key);
    }
    command.env("OUTPOST_CONFIG", "/dev/null");
    command
}

/// A file that `make runtime model site` provides.
pub(crate) fn cached(name: &str) -> PathBuf {
    let cache = std::env::var_os("OUTPOST_TEST_CACHE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"), PathBuf::from);
    let path = cache.join(name);
    assert!(path.exists(), "{} is not there: run `make runtime model site` first", path.display());
    path
}

/// The interpreter of `make test`, with the clients of `tests/python`.
pub(crate) fn python() -> PathBuf {
    let python = std::env::var_os("OUTPOST_TEST_PYTHON")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/clients/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is not there: run `make test`, or set OUTPOST_TEST_PYTHON to an interpreter with \
         tests/python/requirements.txt installed",
        python.display()
    );
    python
}

/// Looks until `look` finds something; fails with `what` when the deadline has passed.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "after {DEADLINE:?} still waiting until {what}");
        // Only between two looks: leaves the processor to the one that is waited for.
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Answers with 200 once the model is there.
const READY: &str = "/health/ready";

/// Its configuration file, in its directory, when it has one.
const FILE: &str = "outpost.toml";

/// A running daemon; dropping it ends it.
pub(crate) struct Daemon {
    child: Child,
    keeper: Child,
    dir: TempDir,
    settings: Vec<String>,
}

/// The daemon's process, and one that outlives these tests for as long as it takes to end it:
/// when they are killed, and when a daemon that all share is left over, the pipe to it closes.
fn launch(dir: &Path, settings: &[String]) -> (Child, Child) {
    let mut command = binary();
    command.arg("serve").arg("--socket").arg(dir.join("o.sock"));
    command.arg("--set").arg(format!("store.path={}", dir.join("state").display()));
    if dir.join(FILE).exists() {
        command.arg("--config").arg(dir.join(FILE));
    }
    for setting in settings {
        // What begins like a flag is one.
        if !setting.starts_with("--") {
            command.arg("--set");
        }
        command.arg(setting);
    }
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let script = "read -r _; kill -KILL \"$0\"; rm -rf \"$1\"";
    let arguments: [OsString; 2] = [child.id().to_string().into(), dir.into()];
    let keeper = Command::new("sh").arg("-c").arg(script).args(arguments).stdin(Stdio::piped()).spawn();
    (child, keeper.unwrap())
}

impl Daemon {
    /// Starts a daemon with the model and `section.key=value` settings; it is ready.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_with("", settings)
    }

    /// The same with a configuration file, for what has no place in settings: lists.
    pub(crate) fn start_with(file: &str, settings: &[&str]) -> Self {
        let model = format!("model.package={}", cached("models/smollm2-135m-instruct").display());
        let runtime = format!("runtime.onnxruntime={}", cached("onnxruntime/libonnxruntime.so").display());
        // One thread and short contexts: several daemons run beside each other here.
        let base = [&model, &runtime, "engine.threads=1", "engine.context=1024"];
        let mut daemon = Self::spawn_with(file, &[&base, settings].concat());
        daemon.ready();
        daemon
    }

    /// The same without a model; it is there.
    pub(crate) fn start_without_model(file: &str, settings: &[&str]) -> Self {
        let mut daemon = Self::spawn_with(file, settings);
        daemon.until_status("/health/live", 200);
        daemon
    }

    /// Starts it again, after its end, where it was and with the same settings; it is ready.
    pub(crate) fn restart(&mut self) {
        self.launch_again();
        let path =
            if self.settings.iter().any(|s| s.starts_with("model.package")) { READY } else { "/health/live" };
        self.until_status(path, 200);
    }

    /// The same for one that will not be ready: it listens.
    pub(crate) fn restart_unready(&mut self) {
        self.launch_again();
        until("it listens", || UnixStream::connect(self.socket()).ok().map(drop));
    }

    fn launch_again(&mut self) {
        self.ended();
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        (self.child, self.keeper) = launch(self.dir.path(), &self.settings);
    }

    fn ready(&mut self) {
        self.until_status(READY, 200);
    }

    fn until_status(&mut self, path: &str, status: u16) {
        until("the daemon answers", || {
            if let Some(ended) = self.child.try_wait().unwrap() {
                panic!("the daemon ended with {ended}:\n{}", self.log());
            }
            let mut connection = Connection::new(Stream::Unix(UnixStream::connect(self.socket()).ok()?));
            connection.send(format!("GET {path} HTTP/1.1\r\nhost: o\r\n\r\n").as_bytes()).ok()?;
            (connection.answer().status == status).then_some(())
        });
    }

    /// Starts a daemon with nothing but these settings; it may not live long.
    pub(crate) fn spawn(settings: &[&str]) -> Self {
        Self::spawn_with("", settings)
    }

    fn spawn_with(file: &str, settings: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        if !file.is_empty() {
            fs::write(dir.path().join(FILE), file).unwrap();
        }
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let (child, keeper) = launch(dir.path(), &settings);
        Self { child, keeper, dir, settings }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("o.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::new(Stream::Unix(UnixStream::connect(self.socket()).unwrap()))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.connect().ask("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.connect().ask("POST", path, Some(body))
    }

    pub(crate) fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body)
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/v1/status").json()
    }

    /// Looks at the status until it is as wanted.
    pub(crate) fn status_when(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.status()).filter(&wanted))
    }

    /// Waits until nothing runs or waits.
    pub(crate) fn idle(&self) -> Value {
        self.status_when("nothing runs", |s| s["engine"]["running"] == 0 && s["in_flight"] == 0)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Lets it read everything again that it reads at SIGHUP, and waits until it has.
    pub(crate) fn reload(&self) {
        let times = || self.log().matches("SIGHUP: everything was read").count();
        let before = times();
        self.signal(Signal::HUP);
        until("it has read everything again", || (times() > before).then_some(()));
    }

    /// Waits for the end of the process.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the daemon has ended", || self.child.try_wait().unwrap())
    }

    /// Files and sockets that it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Memory that it holds and that is not a file's, KiB.
    pub(crate) fn anonymous_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("the daemon's log:\n{}", self.log());
        }
    }
}

/// One daemon for every test that only asks. Answers of several tests share its batches.
pub(crate) fn shared() -> &'static Daemon {
    static SHARED: OnceLock<Daemon> = OnceLock::new();
    SHARED.get_or_init(|| Daemon::start(&["engine.slots=4"]))
}

/// One daemon with one slot, idle, for one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, Daemon> {
    static ALONE: OnceLock<Mutex<Daemon>> = OnceLock::new();
    let daemon = ALONE
        .get_or_init(|| Mutex::new(Daemon::start(&["engine.slots=1", "service.queued_per_client_max=32"])));
    let daemon = daemon.lock().unwrap_or_else(PoisonError::into_inner);
    daemon.idle();
    daemon
}

/// A greedy chat of one message.
pub(crate) fn prompt(text: &str, max_tokens: usize) -> Value {
    serde_json::json!({
        "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, "temperature": 0,
    })
}

/// An answer that goes on to the end of the context if nobody stops it.
pub(crate) fn endless(stream: bool) -> Value {
    let mut body = prompt("Count from one to ten thousand.", 900);
    body["ignore_eos"] = true.into();
    body["stream"] = stream.into();
    body
}

/// `body` with the fields of `extra`.
pub(crate) fn with(mut body: Value, extra: Value) -> Value {
    let Value::Object(extra) = extra else { panic!("fields are an object") };
    body.as_object_mut().unwrap().extend(extra);
    body
}
