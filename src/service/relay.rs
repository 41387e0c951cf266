//! The pieces of an answer from elsewhere on their way to the caller: what was replaced is put back,
//! and what has to be looked at as a whole is held.

use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    domain::Delta,
    policy::{Restore, Restorer},
};

/// Passes on one answer.
pub(super) struct Relay {
    restore: Restore,
    /// Everything waits for the end.
    hold: bool,
    held: Delta,
}

impl Relay {
    pub(super) fn new(restore: Restore, hold: bool) -> Self {
        Self { restore, hold, held: Delta::default() }
    }

    /// Passes on until nothing more comes. `begun`: when the first piece is here.
    pub(super) async fn run(
        &mut self,
        mut pieces: mpsc::Receiver<Delta>,
        on: mpsc::Sender<Delta>,
        begun: impl Fn(),
    ) {
        let mut text = Restorer::new(self.restore.clone());
        let mut reasoning = Restorer::new(self.restore.clone());
        let mut first = true;
        while let Some(mut piece) = pieces.recv().await {
            if std::mem::take(&mut first) {
                begun();
            }
            if self.hold {
                self.held.append(&piece);
                continue;
            }
            piece.text = text.push(&piece.text);
            piece.reasoning = reasoning.push(&piece.reasoning);
            if !self.restore.is_empty() {
                // A placeholder may be cut anywhere, and what stands for it must fit into JSON.
                let tool_calls = std::mem::take(&mut piece.tool_calls);
                self.held.append(&Delta { tool_calls, ..Delta::default() });
            }
            if !piece.is_empty() {
                // Whoever no longer listens misses nothing that he could still read.
                let _ = on.send(piece).await;
            }
        }
        for call in &mut self.held.tool_calls {
            call.arguments = restored(&self.restore, &call.arguments);
        }
        if self.hold {
            self.held.text = restored(&self.restore, &self.held.text);
            self.held.reasoning = self.restore.restore(&self.held.reasoning);
            return;
        }
        let tool_calls = std::mem::take(&mut self.held.tool_calls);
        let last =
            Delta { text: text.finish(), reasoning: reasoning.finish(), tool_calls, ..Delta::default() };
        if !last.is_empty() {
            let _ = on.send(last).await;
        }
    }

    /// What was held.
    pub(super) fn held(self) -> Delta {
        self.held
    }
}

/// Puts back what was replaced; in JSON as JSON writes it.
fn restored(restore: &Restore, text: &str) -> String {
    if restore.is_empty() {
        return text.to_owned();
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            put_back(restore, &mut value);
            value.to_string()
        }
        Err(_) => restore.restore(text),
    }
}

fn put_back(restore: &Restore, value: &mut Value) {
    match value {
        Value::String(text) => *text = restore.restore(text),
        Value::Array(items) => items.iter_mut().for_each(|item| put_back(restore, item)),
        Value::Object(fields) => fields.values_mut().for_each(|item| put_back(restore, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
