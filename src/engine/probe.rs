//! A provider is tried in a process of its own first: one that crashes takes nobody along.
//!
//! The daemon starts itself once more (`outpost probe`), hands it the question as JSON on
//! its standard input and reads a line of JSON back. The child loads the package on the
//! provider and runs its self-test, with ONNX Runtime's log at the level that tells which
//! nodes went where. For the processor, which needs no trial, it packs the weights. No answer means that it died: how, its exit status says.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
};

use serde::{Deserialize, Serialize};

use super::{
    GraphOptions, Placement, Prepared, Provider,
    open::{Opening, variant_for},
    runtime::load_runtime,
};
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
    /// Where is kept what is made of the model; `None`: nowhere.
    pub prepared: Option<Prepared>,
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
    let runtime = load_runtime(request.runtime.as_deref(), Some(&request.package)).map_err(|e| text(&e))?;
    let package = Package::open(&request.package).map_err(|e| text(&e))?;
    let sizes = GraphOptions { slots: 1, context: request.context, threads: request.threads };
    let variant = variant_for(&package, &request.provider).map_err(|e| text(&e))?;
    let opening =
        Opening { package: &package, variant, provider: &request.provider, runtime: &runtime, sizes: &sizes };
    let prepared = request.prepared.as_ref();
    if request.provider.is_cpu() {
        return opening.pack(prepared).map(|()| Placement::default());
    }
    opening.compiled_now(prepared).map_err(|e| text(&e))
}

/// Packs the weights for the processor in a process of `program`: what that took of memory, it gives back at its end.
pub(super) fn pack(program: &Path, request: &ProbeRequest) -> Result<(), String> {
    ask(program, request).map(drop)
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
    let verdict = hear(child.stdout.take(), verdict);
    let words = hear(child.stderr.take(), last_words);
    let heard = verdict.recv_timeout(limits::PROBE_DEADLINE);
    // What it does behind its answer, or without one for so long, is of no interest.
    if !matches!(heard, Ok(None)) {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| format!("it cannot be waited for: {e}"))?;
    match heard {
        Ok(Some(Verdict::Runs(placement))) => Ok(placement),
        Ok(Some(Verdict::Refused(reason))) => Err(reason),
        Ok(None) => Err(died(status, &words.recv_timeout(limits::PROBE_WORDS_WAIT).unwrap_or_default())),
        Err(_) => {
            let minutes = limits::PROBE_DEADLINE.as_secs() / 60;
            Err(format!("it was not done with loading the model after {minutes} minutes"))
        }
    }
}

/// What `read` makes of a stream. Nobody waits for the thread: a child's own children can keep the stream open.
fn hear<R: Read + Send + 'static, T: Send + 'static>(from: Option<R>, read: fn(R) -> T) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || from.map(|from| sender.send(read(from))));
    receiver
}

/// The first line that is an answer: libraries print what they like.
fn verdict(from: ChildStdout) -> Option<Verdict> {
    let lines = BufReader::new(from.take(limits::PROBE_ANSWER_BYTES_MAX)).split(b'\n');
    lines.map_while(Result::ok).find_map(|line| serde_json::from_slice(&line).ok())
}

fn start(program: &Path, request: &ProbeRequest) -> Result<Child, String> {
    let failed = |e: &dyn std::fmt::Display| format!("it cannot be tried: {}: {e}", program.display());
    let question = serde_json::to_vec(request).map_err(|e| failed(&e))?;
    let mut command = Command::new(program);
    // systemd hears of the daemon alone.
    command.env_remove("NOTIFY_SOCKET");
    command.arg("probe").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed(&e))?;
    // A child that dies before it has read everything says so by its end.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&question));
    Ok(child)
}

/// The last line that is not empty: what a library said before it died.
fn last_words(mut from: ChildStderr) -> String {
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
