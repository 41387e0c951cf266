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

    /// Passes on until nothing more comes. `begun`: when the first piece is passed on.
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
            if !self.restore.is_empty() {
                // They are those of the placeholders.
                piece.logprobs.clear();
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
                if std::mem::take(&mut first) {
                    begun();
                }
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
            if first {
                begun();
            }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::{
        domain::{BootTime, ClientId, Lane, RequestId, ToolCallDelta, Zone},
        policy::{Draft, Policy, Subject},
    };

    /// What puts `value` back for `[SECRETWORD_1]`.
    fn restore(value: &str) -> Restore {
        let text = "version = 1\n[detector.secretword]\npattern = \"word<[^>]*>\"\n[[rule]]\nname = \"a\"\neffect = \"allow\"\nto = { zone = \"cloud\" }\nredact = [\"secretword\"]\n";
        let policy = Policy::parse(Path::new("p"), text).unwrap();
        let client = ClientId::new("c").unwrap();
        let subject = Subject {
            client: &client,
            uid: None,
            lane: Lane::Normal,
            chose_lane: false,
            topic: None,
            task: None,
            class: policy.classes().of(None),
            zone_max: Zone::Cloud,
        };
        let body = json!({"messages": [{"role": "user", "content": value}]});
        let (id, expires) = (RequestId::generate(), BootTime::new(std::time::Duration::MAX));
        let provider = "p".to_owned();
        let draft = Draft {
            client: client.clone(),
            id,
            zone: Zone::Cloud,
            provider,
            body,
            worst_cost: None,
            expires,
        };
        policy.permit(&subject, draft).unwrap().1
    }

    fn through(restore: Restore, hold: bool, pieces: &[Delta]) -> (Delta, Delta) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (sender, receiver) = mpsc::channel(64);
            let (on, mut out) = mpsc::channel(64);
            for piece in pieces {
                sender.send(piece.clone()).await.unwrap();
            }
            drop(sender);
            let mut relay = Relay::new(restore, hold);
            relay.run(receiver, on, || ()).await;
            let mut all = Delta::default();
            while let Some(piece) = out.recv().await {
                all.append(&piece);
            }
            (all, relay.held())
        })
    }

    fn call(arguments: &str) -> Delta {
        let call = ToolCallDelta { arguments: arguments.into(), ..ToolCallDelta::default() };
        Delta { tool_calls: vec![call], ..Delta::default() }
    }

    #[test]
    fn what_stands_in_json_is_put_back_as_json_writes_it() {
        let secret = "word<a \"quoted\" \\ one>";
        let pieces = [call("{\"to\": \"[SECRETWO"), call("RD_1]\"}")];
        let (all, _) = through(restore(secret), false, &pieces);
        let arguments: Value = serde_json::from_str(&all.tool_calls[0].arguments).unwrap();
        assert_eq!(arguments["to"], secret);
        let text = Delta { text: "{\"to\": \"[SECRETWORD_1]\"}".into(), ..Delta::default() };
        let (passed, held) = through(restore(secret), true, &[text]);
        assert!(passed.is_empty(), "what is to be looked at as a whole is held");
        assert_eq!(serde_json::from_str::<Value>(&held.text).unwrap()["to"], secret);
    }

    #[test]
    fn text_passes_as_it_comes_and_thoughts_with_it() {
        let piece = |text: &str| Delta { text: text.into(), reasoning: text.into(), ..Delta::default() };
        let (all, held) =
            through(restore("word<x>"), false, &[piece("see [SECRET"), piece("WORD_1]!"), piece(" [")]);
        assert_eq!((all.text.as_str(), all.reasoning.as_str()), ("see word<x>! [", "see word<x>! ["));
        assert!(held.is_empty());
    }
}
