//! OpenAI's shapes of an answer, the same on every transport.

use serde_json::{Value, json};

use crate::domain::{Delta, Error, FinishReason, Outcome, RequestId, TokenLogprob, UnixSeconds, Usage};

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
                let message = json!({"role": "assistant", "content": text, "refusal": null});
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
        body
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
                json!({"index": 0, "delta": {"content": delta.text}, "logprobs": logprobs, "finish_reason": null})
            }
            Kind::Text => json!({"index": 0, "text": delta.text, "logprobs": logprobs, "finish_reason": null}),
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
    pub fn usage(&self, counts: Usage) -> Value {
        let mut chunk = self.wrap(self.chunk_object(), json!([]));
        chunk["usage"] = usage(counts);
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
        "total_tokens": u.prompt_tokens + u.completion_tokens,
    })
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
        }
        chunk
    };
    let (mut piece, mut closing) = (choice.clone(), choice.clone());
    closing["logprobs"] = Value::Null;
    piece["finish_reason"] = Value::Null;
    if let (Some(message), Some(fields)) = (choice.get("message"), piece.as_object_mut()) {
        fields.shift_remove("message");
        fields.insert("delta".into(), json!({"role": "assistant", "content": message["content"]}));
        closing =
            json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": choice["finish_reason"]});
    } else {
        closing["text"] = "".into();
    }
    let mut chunks = vec![chunk(json!([piece])), chunk(json!([closing]))];
    if include_usage {
        let mut last = chunk(json!([]));
        last["usage"] = whole["usage"].clone();
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
