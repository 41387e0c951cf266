//! What came in, as the templates see it.

use minijinja::{Value, value::Serde};

use super::{TaskError, error::cut};
use crate::{config::PayloadForm, domain::limits};

/// The payload as a value.
pub(super) fn read(form: PayloadForm, bytes: &[u8]) -> Result<Value, TaskError> {
    if bytes.len() > limits::REQUEST_BODY_BYTES_MAX {
        let max = limits::REQUEST_BODY_BYTES_MAX;
        return wrong(format!("the payload has {} bytes, more than {max}", bytes.len()));
    }
    match form {
        PayloadForm::Json => match json(bytes) {
            Ok(value) => Ok(Value::from(Serde(&value))),
            Err(reason) => wrong(reason),
        },
        PayloadForm::Text => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::from(text)),
            Err(e) => wrong(format!("the payload is not UTF-8 text: byte {} is wrong", e.valid_up_to() + 1)),
        },
        PayloadForm::Bytes => Ok(bytes.iter().map(|byte| Value::from(u32::from(*byte))).collect()),
    }
}

/// The payload as JSON; the error says why it is none.
pub(super) fn json(bytes: &[u8]) -> Result<serde_json::Value, String> {
    if bytes.trim_ascii().is_empty() {
        return Err("the payload is empty, expected JSON".into());
    }
    serde_json::from_slice(bytes).map_err(|e| format!("the payload is not JSON: {}", cut(&e.to_string())))
}

fn wrong<T>(reason: String) -> Result<T, TaskError> {
    Err(TaskError::Payload { reason })
}
