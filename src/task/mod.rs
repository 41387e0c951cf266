//! Tasks: a message on a topic becomes a prompt, and the answer a message on another topic.
//!
//! Everything here is a decision about data: which task a topic is for ([`Tasks::matching`]),
//! what its prompt is ([`Task::render`]), whether an answer will do ([`Task::check`]), and
//! whether a reading is worth a run now, later or never ([`Gate`]). Time comes in as a value;
//! only [`load()`] reads files.
//!
//! What comes in is a sensor's and is never trusted: it is data to the templates and no
//! template itself, it cannot choose where the daemon publishes beyond the values of single
//! levels, and a run takes bounded steps, bytes and stack ([`crate::domain::limits`]).

mod answer;
mod compile;
mod error;
mod gate;
mod load;
mod pattern;
mod payload;
mod render;
mod schema;
mod state;
mod template;
#[cfg(test)]
mod tests;

pub use compile::{Fault, Tasks};
pub use error::TaskError;
pub use gate::{Decision, Gate, Held, Skipped};
pub use load::load;
pub use render::{Rendered, Task};
pub use schema::Schema;
