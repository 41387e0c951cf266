//! `outpost serve`

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, Global};
use crate::{
    observe,
    supervise::{self, StartError},
};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Directory of the model package; short for `--set model.package=…`
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,

    /// Start an MQTT broker (mosquitto) for a first try, on loopback and a free port
    #[arg(long)]
    with_broker: bool,
}

pub(super) fn run(global: &Global, args: &ServeArgs) -> Result<(), Failure> {
    let mut global = global.clone();
    global.set.extend(args.model.iter().map(|dir| format!("model.package={}", dir.display())));
    if args.with_broker {
        if global.layered().config.mqtt.url.is_some() {
            let why = "--with-broker starts a broker of its own, and `mqtt.url` names another; leave one out";
            return Err(Failure::new(Exit::Configuration, why));
        }
        global.set.push(format!("mqtt.url=mqtt://127.0.0.1:{}", supervise::free_port()?));
    }
    let (config, tasks) = global.with_tasks()?;
    observe::init_log(config.log.level.0);
    supervise::run(&config, tasks, args.with_broker).map_err(|e| match e {
        StartError::Configuration(_) => Failure::new(Exit::Configuration, e),
        StartError::Unavailable(_) | StartError::System(_) => Failure::new(Exit::Unavailable, e),
    })
}
