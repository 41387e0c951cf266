//! The OpenAI bodies as they come in: every field optional that OpenAI leaves optional,
//! unknown fields passed over, wrong types refused by the path of the field.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::own::Own;
use crate::domain::{Error, Result};

/// `POST /v1/chat/completions`.
#[derive(Debug, Deserialize)]
pub(super) struct ChatBody {
    pub(super) messages: Vec<MessageBody>,
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) max_completion_tokens: Option<usize>,
    pub(super) logprobs: Option<bool>,
    pub(super) top_logprobs: Option<usize>,
}

/// `POST /v1/completions`.
#[derive(Debug, Deserialize)]
pub(super) struct CompletionBody {
    pub(super) prompt: Value,
    pub(super) echo: Option<bool>,
    pub(super) suffix: Option<String>,
    pub(super) best_of: Option<u32>,
    pub(super) logprobs: Option<usize>,
}

/// What both have; read separately, because `#[serde(flatten)]` would lose the path of a wrong field.
#[derive(Debug, Deserialize)]
pub(super) struct CommonBody {
    pub(super) model: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) max_tokens: Option<usize>,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<u32>,
    pub(super) min_p: Option<f32>,
    pub(super) n: Option<u32>,
    pub(super) stop: Option<Value>,
    pub(super) seed: Option<i64>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) repetition_penalty: Option<f32>,
    pub(super) logit_bias: Option<BTreeMap<String, f32>>,
    pub(super) response_format: Option<Value>,
    pub(super) ignore_eos: Option<bool>,
    pub(super) outpost: Option<Own>,
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

/// One message of a conversation.
#[derive(Debug, Deserialize)]
pub(super) struct MessageBody {
    pub(super) role: String,
    pub(super) content: Option<Value>,
    pub(super) name: Option<String>,
    pub(super) tool_calls: Option<Value>,
    pub(super) tool_call_id: Option<String>,
}

/// A body as JSON; not yet held against any type.
pub(super) fn parse(body: &[u8]) -> Result<Value> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| Error::invalid("", format!("the body is not JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(Error::invalid("", "the body is not a JSON object")) }
}

/// Reads the fields of `T` out of a body; the error names the field.
pub(super) fn fields<T: DeserializeOwned>(body: &Value) -> Result<T> {
    serde_path_to_error::deserialize(body).map_err(|e| {
        let path = Some(e.path().to_string()).filter(|p| p != ".");
        let why = in_plain_words(&e.into_inner().to_string());
        // serde places a field that is not there at its parent, and only its words name it.
        let missing = why.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let path = [path.as_deref(), missing].into_iter().flatten().collect::<Vec<_>>().join(".");
        let why = if missing.is_some() { "is missing" } else { &why };
        Error::invalid(path.clone(), format!("`{path}`: {why}"))
    })
}

/// serde names Rust's types; callers know JSON's.
fn in_plain_words(why: &str) -> String {
    let Some((start, expected)) = why.rsplit_once("expected ") else { return why.to_owned() };
    let plain = match expected {
        "usize" | "u64" | "u32" => "a whole number, 0 or more",
        "i64" | "i32" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{start}expected {plain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(ChatBody, CommonBody)> {
        let value = parse(body.as_bytes())?;
        Ok((fields(&value)?, fields(&value)?))
    }

    fn wrong(body: &str) -> (String, String) {
        let error = read(body).unwrap_err();
        (error.param.unwrap_or_default(), error.public)
    }

    #[test]
    fn unknown_fields_pass_and_nulls_are_absence() {
        let body = r#"{"messages":[{"role":"user","content":"hi","x":1}],"stop":null,"user":"u","temperature":null}"#;
        assert_eq!(read(body).unwrap().0.messages[0].role, "user");
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        for (body, field) in [
            (r#"{"messages":[{"role":1}]}"#, "messages[0].role"),
            (r#"{"messages":"hi"}"#, "messages"),
            (r#"{"messages":[],"temperature":"hot"}"#, "temperature"),
            (r#"{"messages":[],"max_tokens":-1}"#, "max_tokens"),
            (r#"{"messages":[],"max_tokens":1e30}"#, "max_tokens"),
            (r#"{"messages":[],"stream_options":{"include_usage":3}}"#, "stream_options.include_usage"),
            (r#"{"messages":[],"outpost":{"lane":"fast"}}"#, "outpost.lane"),
        ] {
            assert_eq!(wrong(body).0, field, "{body}");
        }
        assert_eq!(wrong("{}"), ("messages".into(), "`messages`: is missing".into()));
        assert_eq!(wrong(r#"{"messages":[{}]}"#).0, "messages[0].role");
        assert!(
            wrong(r#"{"messages":[],"max_tokens":"1"}"#).1.ends_with("expected a whole number, 0 or more")
        );
        assert!(wrong(r#"{"messages":[5]}"#).1.ends_with("expected an object"));
        assert!(wrong("[1]").1.contains("not a JSON object"));
        assert!(wrong("{\"messages\":").1.contains("not JSON"));
        assert!(wrong(&"[".repeat(100_000)).1.contains("recursion"));
    }
}
