//! `outpost doctor`: looks at everything that an answer needs, and says what to do about each thing that is missing.
//!
//! It needs no daemon: what a running one knows better (broker, zones) is asked of it, the
//! rest is looked at here. Nothing is changed.

mod model;
mod network;
mod place;

use std::fmt;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Exit, Failure, Global,
    client::{self, Daemon},
    out,
};

#[derive(Clone, Debug, Args)]
pub(super) struct DoctorArgs {
    /// Read every file of the package and hold it against its digest, which takes seconds per gigabyte
    #[arg(long)]
    verify: bool,
    /// Do not try execution providers, which takes as long as loading the model on each
    #[arg(long)]
    quick: bool,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Good,
    /// It works, but not as somebody may wish.
    Attention,
    /// Something will not work.
    Bad,
}

/// What was found about one thing.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    what: &'static str,
    mark: Mark,
    says: String,
    /// What to do, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn good(what: &'static str, says: impl Into<String>) -> Self {
        Self { what, mark: Mark::Good, says: says.into(), fix: None }
    }

    fn attention(what: &'static str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what, mark: Mark::Attention, says: says.into(), fix: Some(fix.into()) }
    }

    fn bad(what: &'static str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what, mark: Mark::Bad, says: says.into(), fix: Some(fix.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Good => "ok  ",
            Mark::Attention => "look",
            Mark::Bad => "BAD ",
        };
        // One line, whatever a library had to say.
        let says: Vec<&str> = self.says.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        write!(f, "{mark} {:<14} {}", self.what, says.join("; "))?;
        self.fix.as_ref().map_or(Ok(()), |fix| write!(f, "\n     {:<14} → {fix}", ""))
    }
}

pub(super) fn run(global: &Global, args: &DoctorArgs) -> Result<(), Failure> {
    let mut show = Show { json: global.json, all: Vec::new() };
    let layered = global.layered();
    let problems = global.configuration().err();
    show.take(match problems {
        None => Finding::good("configuration", "every key is known and sound"),
        Some(problems) => Finding::bad(
            "configuration",
            problems.words().unwrap_or_default(),
            "`outpost config check` shows each with its place; the daemon does not start before they are mended",
        ),
    })?;
    let config = &layered.config;
    // A daemon that does not answer is a finding of its own, not an error of this command.
    let status = Daemon::of(global).and_then(|daemon| client::block_on(daemon.get("/v1/status")));
    show.take(network::daemon(config, status.as_ref()))?;
    let status = status.ok();
    let (findings, room) = place::look(config);
    for finding in findings {
        show.take(finding)?;
    }
    let board = model::Board { status: status.as_ref(), room };
    model::look(config, args, &board, &mut |finding| show.take(finding))?;
    for finding in network::look(config, status.as_ref()) {
        show.take(finding)?;
    }
    show.end()
}

/// Prints as it goes: some things take their time.
struct Show {
    json: bool,
    all: Vec<Finding>,
}

impl Show {
    fn take(&mut self, finding: Finding) -> Result<(), Failure> {
        if !self.json {
            out::line(&finding)?;
        }
        self.all.push(finding);
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        let bad = self.all.iter().filter(|finding| finding.mark == Mark::Bad).count();
        if self.json {
            let findings: Value = json!(self.all);
            out::json(&json!({"ok": bad == 0, "findings": findings}))?;
        }
        if bad == 0 {
            return Ok(());
        }
        let things = if bad == 1 { "one thing keeps".to_owned() } else { format!("{bad} things keep") };
        Err(Failure::new(Exit::Unavailable, format!("{things} Outpost from working")))
    }
}
