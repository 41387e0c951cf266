//! What the policy is asked about: who sends what.

use std::borrow::Cow;

use serde_json::Value;

use super::class::Class;
use crate::domain::{ClientId, Lane, Zone, limits};

/// A request, as far as a rule may ask about it. Made of what the daemon knows of the sender;
/// only `class`, `zone_max` and `lane` depend on what the request says of itself, and those only tighten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Who asks.
    pub client: &'a ClientId,
    /// The user behind the socket, as the kernel says.
    pub uid: Option<u32>,
    /// In which lane it waits.
    pub lane: Lane,
    /// Whether it chose that lane itself: then it opens no door.
    pub chose_lane: bool,
    /// On which topic it came, when it is a task's reading.
    pub topic: Option<&'a str>,
    /// Which task asks.
    pub task: Option<&'a str>,
    /// The class that counts (see [`Classes::effective`](super::Classes::effective)).
    pub class: Class,
    /// How far it may go at most, as it says itself.
    pub zone_max: Zone,
}

/// Every text in a body: values, the names of fields, and numbers as they are written.
pub struct Texts<'a> {
    all: Vec<Cow<'a, str>>,
    opaque: bool,
}

/// A body with more nesting than requests may have: nobody can say what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep;

impl<'a> Texts<'a> {
    /// The texts of `body`, in order.
    pub fn of(body: &'a Value) -> Result<Self, TooDeep> {
        let mut texts = Vec::new();
        collect(body, limits::JSON_DEPTH_MAX, &mut texts)?;
        Ok(Self { all: texts, opaque: is_opaque(body) })
    }

    /// One after the other.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|text| &**text)
    }

    /// Whether there is something in it that cannot be looked through: a picture, a recording, a file.
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }
}

/// Parts of messages that are not text. Depth is known to be bounded by then.
fn is_opaque(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str);
            matches!(kind, Some("image_url" | "input_audio" | "file" | "image" | "video_url"))
                || fields.values().any(is_opaque)
        }
        Value::Array(items) => items.iter().any(is_opaque),
        _ => false,
    }
}

fn collect<'a>(value: &'a Value, depth: usize, texts: &mut Vec<Cow<'a, str>>) -> Result<(), TooDeep> {
    let depth = depth.checked_sub(1).ok_or(TooDeep)?;
    match value {
        Value::String(text) => texts.push(text.into()),
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, depth, texts))?,
        Value::Object(fields) => {
            for (name, item) in fields {
                texts.push(name.into());
                collect(item, depth, texts)?;
            }
        }
        Value::Number(number) => texts.push(number.to_string().into()),
        Value::Null | Value::Bool(_) => {}
    }
    Ok(())
}
