//! What the router writes to a connection, step by step.

use serde_json::{Value, json};

use super::{Seen, catalogue};

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes these.
    Bytes(Vec<u8>),
    /// Stands still until the test lets it go on.
    Pause,
    /// Resets the connection.
    Reset,
    /// Says nothing more until the caller goes away.
    Silence,
}

/// What is written; then the connection is closed.
pub(crate) type Script = Vec<Step>;

fn bytes(text: impl Into<Vec<u8>>) -> Step {
    Step::Bytes(text.into())
}

/// An error with a JSON body.
pub(crate) fn status(status: u16, body: &str) -> Script {
    status_with(status, "application/json", "", body)
}

/// An error with headers of its own; each ends with CRLF.
pub(crate) fn status_with(status: u16, kind: &str, headers: &str, body: &str) -> Script {
    let length = body.len();
    vec![bytes(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}"
    ))]
}

/// A whole answer.
pub(crate) fn ok(kind: &str, body: &[u8]) -> Script {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    vec![bytes(head), bytes(body)]
}

/// The head of a stream that this provider serves.
pub(crate) fn stream_head(provider: &str) -> Step {
    bytes(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: 0-1\r\n\
         x-powered-by: huggingface-moon\r\nx-inference-provider: {provider}\r\nconnection: close\r\n\r\n"
    ))
}

/// The same with chunked framing: its end is told, so that a connection that is cut is noticed.
pub(crate) fn chunked_head(provider: &str) -> Step {
    bytes(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-inference-provider: {provider}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    ))
}

/// One chunk of such a body.
pub(crate) fn framed(step: Step) -> Step {
    match step {
        Step::Bytes(data) => bytes([format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()),
        other => other,
    }
}

/// One event.
pub(crate) fn event(value: &Value) -> Step {
    bytes(format!("data: {value}\n\n"))
}

/// A chunk of a chat.
pub(crate) fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": null,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    })
}

pub(crate) fn text(text: &str) -> Step {
    event(&chunk(json!({"content": text}), None))
}

pub(crate) fn finish(reason: &str) -> Step {
    event(&chunk(json!({}), Some(reason)))
}

pub(crate) fn usage(prompt_tokens: usize, completion_tokens: usize) -> Step {
    let total = prompt_tokens + completion_tokens;
    event(&json!({
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total},
    }))
}

pub(crate) fn done() -> Step {
    bytes("data: [DONE]\n\n")
}

/// Tokens as this router counts them.
pub(crate) fn tokens(text: &str) -> usize {
    text.len().div_ceil(4)
}

/// `echo: ` and the last message; a schema is met by the smallest value that meets it.
pub(crate) fn echo(seen: &Seen) -> Script {
    let body = seen.json();
    let answer = match body["response_format"]["type"].as_str() {
        Some("json_schema") => smallest(&body["response_format"]["json_schema"]["schema"]).to_string(),
        Some("json_object") => json!({"echo": seen.prompt()}).to_string(),
        _ => format!("echo: {}", seen.prompt()),
    };
    answer_of(seen, &answer)
}

/// A stream with this answer, and the usage where this provider puts it.
pub(crate) fn answer_of(seen: &Seen, answer: &str) -> Script {
    let mut script =
        vec![stream_head(&seen.provider), event(&chunk(json!({"role": "assistant", "content": ""}), None))];
    let half = answer.chars().count() / 2;
    let cut = answer.char_indices().nth(half).map_or(0, |(at, _)| at);
    script.extend([&answer[..cut], &answer[cut..]].into_iter().filter(|part| !part.is_empty()).map(text));
    let counts = (tokens(&String::from_utf8_lossy(&seen.body)), tokens(answer));
    match catalogue::named(&seen.provider).map_or("chunk", |provider| provider.usage) {
        "chunk" => script.extend([finish("stop"), usage(counts.0, counts.1)]),
        place => {
            let mut last = chunk(json!({}), Some("stop"));
            let said = json!({"prompt_tokens": counts.0, "completion_tokens": counts.1, "prompt_tokens_details": null});
            match place {
                "finish" => last["usage"] = said,
                "choice" => last["choices"][0]["usage"] = said,
                "estimated_cost" => {
                    last["usage"] = said;
                    last["usage"]["estimated_cost"] = 0.000_023.into();
                }
                _ => {}
            }
            script.push(event(&last));
        }
    }
    script.push(done());
    script
}

fn smallest(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            properties
                .iter()
                .map(|(name, of)| (name.clone(), smallest(of)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        Some("array") => json!([]),
        Some("integer" | "number") => json!(schema["minimum"].as_i64().unwrap_or(0)),
        Some("boolean") => json!(true),
        Some("string") => json!("x"),
        _ => Value::Null,
    }
}
