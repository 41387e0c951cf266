//! `outpost models`

use std::io;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    Failure, Global,
    client::{self, Daemon},
    out,
    shelf::{self, ShelfCommand},
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    command: Option<ShelfCommand>,
    /// Only those of this zone; `cloud` asks the router for its catalogue
    #[arg(long, value_enum)]
    zone: Option<Where>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Where {
    Device,
    Site,
    Cloud,
}

pub(super) fn run(global: &Global, args: &ModelsArgs) -> Result<(), Failure> {
    if let Some(command) = &args.command {
        return shelf::run(global, command);
    }
    let daemon = Daemon::of(global)?;
    let path = match args.zone {
        None => "/v1/models",
        Some(Where::Device) => "/v1/models?zone=device",
        Some(Where::Site) => "/v1/models?zone=site",
        Some(Where::Cloud) => "/v1/models?zone=cloud",
    };
    let list = client::block_on(daemon.get(path))?;
    if global.json {
        return Ok(out::json(&list)?);
    }
    let models = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    if models.is_empty() {
        out::note("No model is ready; `outpost status` says why.");
    }
    for model in models {
        if let Some(providers) = model["providers"].as_array() {
            cloud(model, providers)?;
            continue;
        }
        let text = |key: &str| model[key].as_str().unwrap_or("-").to_owned();
        let context = model["context_length"].as_u64().unwrap_or(0);
        let (id, zone, licence) = (text("id"), text("zone"), text("licence"));
        out::line(format_args!("{id:<32} {zone:<8} {context:>7} tokens  {licence}"))?;
    }
    Ok(())
}

/// A cloud model with its providers, one on a line.
fn cloud(model: &Value, providers: &[Value]) -> io::Result<()> {
    out::line(model["id"].as_str().unwrap_or("-"))?;
    for provider in providers {
        let number = |pointer: &str, unit: &str| {
            provider.pointer(pointer).and_then(Value::as_f64).map_or("-".into(), |n| format!("{n} {unit}"))
        };
        let yes = |key: &str| match provider[key].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        out::line(format_args!(
            "  {:<16} {:<9} {:>11}/M in {:>11}/M out {:>14} {:>10} {:>12}  tools {:<3} structured {:<3} {}",
            provider["provider"].as_str().unwrap_or("-"),
            if provider["live"] == true { "live" } else { "not live" },
            number("/usd_per_million/input", "$"),
            number("/usd_per_million/output", "$"),
            number("/context_length", "tokens"),
            number("/first_token_ms", "ms"),
            number("/tokens_per_s", "tokens/s"),
            yes("tools"),
            yes("structured_output"),
            if provider["in_policy"] == true { "known to the policy" } else { "" },
        ))?;
    }
    Ok(())
}
