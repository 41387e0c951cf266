//! A provider is tried in a process of its own first: one that crashes takes nobody along.
//!
//! The daemon starts itself once more (`outpost probe`), hands it the question as JSON on
//! its standard input and reads one line of JSON back. The child loads the package on the
//! provider and runs its self-test, with ONNX Runtime's log at the level that tells which
//! nodes went where. No line means that it died: how, its exit status says.

use std::{
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
};

use serde::{Deserialize, Serialize};

use super::{GraphOptions, Placement, Provider, load, provider::Watch, runtime::load_runtime};
use crate::{domain::limits, model::Package};

/// What is to be tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// `runtime.onnxruntime`.
    pub runtime: Option<PathBuf>,
    /// Directory of the package.
    pub package: PathBuf,
    /// On what.
    pub provider: Provider,
    /// Tokens of one slot.
    pub context: usize,
    /// Threads of one run.
    pub threads: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Runs(Placement),
    Refused(String),
}

/// Answers a question, in the child. The answer is one line.
pub fn answer_probe(question: &str) -> String {
    let verdict = match serde_json::from_str::<ProbeRequest>(question) {
        Ok(request) => try_here(&request).map_or_else(Verdict::Refused, Verdict::Runs),
        Err(error) => Verdict::Refused(format!("the question is not understood: {error}")),
    };
    serde_json::to_string(&verdict).unwrap_or_default()
}

fn try_here(request: &ProbeRequest) -> Result<Placement, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    load_runtime(request.runtime.as_deref(), Some(&request.package)).map_err(|e| text(&e))?;
    let package = Package::open(&request.package).map_err(|e| text(&e))?;
    let sizes = GraphOptions { slots: 1, context: request.context, threads: request.threads };
    let watch = Watch::default();
    load::open_on(&package, &request.provider, &sizes, Some(&watch), &mut || {}).map_err(|e| text(&e))?;
    Ok(watch.placement())
}

/// Tries a provider in a process of `program`: where the graph's nodes went, or why it is of no use.
pub fn try_provider(program: &Path, request: &ProbeRequest) -> Result<Placement, String> {
    let placement = ask(program, request)?;
    if placement.taken() == 0 {
        let nodes = placement.total();
        return Err(format!(
            "it takes none of the graph's {nodes} nodes: the processor would do all the work"
        ));
    }
    Ok(placement)
}

fn ask(program: &Path, request: &ProbeRequest) -> Result<Placement, String> {
    let mut child = start(program, request)?;
    let (sender, receiver) = mpsc::channel();
    let (mut out, mut errors) = (child.stdout.take(), child.stderr.take());
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.as_mut().map(|out| out.take(limits::PROBE_ANSWER_BYTES_MAX).read_to_string(&mut text));
        let _ = sender.send(text);
    });
    let said = std::thread::spawn(move || errors.as_mut().map(last_words).unwrap_or_default());
    let answer = receiver.recv_timeout(limits::PROBE_DEADLINE);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| format!("it cannot be waited for: {e}"))?;
    let (_, said) = (reader.join(), said.join().unwrap_or_default());
    let Ok(answer) = answer else {
        let minutes = limits::PROBE_DEADLINE.as_secs() / 60;
        return Err(format!("it was not done with loading the model after {minutes} minutes"));
    };
    match serde_json::from_str(answer.trim()) {
        Ok(Verdict::Runs(placement)) => Ok(placement),
        Ok(Verdict::Refused(reason)) => Err(reason),
        Err(_) => Err(died(status, &said)),
    }
}

fn start(program: &Path, request: &ProbeRequest) -> Result<Child, String> {
    let failed = |e: &dyn std::fmt::Display| format!("it cannot be tried: {}: {e}", program.display());
    let question = serde_json::to_vec(request).map_err(|e| failed(&e))?;
    let mut command = Command::new(program);
    command.arg("probe").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed(&e))?;
    // A child that dies before it has read everything says so by its end.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&question));
    Ok(child)
}

/// The last line that is not empty: what a library said before it died.
fn last_words(from: &mut std::process::ChildStderr) -> String {
    let (mut tail, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        tail.extend_from_slice(&chunk[..n]);
        let excess = tail.len().saturating_sub(limits::PROBE_WORDS_BYTES_MAX);
        tail.drain(..excess);
    }
    let text = String::from_utf8_lossy(&tail);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

fn died(status: ExitStatus, said: &str) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("it crashed (signal {signal}) while it loaded the model"),
        (None, Some(code)) => format!("it ended the process (status {code}) while it loaded the model"),
        (None, None) => "it died while it loaded the model".to_owned(),
    };
    if said.is_empty() { how } else { format!("{how}; its last words: {said}") }
}
