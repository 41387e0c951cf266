//! The client's process: `tests/python/crash_client.py`.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use crate::{node, tally::Tally};

pub(crate) const NAME: &str = "plc-7";
/// Requests that are without a final at any time.
const OUTSTANDING: usize = 8;

pub(crate) struct Client {
    child: Child,
    commands: ChildStdin,
    tally: Arc<Mutex<Tally>>,
    reader: Option<JoinHandle<()>>,
}

impl Client {
    pub(crate) fn start(port: u16, node: &str, seed: u64) -> Self {
        let mut command = Command::new(node::python());
        command.arg("-B").arg("crash_client.py").args([
            &port.to_string(),
            node,
            NAME,
            &seed.to_string(),
            &OUTSTANDING.to_string(),
        ]);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let tally = Arc::new(Mutex::new(Tally::default()));
        let book = Arc::clone(&tally);
        let reader = std::thread::spawn(move || {
            for line in lines {
                let line = line.unwrap();
                let event = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                book.lock().unwrap().hear(&event);
            }
        });
        Self { child, commands, tally, reader: Some(reader) }
    }

    /// Tells it that the broker was killed: what is without a final for so long it sends again.
    pub(crate) fn at_risk(&mut self, patience: Duration) {
        self.say(&format!("risk {}", patience.as_secs_f64()));
    }

    pub(crate) fn no_more(&mut self) {
        self.say("stop");
    }

    /// What it has seen so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Requests that have a final.
    pub(crate) fn answered(&self) -> usize {
        self.tally.lock().unwrap().answered()
    }

    /// Ends it and waits until everything that it said is counted.
    pub(crate) fn end(mut self) -> Tally {
        self.say("end");
        assert!(self.child.wait().unwrap().success(), "the client failed");
        self.reader.take().unwrap().join().unwrap();
        self.tally()
    }

    fn say(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("the client runs");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
