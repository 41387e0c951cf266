//! The command line. Each sub-command has its own file and talks to the daemon over its
//! socket, except `serve`, `bench`, `pull`, `config`, `policy` and `task list`.
//!
//! Exit codes (sysexits.h): 0, 64 usage, 65 bad data, 69 unavailable, 70 bug, 78 configuration.

mod ask;
mod audit;
mod bench;
mod chat;
mod client;
mod config;
mod doctor;
mod explain;
mod fail;
mod input;
mod models;
mod out;
mod policy;
mod probe;
mod pull;
mod serve;
mod shelf;
mod status;
mod task;
mod usage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

pub use fail::{Exit, Failure};

use crate::{
    config::{Config, Layered, Problem, Sources},
    host,
    task::Tasks,
};

/// Answers prompts on this device with a resident language model.
#[derive(Debug, Parser)]
#[command(name = "outpost", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Args)]
struct Global {
    /// Read this configuration file only, instead of /usr/lib/outpost, /etc/outpost and its conf.d
    #[arg(long, global = true, value_name = "FILE", env = "OUTPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Set one key, such as `engine.slots=2`; wins over files and environment
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// The daemon's socket; short for `--set http.socket=…`
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(serve::ServeArgs),
    /// Ask one question and print the answer while it is written
    Ask(ask::AskArgs),
    /// Talk in turns
    Chat(chat::ChatArgs),
    /// Say how the daemon is
    Status,
    /// List the models that can be asked; manage the packages of this board
    Models(models::ModelsArgs),
    /// Fetch a model from Hugging Face, a mirror or a folder
    Pull(pull::PullArgs),
    /// Say what was asked, of whom, and what it cost
    Usage(usage::UsageArgs),
    /// Measure a model package on this board, without the daemon
    Bench(bench::BenchArgs),
    /// Look at everything that an answer needs, and say what to do about what is missing
    Doctor(doctor::DoctorArgs),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show, verify or export the log of what has left the device
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Check, explain or test what may leave the device
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Try an execution provider, as the daemon does before it uses one
    #[command(hide = true)]
    Probe,
    /// Try or list the tasks of the configuration
    #[command(subcommand)]
    Task(task::TaskCommand),
}

impl Global {
    fn layered(&self) -> Layered {
        let socket = self.socket.iter().map(|path| format!("http.socket={}", path.display()));
        let flags = self.set.iter().cloned().chain(socket).collect();
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        crate::config::load(&Sources { file: self.config.as_deref(), flags }, env)
    }

    /// For commands that ask the daemon: templates and schemas are its business.
    fn configuration(&self) -> Result<Config, Failure> {
        self.layered().checked().map_err(|problems| refused(&problems))
    }

    /// For commands that run tasks.
    fn with_tasks(&self) -> Result<(Config, Tasks), Failure> {
        self.try_tasks().map_err(|problems| refused(&problems))
    }

    fn try_tasks(&self) -> Result<(Config, Tasks), Vec<Problem>> {
        let layered = self.layered();
        let node = host::node_name(&layered.config.node.id);
        crate::task::load(layered, &node)
    }
}

fn refused(problems: &[Problem]) -> Failure {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::new(Exit::Configuration, lines.join("\n"))
}

/// Prints what is wrong with a file, each with its place.
fn show_problems(global: &Global, problems: &[Problem]) -> std::io::Result<()> {
    if !global.json {
        return problems.iter().try_for_each(out::line);
    }
    let problem = |p: &Problem| json!({"where": p.origin.to_string(), "message": p.message});
    let list: Vec<Value> = problems.iter().map(problem).collect();
    out::json(&json!({"ok": list.is_empty(), "problems": list}))
}

/// Runs what was asked for.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Serve(args) => serve::run(&global, &args),
        Command::Ask(args) => ask::run(&global, &args),
        Command::Chat(args) => chat::run(&global, &args),
        Command::Status => status::run(&global),
        Command::Models(args) => models::run(&global, &args),
        Command::Pull(args) => pull::run(&global, &args),
        Command::Usage(args) => usage::run(&global, &args),
        Command::Bench(args) => bench::run(&global, &args),
        Command::Config(command) => config::run(&global, command),
        Command::Audit(command) => audit::run(&global, &command),
        Command::Policy(command) => policy::run(&global, &command),
        Command::Doctor(args) => doctor::run(&global, &args),
        Command::Probe => probe::run(),
        Command::Task(command) => task::run(&global, &command),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }
}
