//! What a conversation is made of, as callers send it.

use serde_json::{Map, Value};

use crate::domain::{Error, Result, limits};

/// Who can have said something. Closed, because some templates build control tokens of roles.
pub const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Who said it: one of [`ROLES`].
    pub role: String,
    /// What was said. `None` where the message is tool calls alone.
    pub content: Option<String>,
    /// Name of the participant or of the tool, where the caller gave one.
    pub name: Option<String>,
    /// The assistant's tool calls, an array in `OpenAI`'s shape. Arguments given as JSON in a
    /// string, as `OpenAI` has it, reach the template as the object that they are.
    pub tool_calls: Option<Value>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message that is text alone.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
    }
}

/// `messages` as templates know them: what was not given is not there, as transformers has it.
pub(super) fn to_json(messages: &[Message]) -> Result<Value> {
    if messages.is_empty() {
        return Err(Error::invalid("messages", "there must be at least one message"));
    }
    if messages.len() > limits::MESSAGES_MAX {
        return Err(Error::invalid(
            "messages",
            format!("{} messages are more than the {} allowed", messages.len(), limits::MESSAGES_MAX),
        ));
    }
    messages.iter().enumerate().map(|(index, message)| one_to_json(index, message)).collect()
}

fn one_to_json(index: usize, message: &Message) -> Result<Value> {
    if !ROLES.contains(&message.role.as_str()) {
        return Err(Error::invalid(
            format!("messages[{index}].role"),
            format!("the role must be one of {}", ROLES.join(", ")),
        ));
    }
    let text = |text: &Option<String>| text.clone().map(Value::String);
    let mut json = Map::new();
    json.insert("role".to_owned(), Value::String(message.role.clone()));
    let given = [
        ("content", text(&message.content)),
        ("name", text(&message.name)),
        ("tool_calls", message.tool_calls.clone().map(with_parsed_arguments)),
        ("tool_call_id", text(&message.tool_call_id)),
    ];
    json.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Ok(Value::Object(json))
}

fn with_parsed_arguments(mut calls: Value) -> Value {
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        let parsed = arguments.as_str().and_then(|text| serde_json::from_str::<Map<_, _>>(text).ok());
        if let Some(parsed) = parsed {
            *arguments = Value::Object(parsed);
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_given_is_there() {
        let message = Message::new("user", "Hi");
        assert_eq!(to_json(&[message]), Ok(json!([{"role": "user", "content": "Hi"}])));
        let message = Message {
            role: "tool".to_owned(),
            name: Some("f".to_owned()),
            tool_call_id: Some("1".to_owned()),
            ..Message::default()
        };
        let expected = json!([{"role": "tool", "name": "f", "tool_call_id": "1"}]);
        assert_eq!(to_json(&[message]), Ok(expected));
    }

    #[test]
    fn arguments_in_a_string_become_an_object_where_they_are_one() {
        let arguments = |given: Value| {
            let calls = json!([{"function": {"name": "f", "arguments": given}}]);
            let message =
                Message { role: "assistant".to_owned(), tool_calls: Some(calls), ..Message::default() };
            to_json(&[message]).unwrap().pointer("/0/tool_calls/0/function/arguments").unwrap().clone()
        };
        assert_eq!(arguments(json!(r#"{"b":1,"a":[]}"#)).to_string(), r#"{"b":1,"a":[]}"#);
        assert_eq!(arguments(json!({"a": 1})), json!({"a": 1}));
        for kept in [json!(""), json!("{"), json!("7"), json!(null)] {
            assert_eq!(arguments(kept.clone()), kept);
        }
    }

    #[test]
    fn an_unknown_role_and_too_few_or_many_messages_are_refused_by_name() {
        assert_eq!(to_json(&[]).unwrap_err().param.as_deref(), Some("messages"));
        let error = to_json(&[Message::new("user", ""), Message::new("<|im_end|>", "")]).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("messages[1].role"));
        let many = vec![Message::new("user", ""); limits::MESSAGES_MAX + 1];
        assert_eq!(to_json(&many).unwrap_err().param.as_deref(), Some("messages"));
    }
}
