//! Types that a configuration value can have, and how each is read from TOML and from text.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use toml::Value;

/// A value of the configuration.
pub trait Setting: Sized {
    /// From a TOML value; the error says what was expected.
    fn from_toml(value: &Value) -> Result<Self, String>;

    /// From an environment variable or a flag. Text stays text; anything else is read as TOML.
    fn from_text(text: &str) -> Result<Self, String> {
        let table: toml::Table = toml::from_str(&format!("v = {text}"))
            .or_else(|_| toml::from_str(&format!("v = {}", Value::String(text.into()))))
            .map_err(|_| format!("`{text}` is not a value"))?;
        table.get("v").map_or_else(|| Err(format!("`{text}` is not a value")), Self::from_toml)
    }

    /// As it would stand in a file.
    fn to_toml(&self) -> Value;
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

pub(super) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("is {}, expected text in quotes", kind(value)))
}

impl Setting for String {
    fn from_toml(value: &Value) -> Result<Self, String> {
        text(value).map(Into::into)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }

    fn to_toml(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for PathBuf {
    fn from_toml(value: &Value) -> Result<Self, String> {
        match text(value)? {
            "" => Err("is empty, expected a path".into()),
            path => Ok(path.into()),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_toml(&Value::String(text.into()))
    }

    fn to_toml(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

/// Empty text means: not set.
impl<T: Setting> Setting for Option<T> {
    fn from_toml(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("") { Ok(None) } else { T::from_toml(value).map(Some) }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }

    fn to_toml(&self) -> Value {
        self.as_ref().map_or_else(|| Value::String(String::new()), T::to_toml)
    }
}

/// Whole numbers; what does not fit is told with the range.
macro_rules! whole_numbers {
    ($($Type:ty)*) => {$(
        impl Setting for $Type {
            fn from_toml(value: &Value) -> Result<Self, String> {
                let number =
                    value.as_integer().ok_or_else(|| format!("is {}, expected a whole number", kind(value)))?;
                Self::try_from(number).map_err(|_| match number {
                    ..0 => format!("is {number}, expected 0 or more"),
                    _ => format!("is {number}, expected at most {}", Self::MAX),
                })
            }

            #[allow(clippy::cast_lossless, reason = "one spelling for all widths")]
            fn to_toml(&self) -> Value {
                Value::Integer(*self as i64)
            }
        }
    )*};
}

whole_numbers!(usize u32 u64 i64);

impl Setting for bool {
    fn from_toml(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| format!("is {}, expected true or false", kind(value)))
    }

    fn to_toml(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for f64 {
    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::Float(x) => Ok(*x),
            Value::Integer(n) => Ok(*n as Self),
            other => Err(format!("is {}, expected a number", kind(other))),
        }
    }

    fn to_toml(&self) -> Value {
        Value::Float(*self)
    }
}

impl Setting for f32 {
    fn from_toml(value: &Value) -> Result<Self, String> {
        f64::from_toml(value).map(|x| x as Self)
    }

    fn to_toml(&self) -> Value {
        // Through decimal digits: 0.7 is to be shown as 0.7, not as the double nearest to its f32.
        Value::Float(self.to_string().parse().unwrap_or(f64::from(*self)))
    }
}

impl Setting for Vec<String> {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| format!("is {}, expected a list of texts", kind(value)))?;
        list.iter().map(|item| text(item).map(Into::into)).collect()
    }

    fn to_toml(&self) -> Value {
        Value::Array(self.iter().map(|s| Value::String(s.clone())).collect())
    }
}

/// Options that somebody else reads: texts, and numbers and switches as texts.
impl Setting for BTreeMap<String, String> {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let table =
            value.as_table().ok_or_else(|| format!("is {}, expected a table of options", kind(value)))?;
        let option = |(key, value): (&String, &Value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Boolean(on) => u8::from(*on).to_string(),
                other => {
                    return Err(format!("has `{key}`, which is {}, expected text or a number", kind(other)));
                }
            };
            Ok((key.clone(), text))
        };
        table.iter().map(option).collect()
    }

    fn to_toml(&self) -> Value {
        Value::Table(self.iter().map(|(key, text)| (key.clone(), Value::String(text.clone()))).collect())
    }
}

impl Setting for SocketAddr {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| format!("is `{text}`, expected address and port such as `127.0.0.1:8080`"))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_toml(&Value::String(text.into()))
    }

    fn to_toml(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// Permission bits, written in octal as `chmod` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Setting for FileMode {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .map(Self)
            .ok_or_else(|| format!("is `{text}`, expected octal permissions such as `0660`"))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_toml(&Value::String(text.into()))
    }

    fn to_toml(&self) -> Value {
        Value::String(format!("{:04o}", self.0))
    }
}

/// How much the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub tracing::Level);

impl Setting for LogLevel {
    fn from_toml(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        match text {
            "error" => Ok(Self(tracing::Level::ERROR)),
            "warn" => Ok(Self(tracing::Level::WARN)),
            "info" => Ok(Self(tracing::Level::INFO)),
            "debug" => Ok(Self(tracing::Level::DEBUG)),
            "trace" => Ok(Self(tracing::Level::TRACE)),
            other => Err(format!("is `{other}`, expected one of error, warn, info, debug, trace")),
        }
    }

    fn to_toml(&self) -> Value {
        Value::String(self.0.as_str().to_ascii_lowercase())
    }
}
