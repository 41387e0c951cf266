//! `outpost chat`

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, Global,
    ask::AnswerOptions,
    client::{self, Daemon},
    out,
};

#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    #[command(flatten)]
    options: AnswerOptions,
}

pub(super) fn run(global: &Global, args: &ChatArgs) -> Result<(), Failure> {
    let daemon = Daemon::of(global)?;
    let start: Vec<Value> =
        args.options.system.iter().map(|s| json!({"role": "system", "content": s})).collect();
    let mut messages = start.clone();
    if io::stdin().is_terminal() {
        out::note("Ctrl-D ends, /new starts over.");
    }
    client::block_on(async {
        while let Some(line) = read_line()? {
            match line.trim() {
                "" => continue,
                "/new" => {
                    messages.clone_from(&start);
                    continue;
                }
                text => messages.push(json!({"role": "user", "content": text})),
            }
            match turn(&daemon, args, &messages, global.json).await {
                Ok(answer) => messages.push(json!({"role": "assistant", "content": answer})),
                // The conversation goes on without the turn that failed.
                Err(failure) => {
                    messages.pop();
                    if !io::stdin().is_terminal() {
                        return Err(failure);
                    }
                    out::note(failure.words().unwrap_or_default());
                }
            }
        }
        Ok(())
    })
}

async fn turn(
    daemon: &Daemon,
    args: &ChatArgs,
    messages: &[Value],
    as_json: bool,
) -> Result<String, Failure> {
    let response = daemon.post("/v1/chat/completions", &args.options.body(messages, true)).await?;
    let mut answer = String::new();
    client::events(response, |chunk| {
        let text = client::chunk_text(&chunk)?;
        answer.push_str(text);
        if !as_json {
            out::piece(text)?;
        }
        Ok(())
    })
    .await?;
    if as_json {
        out::json(&json!({"role": "assistant", "content": answer}))?;
    } else {
        out::line("")?;
    }
    Ok(answer)
}

fn read_line() -> io::Result<Option<String>> {
    if io::stdin().is_terminal() {
        let mut err = io::stderr();
        write!(err, "> ")?;
        err.flush()?;
    }
    let mut line = String::new();
    Ok((io::stdin().lock().read_line(&mut line)? > 0).then_some(line))
}
