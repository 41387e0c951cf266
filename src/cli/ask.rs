//! `outpost ask`

use std::io::{self, IsTerminal, Read};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Exit, Failure, Global,
    client::{self, Daemon},
    out,
};
use crate::domain::limits;

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// The question; what comes in on standard input is put behind it
    prompt: Vec<String>,
    #[command(flatten)]
    options: AnswerOptions,
}

/// How to answer.
#[derive(Clone, Debug, Args)]
pub(super) struct AnswerOptions {
    /// What the model should be and do
    #[arg(long, value_name = "TEXT")]
    pub(super) system: Option<String>,
    /// Most tokens of the answer
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// 0 is always the same answer, 2 is wild
    #[arg(long, value_name = "0..2")]
    temperature: Option<f32>,
    /// Same seed, same answer
    #[arg(long, value_name = "N")]
    seed: Option<i64>,
    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Model to ask
    #[arg(long, value_name = "NAME", default_value = "auto")]
    model: String,
}

impl AnswerOptions {
    /// A chat request over `messages`.
    pub(super) fn body(&self, messages: &[Value], stream: bool) -> Value {
        let mut body = json!({"model": self.model, "messages": messages, "stream": stream});
        let optional = [
            ("max_tokens", self.max_tokens.map(|n| json!(n))),
            ("temperature", self.temperature.map(|t| json!(t))),
            ("seed", self.seed.map(|s| json!(s))),
            ("stop", (!self.stop.is_empty()).then(|| json!(self.stop))),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        body
    }
}

pub(super) fn run(global: &Global, args: &AskArgs) -> Result<(), Failure> {
    let prompt = prompt(args.prompt.join(" "))?;
    let mut messages: Vec<Value> =
        args.options.system.iter().map(|s| json!({"role": "system", "content": s})).collect();
    messages.push(json!({"role": "user", "content": prompt}));
    let daemon = Daemon::of(global)?;
    client::block_on(async {
        let response =
            daemon.post("/v1/chat/completions", &args.options.body(&messages, !global.json)).await?;
        if global.json {
            return Ok(out::json(&client::json(response).await?)?);
        }
        client::events(response, |chunk| Ok(out::piece(client::chunk_text(&chunk)?)?)).await?;
        Ok(out::line("")?)
    })
}

/// The words of the command line, then those of standard input when it is not a terminal.
fn prompt(mut words: String) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        let mut piped = String::new();
        let max = limits::REQUEST_BODY_BYTES_MAX as u64;
        io::stdin().take(max + 1).read_to_string(&mut piped)?;
        if piped.len() as u64 > max {
            return Err(Failure::new(Exit::BadData, format!("standard input has more than {max} bytes")));
        }
        if !words.is_empty() && !piped.trim().is_empty() {
            words.push_str("\n\n");
        }
        words.push_str(piped.trim_end());
    }
    if words.trim().is_empty() {
        return Err(Failure::new(
            Exit::BadData,
            "there is nothing to ask; try `outpost ask Why is the sky blue?`",
        ));
    }
    Ok(words)
}
