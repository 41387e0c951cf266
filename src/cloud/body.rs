//! The body as a provider gets it: the fields that all understand, and nothing that is only ours.
//!
//! Hugging Face's router passes a body on nearly as it is, so what a provider does not know comes
//! back as a 400. What is sent is what `tasks/chat-completion` of the Inference Providers'
//! documentation lists; the rest of a request stays here.

use serde_json::{Map, Value};

use super::quirks::{self, Quirks};

/// What is not in the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The model's name there, with the provider behind a colon when one is asked for by name.
    pub model: &'a str,
    /// Who gets it.
    pub provider: &'a str,
    /// Most tokens of the answer: providers that are not told cut at 2048 or 4096 without a word.
    pub max_tokens: usize,
}

/// Fields of the body that are passed on as they are.
const FIELDS: [&str; 11] = [
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "seed",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
];

/// Fields of a message that are passed on. `reasoning_content` of earlier turns is not among them:
/// some providers refuse it.
const MESSAGE_FIELDS: [&str; 5] = ["role", "content", "name", "tool_calls", "tool_call_id"];

/// Makes the body for a provider of a chat-completions body. The model comes first: the router
/// reads it before it has the rest. The answer always comes as a stream, whatever the caller wants:
/// only then is it known early that somebody answers, and that he still does.
pub fn draft(request: &Value, outgoing: Outgoing<'_>) -> Value {
    let quirks = quirks::of(outgoing.provider);
    let mut body = Map::new();
    body.insert("model".into(), outgoing.model.into());
    body.insert("messages".into(), messages(&request["messages"], quirks));
    body.insert("max_tokens".into(), outgoing.max_tokens.into());
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), serde_json::json!({"include_usage": true}));
    let has_tools = request["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    for name in FIELDS.into_iter().filter(|name| !quirks.drops.contains(name)) {
        let Some(value) = request.get(name).filter(|value| !value.is_null()) else { continue };
        // A choice among no tools is a 400 at Cerebras.
        if matches!(name, "tools" | "tool_choice") && !has_tools {
            continue;
        }
        body.insert(name.into(), value.clone());
    }
    if let Some(effort) = request.get("reasoning_effort").and_then(Value::as_str) {
        // Documented, and refused by all that were tried.
        let effort = if effort == "minimal" { "low" } else { effort };
        body.insert("reasoning_effort".into(), effort.into());
    }
    Value::Object(body)
}

fn messages(messages: &Value, quirks: Quirks) -> Value {
    messages.as_array().into_iter().flatten().map(|one| message(one, quirks)).collect()
}

fn message(message: &Value, quirks: Quirks) -> Value {
    let has_calls = message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
    let mut out = Map::new();
    for name in MESSAGE_FIELDS {
        let Some(value) = message.get(name).filter(|value| !value.is_null()) else { continue };
        if name == "name" && quirks.no_message_names {
            continue;
        }
        let value = match (name, value.as_str()) {
            // No provider knows OpenAI's newer name.
            ("role", Some("developer")) => "system".into(),
            // Empty text beside tool calls is a 400 at some.
            ("content", Some("")) if has_calls => continue,
            _ => value.clone(),
        };
        out.insert(name.into(), value);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OUTGOING: Outgoing<'_> = Outgoing { model: "org/name:nscale", provider: "nscale", max_tokens: 64 };

    #[test]
    fn the_model_comes_first_and_the_answer_always_has_a_bound() {
        let request = json!({"messages": [{"role": "user", "content": "hi"}], "model": "auto"});
        assert_eq!(
            draft(&request, OUTGOING).to_string(),
            concat!(
                r#"{"model":"org/name:nscale","messages":[{"role":"user","content":"hi"}],"max_tokens":64,"#,
                r#""stream":true,"stream_options":{"include_usage":true}}"#
            )
        );
    }

    #[test]
    fn what_a_provider_refuses_is_left_out_for_it_alone() {
        let request = json!({
            "messages": [{"role": "user", "content": "hi", "name": "ann"}], "frequency_penalty": 0.5,
        });
        let to = |provider| draft(&request, Outgoing { provider, ..OUTGOING });
        assert_eq!(to("nscale")["messages"][0]["name"], "ann");
        assert_eq!(to("groq")["messages"], json!([{"role": "user", "content": "hi"}]));
        assert_eq!(to("nscale")["frequency_penalty"], 0.5);
        assert_eq!(to("cerebras").get("frequency_penalty"), None);
    }

    #[test]
    fn what_is_only_ours_or_only_openais_stays_here() {
        let request = json!({
            "messages": [
                {"role": "developer", "content": "be brief", "reasoning_content": "hm"},
                {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
                {"role": "user", "content": "", "name": null},
            ],
            "max_completion_tokens": 9, "temperature": 0, "seed": null, "top_k": 5, "min_p": 0.1, "n": 1,
            "store": true, "user": "me", "metadata": {}, "tool_choice": "auto", "tools": [],
            "reasoning_effort": "minimal", "outpost": {"id": "x", "data_class": "public"},
        });
        let sent = draft(&request, OUTGOING);
        let names: Vec<&str> = sent.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "model",
            "messages",
            "max_tokens",
            "stream",
            "stream_options",
            "temperature",
            "reasoning_effort",
        ];
        assert_eq!(names, expected);
        assert_eq!(sent["reasoning_effort"], "low");
        assert_eq!(
            sent["messages"],
            json!([
                {"role": "system", "content": "be brief"},
                {"role": "assistant", "tool_calls": [{"id": "1"}]},
                {"role": "user", "content": ""},
            ])
        );
    }
}
