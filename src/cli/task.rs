//! `outpost task test` and `outpost task list`

use std::{io, path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Exit, Failure, Global,
    client::{self, Daemon},
    input, out,
};
use crate::task::{Rendered, Task, TaskError, Tasks};

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Show what a task makes of a payload: the prompt, the answer and where it would go
    Test(TestArgs),
    /// List the tasks of the configuration
    List,
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// The task
    name: String,
    /// File with the payload; `-` is standard input
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    /// Topic that the payload comes on; without it, the task's first filter with its wildcards by their names
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Show the prompt and the topics only; needs no daemon
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, command: &TaskCommand) -> Result<(), Failure> {
    let (_, tasks) = global.with_tasks()?;
    match command {
        TaskCommand::Test(args) => test(global, &tasks, args),
        TaskCommand::List => list(global, &tasks),
    }
}

fn list(global: &Global, tasks: &Tasks) -> Result<(), Failure> {
    if global.json {
        let entry = |task: &Arc<Task>| {
            let options = task.options();
            json!({
                "name": task.name(), "client": task.client().as_str(),
                "topics": task.filters().collect::<Vec<_>>(), "result": options.result,
                "lane": options.lane.name(), "schema": options.schema.is_some(),
            })
        };
        return Ok(out::json(&json!({"tasks": tasks.iter().map(entry).collect::<Vec<_>>()}))?);
    }
    if tasks.iter().next().is_none() {
        out::note("There is no task; `outpost config show` says what a [[task]] holds.");
    }
    for task in tasks.iter() {
        let topics: Vec<&str> = task.filters().collect();
        out::line(format_args!("{:<24} {} -> {}", task.name(), topics.join(", "), task.options().result))?;
    }
    Ok(())
}

/// What one test has shown so far.
struct Trial {
    task: Arc<Task>,
    topic: String,
    rendered: Rendered,
    /// Each answer, with what is wrong with it.
    attempts: Vec<(String, Option<TaskError>)>,
    result: Option<Value>,
}

fn test(global: &Global, tasks: &Tasks, args: &TestArgs) -> Result<(), Failure> {
    let task = tasks.get(&args.name).ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Failure::new(Exit::BadData, format!("there is no task `{}`; there are: {known}", args.name))
    })?;
    let payload = input::bounded(&args.payload)?;
    let topic = args.topic.clone().unwrap_or_else(|| task.example_topic());
    let rendered = task.render(&topic, &payload).map_err(|error| {
        let words = format!("{error}\nthis would go to {}", task.error_topic(&topic));
        Failure::new(Exit::BadData, words)
    })?;
    let mut trial = Trial { task: Arc::clone(task), topic, rendered, attempts: Vec::new(), result: None };
    if !global.json {
        show_request(&trial)?;
    }
    if !args.dry_run {
        ask(global, &mut trial)?;
    }
    if global.json {
        out::json(&trial.to_json(args.dry_run))?;
    }
    match trial.attempts.last() {
        Some((_, Some(error))) => Err(Failure::new(Exit::BadData, error)),
        _ => Ok(()),
    }
}

/// Asks the daemon, once more when the answer will not do and the task says so.
fn ask(global: &Global, trial: &mut Trial) -> Result<(), Failure> {
    let daemon = Daemon::of(global)?;
    let mut body = trial.rendered.body.clone();
    for _ in 0..=trial.task.options().retries {
        let document = client::block_on(async {
            client::json(daemon.post("/v1/chat/completions", &body).await?).await
        })?;
        let answer = document.pointer("/choices/0/message/content").and_then(Value::as_str);
        let answer = answer.ok_or_else(|| Failure::new(Exit::Bug, "the daemon's answer has no text"))?;
        let checked = trial.task.check(answer);
        if !global.json {
            show_answer(answer, checked.as_ref().err())?;
        }
        match checked {
            Ok(result) => {
                trial.attempts.push((answer.to_owned(), None));
                trial.result = Some(result);
                return Ok(());
            }
            Err(error) => {
                body = trial.task.retry_body(&trial.rendered.body, answer, &error);
                trial.attempts.push((answer.to_owned(), Some(error)));
            }
        }
    }
    Ok(())
}

fn show_request(trial: &Trial) -> io::Result<()> {
    out::line(format_args!("message on   {}", trial.topic))?;
    out::line(format_args!("result to    {}", trial.rendered.result_topic))?;
    out::line(format_args!("errors to    {}", trial.rendered.error_topic))?;
    for message in trial.rendered.body["messages"].as_array().into_iter().flatten() {
        let text = |key: &str| message[key].as_str().unwrap_or_default();
        out::line(format_args!("\n--- {} ---\n{}", text("role"), text("content")))?;
    }
    Ok(())
}

fn show_answer(answer: &str, error: Option<&TaskError>) -> io::Result<()> {
    out::line(format_args!("\n--- answer ---\n{answer}"))?;
    error.map_or(Ok(()), |error| out::line(format_args!("\nThis will not do: {error}")))
}

impl Trial {
    fn to_json(&self, dry_run: bool) -> Value {
        let attempt = |(answer, error): &(String, Option<TaskError>)| json!({"answer": answer, "wrong": error.as_ref().map(TaskError::reason)});
        let mut shown = json!({
            "task": self.task.name(), "topic": self.topic, "result_topic": self.rendered.result_topic,
            "error_topic": self.rendered.error_topic, "lane": self.rendered.lane.name(), "body": self.rendered.body,
        });
        if !dry_run {
            shown["attempts"] = self.attempts.iter().map(attempt).collect();
            shown["result"] = self.result.clone().unwrap_or_default();
        }
        shown
    }
}
