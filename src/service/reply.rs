//! OpenAI's shapes of an answer, the same on every transport.

use serde_json::{Value, json};

use crate::domain::{
    Delta, Error, FinishReason, MicroUsd, Outcome, RequestId, TokenLogprob, ToolCallDelta, UnixSeconds,
    Usage, Zone,
};

/// What every part of one answer repeats.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The request's id.
    pub id: RequestId,
    /// When it was accepted.
    pub created: UnixSeconds,
    /// Name of the model that answers.
    pub model: String,
    /// Changes when weights or number formats change: same seed and same fingerprint, same answer.
    pub fingerprint: String,
    /// Which shape.
    pub kind: Kind,
    /// Where it is answered.
    pub zone: Zone,
    /// By whom, off the device.
    pub provider: String,
}

/// The two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

impl Frame {
    fn wrap(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id.as_str(),
            "object": object,
            "created": self.created.0,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    /// The whole answer at once.
    pub fn completion(&self, outcome: &Outcome) -> Value {
        let finish = outcome.finish.name();
        let logprobs = self.logprobs(&outcome.rest.logprobs);
        let text = &outcome.rest.text;
        let mut body = match self.kind {
            Kind::Chat => {
                let message = message(&outcome.rest);
                let choice =
                    json!({"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish});
                self.wrap("chat.completion", json!([choice]))
            }
            Kind::Text => {
                let choice = json!({"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish});
                self.wrap("text_completion", json!([choice]))
            }
        };
        body["usage"] = usage(outcome.usage);
        body["outpost"] = self.place(outcome.cost);
        body
    }

    /// Where it was answered, and for how much.
    fn place(&self, cost: MicroUsd) -> Value {
        match self.zone {
            Zone::Device => json!({"zone": "device"}),
            zone => json!({"zone": zone.name(), "provider": self.provider, "cost_usd": cost.usd()}),
        }
    }

    /// A stream's first chunk, which names the role; the text interface has none.
    pub fn opening(&self) -> Option<Value> {
        (self.kind == Kind::Chat).then(|| {
            let delta = json!({"role": "assistant", "content": ""});
            self.chunk(json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}))
        })
    }

    /// A piece of a stream.
    pub fn piece(&self, delta: &Delta) -> Value {
        let logprobs = self.logprobs(&delta.logprobs);
        self.chunk(match self.kind {
            Kind::Chat => {
                let delta = piece_of_message(delta);
                json!({"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": null})
            }
            Kind::Text => {
                json!({"index": 0, "text": delta.text, "logprobs": logprobs, "finish_reason": null})
            }
        })
    }

    /// A stream's last piece, which says why it ended.
    pub fn closing(&self, finish: FinishReason) -> Value {
        let finish = finish.name();
        self.chunk(match self.kind {
            Kind::Chat => json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}),
            Kind::Text => json!({"index": 0, "text": "", "logprobs": null, "finish_reason": finish}),
        })
    }

    /// The chunk with the token counts, for those who asked.
    pub fn usage(&self, outcome: &Outcome) -> Value {
        let mut chunk = self.wrap(self.chunk_object(), json!([]));
        chunk["usage"] = usage(outcome.usage);
        chunk["outpost"] = self.place(outcome.cost);
        chunk
    }

    fn chunk(&self, choice: Value) -> Value {
        self.wrap(self.chunk_object(), Value::Array(vec![choice]))
    }

    fn chunk_object(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        }
    }

    fn logprobs(&self, tokens: &[TokenLogprob]) -> Value {
        if tokens.is_empty() {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let content: Vec<Value> = tokens.iter().map(chat_logprob).collect();
                json!({"content": content, "refusal": null})
            }
            Kind::Text => text_logprobs(tokens),
        }
    }
}

/// The message of a whole answer.
fn message(all: &Delta) -> Value {
    let mut message = json!({"role": "assistant", "content": all.text, "refusal": null});
    if !all.reasoning.is_empty() {
        message["reasoning_content"] = all.reasoning.as_str().into();
    }
    if !all.tool_calls.is_empty() {
        if all.text.is_empty() {
            message["content"] = Value::Null;
        }
        let call = |call: &ToolCallDelta| {
            json!({
                "id": call.id.clone().unwrap_or_else(|| format!("call_{}", call.index)),
                "type": "function",
                "function": {"name": call.name.clone().unwrap_or_default(), "arguments": call.arguments},
            })
        };
        message["tool_calls"] = all.tool_calls.iter().map(call).collect();
    }
    message
}

