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
}

pub(super) fn run(global: &Global, args: &ServeArgs) -> Result<(), Failure> {
    let mut global = global.clone();
    global.set.extend(args.model.iter().map(|dir| format!("model.package={}", dir.display())));
    let (config, _) = global.with_tasks()?;
    observe::init_log(config.log.level.0);
    supervise::run(&config).map_err(|e| match e {
        StartError::Configuration(_) => Failure::new(Exit::Configuration, e),
        StartError::System(_) => Failure::new(Exit::Unavailable, e),
    })
}
