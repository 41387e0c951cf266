//! From an answer to a result, a second attempt or an error.

use serde_json::{Value, json};

use super::{Task, TaskError, error::cut};
use crate::domain::{Error, RequestId, limits};

impl Task {
    /// The result in an answer: with a schema its JSON, which may stand in one Markdown fence;
    /// without one the text as it is.
    ///
    /// # Errors
    /// [`TaskError::Answer`] when it is not JSON or does not meet the schema.
    pub fn check(&self, answer: &str) -> Result<Value, TaskError> {
        let Some(schema) = &self.schema else { return Ok(Value::String(answer.to_owned())) };
        let wrong = |reason| TaskError::Answer { reason };
        let text = without_fence(answer.trim());
        if text.is_empty() {
            return Err(wrong("the answer is empty, expected JSON".into()));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|e| wrong(format!("the answer is not JSON: {}", cut(&e.to_string()))))?;
        schema.check(&value).map_err(wrong)?;
        Ok(value)
    }

    /// The request of the second attempt: the first, its answer, and what was wrong with it.
    pub fn retry_body(&self, body: &Value, answer: &str, error: &TaskError) -> Value {
        let mut body = body.clone();
        let mut words = format!(
            "That does not fit: {}. Answer again, with nothing but JSON that fits.",
            error.reason().trim_end_matches('.')
        );
        let schema = self.schema.as_ref().map(super::schema::Schema::text);
        if let Some(schema) = schema.filter(|schema| schema.len() <= limits::SCHEMA_QUOTED_BYTES_MAX) {
            words.push_str(" Its JSON Schema: ");
            words.push_str(schema);
        }
        if let Some(messages) = body.get_mut("messages").and_then(Value::as_array_mut) {
            messages.push(json!({"role": "assistant", "content": start_of(answer)}));
            messages.push(json!({"role": "user", "content": words}));
        }
        body
    }

    /// What is published to the result topic: JSON when the task has a schema, else the text.
    pub fn result_payload(&self, result: &Value) -> Vec<u8> {
        match result {
            Value::String(text) if self.schema.is_none() => text.clone().into_bytes(),
            json => json.to_string().into_bytes(),
        }
    }

    /// What is published to the error topic; `answer` is the model's, when there was one.
    pub fn error_payload(
        &self,
        topic: &str,
        error: &Error,
        request: Option<&RequestId>,
        answer: Option<&str>,
    ) -> Value {
        let mut payload = json!({"task": self.name(), "topic": topic});
        payload["error"] = error.to_json(request)["error"].take();
        if let Some(answer) = answer {
            payload["answer"] = start_of(answer).into();
        }
        payload
    }
}

/// The inside of a text that is one Markdown code block.
fn without_fence(text: &str) -> &str {
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inside.and_then(|inside| inside.split_once('\n')) {
        // What stands behind the opening is the language's name.
        Some((language, inside)) if !language.contains(['{', '[', '"', '`']) => inside.trim(),
        _ => text,
    }
}

/// As much of an answer as is worth repeating.
fn start_of(answer: &str) -> &str {
    &answer[..answer.floor_char_boundary(limits::ANSWER_QUOTED_BYTES_MAX)]
}
