//! A real mosquitto on loopback, with its state in a directory of its own, ended by its pid.

#![allow(dead_code, reason = "not every test crate uses all of it")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// For anything that is going to happen; a test that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A broker; dropping it ends it. A test that fails shows its log.
pub(crate) struct Broker {
    dir: TempDir,
    port: u16,
    lines: String,
    child: Option<Child>,
    keeper: Option<Child>,
}

impl Broker {
    /// With these lines of configuration behind the usual ones. `{dir}` in them is the directory
    /// of its state. It takes anybody unless a line with `allow_anonymous` says otherwise, and
    /// writes every change to disk soon after it; [`Broker::save`] before [`Broker::kill9`] makes sure.
    pub(crate) fn start(lines: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), lines)
    }

    /// With files that lie in `dir` already.
    pub(crate) fn start_in(dir: TempDir, lines: &str) -> Self {
        let mut broker = Self { dir, port: 0, lines: lines.into(), child: None, keeper: None };
        for _ in 0..10 {
            broker.port = free_port();
            if broker.run() {
                return broker;
            }
        }
        panic!("mosquitto does not start:\n{}", broker.log());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Power cut.
    pub(crate) fn kill9(&mut self) {
        self.end(Signal::KILL);
    }

    /// The orderly end: its state is saved.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// On the same port, with the state that was saved. It must have ended before.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        assert!(self.run(), "mosquitto does not start again:\n{}", self.log());
    }

    /// It is there and does nothing, as when its machine hangs.
    pub(crate) fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).expect("it runs");
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("it runs");
    }

    /// Writes its state to disk now; by itself it does so after it has acknowledged, not before.
    pub(crate) fn save(&self) {
        let saved = || self.log().matches("Saving in-memory database").count();
        let before = saved();
        let deadline = Instant::now() + DEADLINE;
        // It says that it begins to save, not that it is done: that it begins again says both.
        // A signal that comes while it saves is forgotten, hence more than one.
        while saved() < before + 2 {
            assert!(Instant::now() < deadline, "mosquitto does not save:\n{}", self.log());
            kill_process(self.pid(), Signal::USR1).expect("it runs");
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn end(&mut self, signal: Signal) {
        let pid = self.pid();
        self.dismiss_keeper();
        kill_process(pid, signal).expect("it runs");
        self.child.take().expect("it runs").wait().expect("it ends");
    }

    fn dismiss_keeper(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
    }

    /// A process that outlives these tests for as long as it takes to end the broker: when they
    /// are killed, and when a broker that all share is left over, the pipe to it closes.
    fn keep(&self, child: &Child) -> Child {
        let script = "read -r _; kill -KILL \"$0\"; rm -rf \"$1\"";
        let mut keeper = Command::new("sh");
        keeper.arg("-c").arg(script).arg(child.id().to_string()).arg(self.dir.path());
        keeper.stdin(Stdio::piped()).spawn().expect("sh starts")
    }

    /// Whether it listens; `false` when it ended at once, as when somebody else took the port.
    fn run(&mut self) -> bool {
        let config = self.write_config();
        let mut child = Command::new(installed("mosquitto"))
            .arg("-c")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto starts");
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if child.try_wait().expect("its state").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "mosquitto does not listen:\n{}", self.log());
            thread::park_timeout(Duration::from_millis(5));
        }
        self.keeper = Some(self.keep(&child));
        self.child = Some(child);
        true
    }

    fn write_config(&self) -> PathBuf {
        let dir = self.dir.path().display().to_string();
        let anonymous = if self.lines.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        // `user`: started by root it would become another user, who cannot read the directory.
        let config = format!(
            "user root\npersistence true\npersistence_location {dir}/\nautosave_interval 1\n\
             autosave_on_changes true\nlog_dest file {dir}/log\nlog_type all\n\
             listener {} 127.0.0.1\n{anonymous}{}\n",
            self.port,
            self.lines.replace("{dir}", &dir)
        );
        let path = self.dir.path().join("mosquitto.conf");
        fs::write(&path, config).expect("a file");
        path
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.dismiss_keeper();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("--- mosquitto's log\n{}---", self.log());
        }
    }
}

/// Path of a program of mosquitto's; Debian has the broker where users do not look.
pub(crate) fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/opt/homebrew/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!("`{program}` is not installed, and this test needs it: apt install mosquitto mosquitto-clients")
        })
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}
