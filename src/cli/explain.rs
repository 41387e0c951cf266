//! `outpost policy explain`: why, and which bytes.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Exit, Failure, Global, input, out, policy::load};
use crate::{
    cloud::{Outgoing, draft},
    config::Config,
    domain::{BootTime, ClientId, Lane, MicroUsd, RequestId, Zone, hex, limits},
    policy::{Denial, Draft, Effect, Permit, Policy, Step, Subject, Verdict},
};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// File with a chat-completions body; `-` is standard input
    request: PathBuf,
    /// Who asks
    #[arg(long, default_value = "nobody")]
    client: String,
    /// The user behind the socket
    #[arg(long)]
    uid: Option<u32>,
    /// The topic that a task's reading came on
    #[arg(long)]
    topic: Option<String>,
    /// The task that asks
    #[arg(long)]
    task: Option<String>,
    /// The operator's class of the data, in place of the client's or the task's in the configuration
    #[arg(long)]
    class: Option<String>,
    /// The lane that it gets where it names none: of the socket `interactive`, over MQTT `normal`
    #[arg(long, default_value = "normal", value_parser = lane)]
    lane: Lane,
    /// The zone that it would go to
    #[arg(long, default_value = "cloud")]
    zone: Away,
    /// Providers to explain; without, all that the policy names
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// The model's name there [default: the one that is configured]
    #[arg(long)]
    model: Option<String>,
    /// What it may cost at most, for rules with a cap
    #[arg(long, value_name = "USD")]
    worst_usd: Option<f64>,
}

fn lane(name: &str) -> Result<Lane, String> {
    let known = Lane::ALL.into_iter().find(|lane| lane.name() == name);
    known.ok_or_else(|| format!("expected {}", Lane::ALL.map(Lane::name).join(", ")))
}

/// Zones that are not the device.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Away {
    Site,
    Cloud,
}

pub(super) fn run(global: &Global, config: &Config, args: &ExplainArgs) -> Result<(), Failure> {
    let policy = load(config)?;
    let request = read(&args.request)?;
    let client = ClientId::new(&args.client)
        .ok_or_else(|| Failure::new(Exit::BadData, format!("`{}` is no name of a client", args.client)))?;
    let own = &request["outpost"];
    let own_word = |key: &str| own[key].as_str();
    let own_lane = own_word("lane").and_then(|name| lane(name).ok());
    let zone_max = match own_word("zone_max") {
        None => Zone::Cloud,
        // The daemon refuses such a request.
        Some(word) => Zone::named(word).ok_or_else(|| {
            Failure::new(
                Exit::BadData,
                format!("`outpost.zone_max` is `{word}`, expected device, site or cloud"),
            )
        })?,
    };
    let class = operators_class(config, args);
    let subject = Subject {
        client: &client,
        uid: args.uid,
        lane: own_lane.unwrap_or(args.lane),
        chose_lane: own_lane.is_some(),
        topic: args.topic.as_deref(),
        task: args.task.as_deref(),
        class: policy.classes().effective(class.as_deref(), own_word("data_class")),
        zone_max,
    };
    let verdict = policy.evaluate(&subject, &request);
    let zone = match args.zone {
        Away::Site => Zone::Site,
        Away::Cloud => Zone::Cloud,
    };
    let providers: Vec<&str> = if args.providers.is_empty() {
        policy.providers()
    } else {
        args.providers.iter().map(String::as_str).collect()
    };
    let ways: Vec<Way<'_>> = providers
        .into_iter()
        .map(|provider| {
            let draft = draft_for(args, config, &request, &client, zone, provider);
            let outcome = policy.permit(&subject, draft).map(|(permit, _)| permit);
            Way { provider, outcome, objections: verdict.objections(zone, provider) }
        })
        .collect();
    if global.json {
        return Ok(out::json(&as_json(&policy, &subject, &verdict, &ways))?);
    }
    show(&policy, &subject, &verdict, &ways)?;
    Ok(())
}

/// One provider, and what may go there.
struct Way<'p> {
    provider: &'p str,
    outcome: Result<Permit, Denial>,
    objections: Vec<(&'p str, String)>,
}

/// What the configuration says of the client or the task.
fn operators_class(config: &Config, args: &ExplainArgs) -> Option<String> {
    let of_task = || {
        let name = args.task.as_deref()?;
        config.task.iter().find(|task| task.name == name)?.data_class.clone()
    };
    let of_client = || config.client.iter().find(|client| client.name == args.client)?.data_class.clone();
    args.class.clone().or_else(of_task).or_else(of_client)
}

