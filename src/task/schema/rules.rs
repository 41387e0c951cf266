//! What one schema says of a value.

use regex::Regex;
use serde_json::{Number, Value};

/// Number of a schema in the list of all.
pub(super) type Id = usize;

/// A JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    Object,
    Array,
    Number,
    Integer,
    String,
}

impl Type {
    pub(super) const ALL: [Self; 7] =
        [Self::Null, Self::Boolean, Self::Object, Self::Array, Self::Number, Self::Integer, Self::String];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::String => "string",
        }
    }

    /// Whether `value` is of this type; 1.0 is an integer.
    pub(super) fn holds(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null)
            | (Self::Boolean, Value::Bool(_))
            | (Self::Object, Value::Object(_))
            | (Self::Array, Value::Array(_))
            | (Self::Number, Value::Number(_))
            | (Self::String, Value::String(_)) => true,
            (Self::Integer, Value::Number(n)) => {
                n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|x| x.fract() == 0.0)
            }
            _ => false,
        }
    }
}

/// A format whose meaning is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    DateTime,
    Date,
    Ipv4,
    Ipv6,
    Uuid,
}

impl Format {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("date-time", Self::DateTime),
        ("date", Self::Date),
        ("ipv4", Self::Ipv4),
        ("ipv6", Self::Ipv6),
        ("uuid", Self::Uuid),
    ];

    pub(super) fn holds(self, text: &str) -> bool {
        match self {
            // With the offset that RFC 3339 asks for, and with its `T`.
            Self::DateTime => {
                text.as_bytes().get(10).is_some_and(|b| b.eq_ignore_ascii_case(&b'T'))
                    && text.parse::<jiff::Timestamp>().is_ok()
            }
            Self::Date => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
            Self::Ipv4 => text.parse::<std::net::Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<std::net::Ipv6Addr>().is_ok(),
            Self::Uuid => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
        }
    }
}

/// From the fewest to the most, both included.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) min: Option<u64>,
    pub(super) max: Option<u64>,
}

/// One schema. What is absent says nothing.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The schema `false`: no value will do.
    pub(super) never: bool,
    pub(super) types: Vec<Type>,
    /// `enum`, or `const` as an `enum` of one.
    pub(super) one_of_these: Option<Vec<Value>>,

    pub(super) minimum: Option<Number>,
    pub(super) maximum: Option<Number>,
    pub(super) above: Option<Number>,
    pub(super) below: Option<Number>,
    pub(super) multiple_of: Option<Number>,

    pub(super) length: Count,
    pub(super) pattern: Option<Regex>,
    pub(super) format: Option<Format>,

    pub(super) properties: Vec<(String, Id)>,
    pub(super) pattern_properties: Vec<(Regex, Id)>,
    pub(super) additional_properties: Option<Id>,
    pub(super) required: Vec<String>,
    pub(super) property_count: Count,

    pub(super) prefix_items: Vec<Id>,
    pub(super) items: Option<Id>,
    pub(super) item_count: Count,
    pub(super) unique_items: bool,

    pub(super) reference: Option<Id>,
    pub(super) all_of: Vec<Id>,
    pub(super) any_of: Vec<Id>,
    pub(super) one_of: Vec<Id>,
    pub(super) not: Option<Id>,
}

impl Rules {
    /// The schemas that look at the same value as this one.
    pub(super) fn beside(&self) -> impl Iterator<Item = Id> {
        let lists = [&self.all_of, &self.any_of, &self.one_of];
        self.reference.into_iter().chain(self.not).chain(lists.into_iter().flatten().copied())
    }
}
