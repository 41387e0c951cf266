//! `outpost usage`: what was asked, of whom, and what it cost.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Failure, Global,
    client::{self, Daemon},
    out,
};
use crate::domain::MicroUsd;

#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// One line for each
    #[arg(long, value_enum, default_value = "provider")]
    by: By,
    /// From this day on, such as 2026-11-01
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// Up to this day
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Provider,
    Model,
    Task,
    Client,
    Day,
    Zone,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    bytes_out: u64,
    cost: MicroUsd,
}

impl Sum {
    fn add(&mut self, row: &Value) {
        let count = |key: &str| row[key].as_u64().unwrap_or(0);
        self.requests += count("requests");
        self.prompt_tokens += count("prompt_tokens");
        self.completion_tokens += count("completion_tokens");
        self.bytes_out += count("bytes_out");
        self.cost = self.cost.plus(MicroUsd(count("cost_micro_usd")));
    }
}

pub(super) fn run(global: &Global, args: &UsageArgs) -> Result<(), Failure> {
    let daemon = Daemon::of(global)?;
    let usage = client::block_on(daemon.get("/v1/usage"))?;
    let rows = usage["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (sums, total) = sums(rows, args);
    if global.json {
        let line = |(name, sum): (&String, &Sum)| {
            json!({
                "name": name, "requests": sum.requests, "prompt_tokens": sum.prompt_tokens,
                "completion_tokens": sum.completion_tokens, "bytes_out": sum.bytes_out, "cost_usd": sum.cost.usd(),
            })
        };
        let lines: Vec<Value> = sums.iter().map(line).collect();
        return Ok(out::json(&json!({"object": "list", "data": lines, "cost_usd": total.cost.usd()}))?);
    }
    if sums.is_empty() {
        out::note("Nothing was answered in these days.");
        return Ok(());
    }
    let width = sums.keys().map(String::len).max().unwrap_or(0).max(8);
    out::line(format_args!(
        "{:<width$} {:>9} {:>12} {:>12} {:>12} {:>13}",
        "", "requests", "prompt tok.", "answer tok.", "bytes out", "cost"
    ))?;
    for (name, sum) in sums.iter().map(|(name, sum)| (name.as_str(), sum)).chain([("all", &total)]) {
        out::line(format_args!(
            "{name:<width$} {:>9} {:>12} {:>12} {:>12} {:>13}",
            sum.requests,
            sum.prompt_tokens,
            sum.completion_tokens,
            sum.bytes_out,
            sum.cost.to_string()
        ))?;
    }
    Ok(())
}

/// The rows of the days that are asked for, summed by name, and all together.
fn sums(rows: &[Value], args: &UsageArgs) -> (BTreeMap<String, Sum>, Sum) {
    let (mut sums, mut total) = (BTreeMap::<String, Sum>::new(), Sum::default());
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        // Days as ISO 8601 writes them are in order as text; the one without a clock belongs to no range.
        let day = text("day");
        if args.from.as_ref().is_some_and(|from| day < *from) || args.to.as_ref().is_some_and(|to| day > *to)
        {
            continue;
        }
        let name = match args.by {
            By::Provider if text("zone") == "device" => "(device)".to_owned(),
            By::Provider => format!("{}:{}", text("zone"), text("provider")),
            By::Model => text("model"),
            By::Client => text("client"),
            By::Zone => text("zone"),
            By::Day if day.is_empty() => "(clock not set)".to_owned(),
            By::Day => day,
            // A task is a client of its own.
            By::Task => match text("client").strip_prefix("task-") {
                Some(task) => task.to_owned(),
                None => continue,
            },
        };
        sums.entry(name).or_default().add(row);
        total.add(row);
    }
    (sums, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(day: &str, client: &str, zone: &str, provider: &str, cost: u64) -> Value {
        json!({
            "day": day, "client": client, "zone": zone, "provider": provider, "model": "m", "requests": 1,
            "prompt_tokens": 10, "completion_tokens": 5, "bytes_out": 100, "cost_micro_usd": cost,
        })
    }

    #[test]
    fn rows_are_summed_by_what_is_asked_for() {
        let rows = [
            row("2026-11-01", "plc", "device", "", 0),
            row("2026-11-02", "task-vibration", "cloud", "groq", 300),
            row("2026-11-03", "task-vibration", "cloud", "groq", 500),
        ];
        let names = |by: By, from: Option<&str>| {
            let (sums, total) = sums(&rows, &UsageArgs { by, from: from.map(Into::into), to: None });
            (sums.into_iter().map(|(name, sum)| (name, sum.cost.0)).collect::<Vec<_>>(), total.cost.0)
        };
        assert_eq!(
            names(By::Provider, None),
            (vec![("(device)".into(), 0), ("cloud:groq".into(), 800)], 800)
        );
        assert_eq!(names(By::Task, None), (vec![("vibration".into(), 800)], 800));
        assert_eq!(names(By::Day, Some("2026-11-03")), (vec![("2026-11-03".into(), 500)], 500));
    }
}