fn draft_for(
    args: &ExplainArgs,
    config: &Config,
    request: &Value,
    client: &ClientId,
    zone: Zone,
    provider: &str,
) -> Draft {
    let of_site = || config.site.iter().find(|site| site.name == provider).map(|site| site.model.clone());
    let known = match zone {
        Zone::Cloud => config.cloud.model.clone(),
        _ => of_site(),
    };
    let name = args.model.clone().or(known).unwrap_or_else(|| "org/name".into());
    let model = if zone == Zone::Cloud { format!("{name}:{provider}") } else { name };
    let asked = request["max_tokens"].as_u64().or_else(|| request["max_completion_tokens"].as_u64());
    let max_tokens = asked.map_or(config.service.answer_tokens, |n| n as usize);
    Draft {
        client: client.clone(),
        id: RequestId::generate(),
        zone,
        provider: provider.into(),
        body: draft(request, Outgoing { model: &model, provider, max_tokens }),
        worst_cost: args.worst_usd.map(MicroUsd::of_usd),
        expires: BootTime::new(limits::DEADLINE_MAX),
    }
}

fn read(path: &Path) -> Result<Value, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::new(Exit::BadData, format!("{}: {e}", path.display()));
    let text = input::bounded(path)?;
    if text.len() > limits::REQUEST_BODY_BYTES_MAX {
        let max = limits::REQUEST_BODY_BYTES_MAX;
        return Err(wrong(&format_args!("has more than {max} bytes, the most that a request may have")));
    }
    serde_json::from_slice(&text).map_err(|e| wrong(&e))
}

fn effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::Allow(_) => "allow",
        Effect::Deny => "deny",
    }
}

fn show(policy: &Policy, subject: &Subject<'_>, verdict: &Verdict<'_>, ways: &[Way<'_>]) -> io::Result<()> {
    out::line(format_args!("class        {}", policy.classes().name(subject.class)))?;
    out::line(format_args!("may go to    {} at most, by its own word", subject.zone_max.name()))?;
    for step in &verdict.trace {
        let (name, effect) = (&step.rule.name, effect(&step.rule.effect));
        match &step.objection {
            None => out::line(format_args!("rule `{name}` (line {}) {effect}s it", step.rule.line)),
            Some(why) => {
                out::line(format_args!("rule `{name}` (line {}) does not hold: {why}", step.rule.line))
            }
        }?;
    }
    if let Some(denial) = &verdict.denial {
        return out::line(format_args!("\nNothing leaves: {}.", denial.reason));
    }
    for way in ways {
        match &way.outcome {
            Ok(permit) => {
                out::line(format_args!("\nto {}, by rule `{}`:", way.provider, permit.rule()))?;
                out::line(String::from_utf8_lossy(permit.bytes()))?;
                out::line(format_args!("sha256 {}", hex(&permit.digest())))?;
            }
            Err(denial) => {
                out::line(format_args!("\nnot to {}: {}", way.provider, denial.reason))?;
                for (rule, why) in &way.objections {
                    out::line(format_args!("  rule `{rule}`: it {why}"))?;
                }
            }
        }
    }
    Ok(())
}

fn as_json(policy: &Policy, subject: &Subject<'_>, verdict: &Verdict<'_>, ways: &[Way<'_>]) -> Value {
    let step = |step: &Step<'_>| {
        json!({
            "rule": step.rule.name, "line": step.rule.line, "effect": effect(&step.rule.effect),
            "holds": step.objection.is_none(), "why_not": step.objection,
        })
    };
    let way = |way: &Way<'_>| match &way.outcome {
        Ok(permit) => json!({
            "provider": way.provider, "allowed": true, "rule": permit.rule(), "redacted": permit.redacted(),
            "body": String::from_utf8_lossy(permit.bytes()), "sha256": hex(&permit.digest()),
        }),
        Err(denial) => {
            json!({"provider": way.provider, "allowed": false, "rule": denial.rule, "reason": denial.reason})
        }
    };
    json!({
        "class": policy.classes().name(subject.class),
        "zone_max": subject.zone_max.name(),
        "denied": verdict.denial.as_ref().map(|d| json!({"rule": d.rule, "reason": d.reason})),
        "rules": verdict.trace.iter().map(step).collect::<Vec<_>>(),
        "providers": ways.iter().map(way).collect::<Vec<_>>(),
    })
}
