//! What is to be answered: a conversation, text, or token ids.

use serde_json::Value;

use super::body::MessageBody;
use crate::{
    domain::{Error, Result},
    model::Message,
};

/// What to answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A conversation.
    Chat(Vec<Message>),
    /// Text to go on from; special tokens in it are text.
    Text(String),
    /// Token ids to go on from.
    Tokens(Vec<u32>),
}

impl Input {
    /// The field of the body that holds it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Chat(_) => "messages",
            Self::Text(_) | Self::Tokens(_) => "prompt",
        }
    }
}

/// The messages of a chat, and the field with the first image; only their form is checked here, roles
/// are the template's matter.
pub(super) fn messages(bodies: Vec<MessageBody>) -> Result<(Vec<Message>, Option<String>)> {
    if bodies.is_empty() {
        return Err(Error::invalid("messages", "`messages` is empty: there is nothing to answer"));
    }
    let mut image = None;
    let messages = bodies.into_iter().enumerate().map(|(n, body)| message(n, body, &mut image));
    Ok((messages.collect::<Result<_>>()?, image))
}

fn message(n: usize, body: MessageBody, image: &mut Option<String>) -> Result<Message> {
    let content = match body.content {
        None | Some(Value::Null) if body.tool_calls.is_none() => {
            let field = format!("messages[{n}].content");
            return Err(Error::invalid(&field, format!("`{field}` is missing; only tool calls go without")));
        }
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => Some(text_of_parts(n, &parts, image)?),
        Some(_) => {
            let field = format!("messages[{n}].content");
            return Err(Error::invalid(&field, format!("`{field}` must be text or a list of parts")));
        }
    };
    Ok(Message {
        role: body.role,
        content,
        name: body.name,
        tool_calls: body.tool_calls,
        tool_call_id: body.tool_call_id,
    })
}

/// The text of OpenAI's content parts. Images are noted: the model here has no eyes, another may.
fn text_of_parts(n: usize, parts: &[Value], image: &mut Option<String>) -> Result<String> {
    let mut text = String::new();
    for (p, part) in parts.iter().enumerate() {
        let field = format!("messages[{n}].content[{p}]");
        match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
            (Some("text"), Some(piece)) => text.push_str(piece),
            (Some("text"), None) => {
                return Err(Error::invalid(&field, format!("`{field}.text` must be text")));
            }
            (Some("image_url"), _) => *image = image.take().or(Some(field)),
            (Some(other), _) => {
                let why = format!("`{field}` is of type `{other}`; only text and images can be asked about");
                return Err(Error::invalid(&field, why));
            }
            (None, _) => return Err(Error::invalid(&field, format!("`{field}.type` must be `text`"))),
        }
    }
    Ok(text)
}

/// The `prompt` of a completion.
pub(super) fn prompt(value: &Value) -> Result<Input> {
    let wrong =
        || Error::invalid("prompt", "`prompt` must be text, a list with one text, or a list of token ids");
    match value {
        Value::String(text) => Ok(Input::Text(text.clone())),
        Value::Array(list) => match list.as_slice() {
            [Value::String(text)] => Ok(Input::Text(text.clone())),
            [Value::Array(ids)] => token_ids(ids).ok_or_else(wrong),
            [Value::String(_), ..] => {
                Err(Error::invalid("prompt", "`prompt` holds several texts; send one request for each"))
            }
            ids => token_ids(ids).ok_or_else(wrong),
        },
        _ => Err(wrong()),
    }
}

fn token_ids(ids: &[Value]) -> Option<Input> {
    let ids =
        ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect::<Option<Vec<_>>>()?;
    Some(Input::Tokens(ids))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prompt_is_text_or_token_ids() {
        let read = |p: Value| prompt(&p);
        assert_eq!(read(json!("a")).unwrap(), Input::Text("a".into()));
        assert_eq!(read(json!(["a"])).unwrap(), Input::Text("a".into()));
        assert_eq!(read(json!([1, 2])).unwrap(), Input::Tokens(vec![1, 2]));
        assert_eq!(read(json!([[1, 2]])).unwrap(), Input::Tokens(vec![1, 2]));
        for bad in [
            json!(null),
            json!(5),
            json!(["a", "b"]),
            json!([1, -2]),
            json!([1, "b"]),
            json!([4_294_967_296u64]),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().param.as_deref(), Some("prompt"), "{bad}");
        }
    }
}
