//! `outpost audit show`, `outpost audit verify` and `outpost audit export`
//!
//! The chain is checked here, from the rows themselves: the daemon is not asked whether it is sound.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Exit, Failure, Global,
    client::{self, Daemon},
    out,
};
use crate::{
    domain::{hex, unhex},
    store::{AuditHead, AuditRow, verify},
};

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show what has left the device, and what was not let out
    Show {
        /// So many of the newest rows
        #[arg(long, default_value_t = 20)]
        last: u64,
    },
    /// Check that no row was changed, dropped, inserted or put in another place
    Verify(VerifyArgs),
    /// Print every row with its hash, to be kept elsewhere
    Export,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A file that `outpost audit export` wrote, instead of what the daemon has
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A place that is known from elsewhere, such as the status that the broker kept: `NUMBER:HASH`
    #[arg(long, value_name = "NUMBER:HASH", value_parser = place)]
    head: Option<AuditHead>,
}

fn place(text: &str) -> Result<AuditHead, String> {
    let expected = || "expected NUMBER:HASH, the hash in 64 hexadecimal digits".to_owned();
    let (seq, hash) = text.split_once(':').ok_or_else(expected)?;
    let seq = seq.parse().map_err(|_| expected())?;
    Ok(AuditHead { seq, hash: unhex(hash).ok_or_else(expected)? })
}

pub(super) fn run(global: &Global, command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Show { last } => show(global, *last),
        AuditCommand::Verify(args) => check(global, args),
        AuditCommand::Export => export(global),
    }
}

/// A portion of the chain.
struct Page {
    start: AuditHead,
    head: AuditHead,
    rows: Vec<AuditRow>,
}

fn page(daemon: &Daemon, after: u64) -> Result<Page, Failure> {
    let document = client::block_on(daemon.get(&format!("/v1/audit?after={after}")))?;
    let wrong = || Failure::new(Exit::Bug, "the daemon's answer is no part of an audit");
    let head = |value: &Value| {
        let hash = value["hash"].as_str().and_then(unhex)?;
        Some(AuditHead { seq: value["seq"].as_u64()?, hash })
    };
    let row = |value: &Value| {
        let AuditHead { seq, hash } = head(value)?;
        Some(AuditRow { seq, hash, line: value["line"].as_str()?.to_owned() })
    };
    let rows: Option<Vec<AuditRow>> =
        document["data"].as_array().and_then(|rows| rows.iter().map(row).collect());
    Ok(Page {
        start: head(&document["start"]).ok_or_else(wrong)?,
        head: head(&document["head"]).ok_or_else(wrong)?,
        rows: rows.ok_or_else(wrong)?,
    })
}

fn show(global: &Global, last: u64) -> Result<(), Failure> {
    let daemon = Daemon::of(global)?;
    let head = page(&daemon, u64::MAX)?.head;
    let mut after = head.seq.saturating_sub(last);
    let mut lines: Vec<Value> = Vec::new();
    loop {
        let page = page(&daemon, after)?;
        let Some(newest) = page.rows.last() else { break };
        after = newest.seq;
        lines.extend(page.rows.iter().filter_map(|row| serde_json::from_str(&row.line).ok()));
    }
    if global.json {
        return Ok(out::json(&json!({"head": head_json(head), "rows": lines}))?);
    }
    if lines.is_empty() {
        out::note("Nothing has left the device, and nothing was kept from leaving.");
    }
    for line in lines {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| line[key].as_u64().unwrap_or_default();
        let when = jiff::Timestamp::from_second(line["wall"].as_i64().unwrap_or_default())
            .map_or_else(|_| "?".to_owned(), |t| t.to_string());
        let to = [text("zone"), text("provider")]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        let rule = Some(text("rule")).filter(|r| !r.is_empty()).unwrap_or_else(|| "no rule".into());
        out::line(format_args!(
            "{:>6} {when} {:<7} {}/{} {to} ({rule}) {} bytes {}",
            number("seq"),
            text("event"),
            text("client"),
            text("request"),
            number("bytes_out"),
            text("reason"),
        ))?;
    }
    Ok(())
}

fn head_json(head: AuditHead) -> Value {
    json!({"seq": head.seq, "hash": hex(&head.hash)})
}

/// What a check goes through: the chain's places, one after the other.
struct Check<'a> {
    /// Before the first row that is kept.
    start: AuditHead,
    at: AuditHead,
    rows: u64,
    known: Option<&'a AuditHead>,
    /// The known place was met.
    met: bool,
}

