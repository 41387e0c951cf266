//! `outpost policy check`, `outpost policy explain` and `outpost policy test`
//!
//! None of them needs the daemon: what they show is computed by the same code that decides there.

use std::{io, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Exit, Failure, Global,
    explain::{self, ExplainArgs},
    out, refused, show_problems,
};
use crate::{
    config::Config,
    policy::{self, Policy},
};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say everything that is wrong with the policy, with file and line
    Check,
    /// Show what each rule says of a request, and the exact bytes that would leave
    Explain(Box<ExplainArgs>),
    /// Hold the policy against a table of cases
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// File with the cases
    cases: PathBuf,
}

pub(super) fn run(global: &Global, command: &PolicyCommand) -> Result<(), Failure> {
    let config = global.configuration()?;
    match command {
        PolicyCommand::Check => check(global, &config),
        PolicyCommand::Explain(args) => explain::run(global, &config, args),
        PolicyCommand::Test(args) => test(global, &config, args),
    }
}

pub(super) fn load(config: &Config) -> Result<Policy, Failure> {
    let Some(file) = &config.policy.file else { return Ok(Policy::default()) };
    Policy::load(file).map_err(|problems| refused(&problems))
}

fn check(global: &Global, config: &Config) -> Result<(), Failure> {
    let Some(file) = &config.policy.file else {
        let words = "`policy.file` is not set: nothing leaves the device";
        let said = if global.json {
            out::json(&json!({"ok": true, "rules": 0, "problems": [], "note": words}))
        } else {
            out::line(words)
        };
        return Ok(said?);
    };
    let problems = match Policy::load(file) {
        Ok(policy) => {
            let rules = policy.rules().len();
            if global.json {
                return Ok(out::json(&json!({"ok": true, "rules": rules, "problems": []}))?);
            }
            out::line(format_args!("The policy is sound: {rules} rules."))?;
            return Ok(show_providers(&policy)?);
        }
        Err(problems) => problems,
    };
    show_problems(global, &problems)?;
    Err(Failure::new(Exit::Configuration, format!("{} wrong; nothing leaves the device", problems.len())))
}

/// What is known of whom: what is missing counts as the worst.
fn show_providers(policy: &Policy) -> io::Result<()> {
    for name in policy.providers() {
        let facts = policy.facts(name).cloned().unwrap_or_default();
        let text = |value: Option<String>| value.unwrap_or_else(|| "unknown".into());
        out::line(format_args!(
            "{name:<20} keeps for days: {:<8} trains: {:<8} region: {:<8} checked on: {}",
            text(facts.retention_days.map(|n| n.to_string())),
            text(facts.training.map(|t| if t { "yes".into() } else { "no".into() })),
            text(facts.region),
            text(facts.checked_on),
        ))?;
    }
    Ok(())
}

fn test(global: &Global, config: &Config, args: &TestArgs) -> Result<(), Failure> {
    let policy = load(config)?;
    let cases = policy::cases(&args.cases).map_err(|problems| refused(&problems))?;
    let mut failed = 0;
    let mut list = Vec::new();
    for case in &cases {
        let wrong = case.run(&policy);
        failed += usize::from(!wrong.is_empty());
        if global.json {
            list.push(json!({"name": case.name, "line": case.line, "ok": wrong.is_empty(), "wrong": wrong}));
            continue;
        }
        out::line(format_args!("{}  {}", if wrong.is_empty() { "ok  " } else { "FAIL" }, case.name))?;
        for words in wrong {
            out::line(format_args!("      {words} (line {})", case.line))?;
        }
    }
    if global.json {
        out::json(&json!({"ok": failed == 0, "cases": list}))?;
    }
    match failed {
        0 => Ok(()),
        n => Err(Failure::new(
            Exit::BadData,
            format!("{n} of {} cases are not as they should be", cases.len()),
        )),
    }
}