/// The part of a message that a piece adds.
fn piece_of_message(delta: &Delta) -> Value {
    let mut piece = json!({});
    if !delta.reasoning.is_empty() {
        piece["reasoning_content"] = delta.reasoning.as_str().into();
    }
    if !delta.tool_calls.is_empty() {
        piece["tool_calls"] = delta.tool_calls.iter().map(piece_of_call).collect();
    }
    if !delta.text.is_empty() || (delta.reasoning.is_empty() && delta.tool_calls.is_empty()) {
        piece["content"] = delta.text.as_str().into();
    }
    piece
}

fn piece_of_call(call: &ToolCallDelta) -> Value {
    let mut piece = json!({"index": call.index, "function": {"arguments": call.arguments}});
    if let Some(id) = &call.id {
        piece["id"] = id.as_str().into();
        piece["type"] = "function".into();
    }
    if let Some(name) = &call.name {
        piece["function"]["name"] = name.as_str().into();
    }
    piece
}

fn token(bytes: &[u8], logprob: f32) -> Value {
    json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes})
}

fn chat_logprob(t: &TokenLogprob) -> Value {
    let mut entry = token(&t.bytes, t.logprob);
    entry["top_logprobs"] = t.top.iter().map(|(bytes, logprob)| token(bytes, *logprob)).collect();
    entry
}

fn text_logprobs(tokens: &[TokenLogprob]) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let top =
        |t: &TokenLogprob| t.top.iter().map(|(b, l)| (text(b), json!(l))).collect::<serde_json::Map<_, _>>();
    json!({
        "tokens": tokens.iter().map(|t| text(&t.bytes)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|t| t.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
    })
}

fn usage(u: Usage) -> Value {
    json!({
        "prompt_tokens": u.prompt_tokens,
        "completion_tokens": u.completion_tokens,
        "total_tokens": u.prompt_tokens.saturating_add(u.completion_tokens),
    })
}

/// A stored message as one piece of a stream.
fn delta_of(message: &Value) -> Value {
    let mut delta = json!({"role": "assistant", "content": message["content"]});
    if let Some(calls) = message["tool_calls"].as_array() {
        let numbered = calls.iter().cloned().enumerate().map(|(n, mut call)| {
            call["index"] = n.into();
            call
        });
        delta["tool_calls"] = numbered.collect();
    }
    if let Some(reasoning) = message.get("reasoning_content") {
        delta["reasoning_content"] = reasoning.clone();
    }
    delta
}

/// A stored answer as the pieces of a stream; an error is one piece.
pub fn chunks_of(body: &[u8], include_usage: bool) -> Vec<Value> {
    let Ok(whole) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let Some(choice) = whole.pointer("/choices/0") else { return vec![whole] };
    let chunk = |choices: Value| {
        let mut chunk = whole.clone();
        if whole["object"] == "chat.completion" {
            chunk["object"] = "chat.completion.chunk".into();
        }
        chunk["choices"] = choices;
        if let Some(fields) = chunk.as_object_mut() {
            fields.shift_remove("usage");
            fields.shift_remove("outpost");
        }
        chunk
    };
    let (mut piece, mut closing) = (choice.clone(), choice.clone());
    closing["logprobs"] = Value::Null;
    piece["finish_reason"] = Value::Null;
    if let (Some(message), Some(fields)) = (choice.get("message"), piece.as_object_mut()) {
        fields.shift_remove("message");
        fields.insert("delta".into(), delta_of(message));
        closing =
            json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": choice["finish_reason"]});
    } else {
        closing["text"] = "".into();
    }
    let mut chunks = vec![chunk(json!([piece])), chunk(json!([closing]))];
    if include_usage {
        let mut last = chunk(json!([]));
        last["usage"] = whole["usage"].clone();
        last["outpost"] = whole["outpost"].clone();
        chunks.push(last);
    }
    chunks
}

/// OpenAI's error shape with Outpost's additions.
pub fn error_body(error: &Error, id: Option<&RequestId>) -> Value {
    error.to_json(id)
}

/// The same where the transport has a status of its own for what happened.
pub fn error_body_with_status(error: &Error, id: Option<&RequestId>, status: u16) -> Value {
    let mut body = error.to_json(id);
    body["error"]["status"] = status.into();
    body
}