impl Check<'_> {
    fn go(&mut self, rows: &[AuditRow]) -> Result<(), Failure> {
        let broken = |words: String| Failure::new(Exit::BadData, words);
        self.at = verify(self.at, rows).map_err(|e| broken(format!("the chain is broken at {e}")))?;
        self.rows += rows.len() as u64;
        let known =
            self.known.and_then(|known| rows.iter().find(|row| row.seq == known.seq).map(|row| (known, row)));
        match known {
            Some((known, row)) if row.hash != known.hash => {
                Err(broken(format!("row {} is not the one whose hash is known from elsewhere", known.seq)))
            }
            found => {
                self.met |= found.is_some();
                Ok(())
            }
        }
    }

    fn end(self, global: &Global) -> Result<(), Failure> {
        if let Some(known) = self.known.filter(|known| known.seq < self.start.seq) {
            let words = format!(
                "the chain is whole from row {} on, and row {} is older than what is kept: whether it was as you know it \
                 cannot be told any more; export the audit in time (outpost audit export)",
                self.start.seq + 1,
                known.seq
            );
            return Err(Failure::new(Exit::Unavailable, words));
        }
        if let Some(known) = self.known.filter(|known| !self.met && **known != self.at) {
            let words = format!(
                "the chain holds rows up to {}, and row {} is not among them",
                self.at.seq, known.seq
            );
            return Err(Failure::new(Exit::BadData, words));
        }
        if global.json {
            return Ok(out::json(&json!({"ok": true, "rows": self.rows, "head": head_json(self.at)}))?);
        }
        out::line(format_args!("{} rows, each as it was written. The last place is", self.rows))?;
        Ok(out::line(self.at)?)
    }
}

fn check(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    let begin = |start| Check { start, at: start, rows: 0, known: args.head.as_ref(), met: false };
    if let Some(file) = &args.file {
        let (start, rows) = read(file)?;
        let mut check = begin(start);
        check.go(&rows)?;
        return check.end(global);
    }
    let daemon = Daemon::of(global)?;
    let first = page(&daemon, 0)?;
    let mut check = begin(first.start);
    let (mut rows, head) = (first.rows, first.head);
    while !rows.is_empty() {
        check.go(&rows)?;
        rows = page(&daemon, check.at.seq)?.rows;
    }
    if check.at.seq < head.seq {
        let words = format!("rows behind {} are missing: the daemon speaks of {}", check.at.seq, head.seq);
        return Err(Failure::new(Exit::BadData, words));
    }
    check.end(global)
}

/// The first line of an export, before the place at which it begins.
const HEADER: &str = "# outpost audit behind ";

fn export(global: &Global) -> Result<(), Failure> {
    let daemon = Daemon::of(global)?;
    let first = page(&daemon, 0)?;
    out::line(format_args!("{HEADER}{}", first.start))?;
    let mut rows = first.rows;
    while let Some(last) = rows.last().map(|row| row.seq) {
        for row in &rows {
            out::line(format_args!("{} {}", hex(&row.hash), row.line))?;
        }
        rows = page(&daemon, last)?.rows;
    }
    Ok(())
}

/// An export: the place at which it begins, and its rows.
fn read(path: &Path) -> Result<(AuditHead, Vec<AuditRow>), Failure> {
    let wrong =
        |line: usize, why: &str| Failure::new(Exit::BadData, format!("{}:{line}: {why}", path.display()));
    let file =
        File::open(path).map_err(|e| Failure::new(Exit::BadData, format!("{}: {e}", path.display())))?;
    let mut lines = BufReader::new(file).lines();
    let header = lines.next().transpose().map_err(|e| wrong(1, &e.to_string()))?.unwrap_or_default();
    let start = header.strip_prefix(HEADER).ok_or_else(|| wrong(1, "this is no export of an audit"))?;
    let start = place(start).map_err(|e| wrong(1, &e))?;
    let mut rows = Vec::new();
    for (n, line) in lines.enumerate() {
        let line = line.map_err(|e| wrong(n + 2, &e.to_string()))?;
        let row = line.split_once(' ').and_then(|(hash, line)| {
            let seq = serde_json::from_str::<Value>(line).ok()?["seq"].as_u64()?;
            Some(AuditRow { seq, hash: unhex(hash)?, line: line.to_owned() })
        });
        rows.push(row.ok_or_else(|| wrong(n + 2, "this is no row of an audit"))?);
    }
    Ok((start, rows))
}
