//! The configuration with its tasks: the one place of this module that reads files.

use std::{fs::File, io::Read, path::Path};

use super::Tasks;
use crate::{
    config::{Config, Layered, Problem},
    domain::limits,
};

/// The configuration and its compiled tasks, the text of each `schema_file` in `schema`.
/// `node` is this node's name in topics.
///
/// # Errors
/// Everything that is wrong with the configuration, templates and schemas included.
pub fn load(mut layered: Layered, node: &str) -> Result<(Config, Tasks), Vec<Problem>> {
    layered.check();
    for index in 0..layered.config.task.len() {
        let task = &layered.config.task[index];
        let Some(path) = task.schema_file.as_ref().filter(|_| task.schema.is_none()) else { continue };
        match read(path) {
            Ok(text) => layered.config.task[index].schema = Some(text),
            Err(words) => layered.entry_problem("task", index, "schema_file", &words),
        }
    }
    let tasks =
        Tasks::compile(&layered.config.task, &layered.config.mqtt.root, node).unwrap_or_else(|faults| {
            for (index, key, words) in faults {
                layered.entry_problem("task", index, key, &words);
            }
            Tasks::default()
        });
    layered.sound().map(|config| (config, tasks))
}

fn read(path: &Path) -> Result<String, String> {
    let max = limits::SCHEMA_BYTES_MAX as u64;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(max + 1).read_to_string(&mut text));
    match read {
        Err(e) => Err(format!("{} cannot be read: {e}", path.display())),
        Ok(read) if read as u64 > max => Err(format!("{} has more than {max} bytes", path.display())),
        Ok(_) => Ok(text),
    }
}
