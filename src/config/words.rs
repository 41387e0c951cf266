//! Values that are one of a few words, and the other small types of the lists.

use toml::Value;

use super::setting::{Setting, kind, text};
use crate::domain::{DeviceKind, Lane, Prefer, Zone};

/// A value that is one of a few words.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $Name:ident { $($(#[doc = $variant_doc:literal])* $Variant:ident = $word:literal,)* })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name {
            $($(#[doc = $variant_doc])* $Variant,)*
        }

        impl Setting for $Name {
            fn from_toml(value: &Value) -> Result<Self, String> {
                match text(value)? {
                    $($word => Ok(Self::$Variant),)*
                    other => Err(not_one_of(other, &[$($word),*])),
                }
            }

            fn from_text(text: &str) -> Result<Self, String> {
                Self::from_toml(&Value::String(text.into()))
            }

            fn to_toml(&self) -> Value {
                Value::String(match self { $(Self::$Variant => $word,)* }.into())
            }
        }
    )*};
}

words! {
    /// What to do when the database cannot be read.
    OnCorruption {
        /// Move it aside and begin with an empty one.
        StartEmpty = "start_empty",
        /// Do not start.
        Stop = "stop",
    }
    /// Whether weights are kept as ONNX Runtime packs them.
    PackedWeights {
        /// Those of large packages.
        Auto = "auto",
        /// All.
        Always = "always",
        /// None.
        Never = "never",
    }
    /// How a task's templates see what came in.
    PayloadForm {
        /// As the value that the JSON text stands for.
        Json = "json",
        /// As text, which must be UTF-8.
        Text = "text",
        /// As a list of numbers from 0 to 255.
        Bytes = "bytes",
    }
}

fn not_one_of(word: &str, words: &[&str]) -> String {
    format!("is `{word}`, expected one of {}", words.join(", "))
}

/// The same for types of the domain that know their names.
macro_rules! named {
    ($($Name:ident),*) => {$(
        impl Setting for $Name {
            fn from_toml(value: &Value) -> Result<Self, String> {
                let word = text(value)?;
                let found = Self::ALL.into_iter().find(|one| one.name() == word);
                found.ok_or_else(|| not_one_of(word, &Self::ALL.map(Self::name)))
            }

            fn from_text(text: &str) -> Result<Self, String> {
                Self::from_toml(&Value::String(text.into()))
            }

            fn to_toml(&self) -> Value {
                Value::String(self.name().into())
            }
        }
    )*};
}

named!(DeviceKind, Lane, Prefer, Zone);

/// One text, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneOrMore(pub Vec<String>);

impl Setting for OneOrMore {
    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(one) => Ok(Self(vec![one.clone()])),
            Value::Array(_) => Vec::from_toml(value).map(Self),
            other => Err(format!("is {}, expected text in quotes or a list of texts", kind(other))),
        }
    }

    fn to_toml(&self) -> Value {
        match self.0.as_slice() {
            [one] => Value::String(one.clone()),
            _ => self.0.to_toml(),
        }
    }
}

/// Which change of a payload is worth a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// Any payload runs, changed or not.
    #[default]
    Off,
    /// Any other byte.
    Payload,
    /// Another value at one of these JSON pointers (RFC 6901).
    Values(Vec<String>),
}

impl Setting for OnChange {
    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::Boolean(false) => Ok(Self::Off),
            Value::Boolean(true) => Ok(Self::Payload),
            Value::Array(list) if list.is_empty() => Err("is an empty list; write `false` or `true`".into()),
            Value::Array(_) => Vec::from_toml(value).map(Self::Values),
            other => Err(format!(
                "is {}, expected true, false or a list of JSON pointers such as \"/rms\"",
                kind(other)
            )),
        }
    }

    fn to_toml(&self) -> Value {
        match self {
            Self::Off => Value::Boolean(false),
            Self::Payload => Value::Boolean(true),
            Self::Values(pointers) => pointers.to_toml(),
        }
    }
}
