//! The key-value part of a GGUF file.

use std::collections::BTreeMap;

use super::{GgufError, cursor::Cursor};
use crate::limits;

/// One metadata value. Integers of all widths become `i64`, floats `f64`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Text(_) => "a text",
            Self::Integers(_) => "an array of integers",
            Self::Floats(_) => "an array of floats",
            Self::Bools(_) => "an array of booleans",
            Self::Texts(_) => "an array of texts",
        }
    }
}

/// All metadata of a file, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Every entry, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A count or size: a whole number from 0 to `max`. `None` when the key is absent.
    pub fn count(&self, key: &str, max: usize) -> Result<Option<usize>, GgufError> {
        self.typed(key, "a whole number", |value| match value {
            Value::Integer(n) => usize::try_from(*n).ok(),
            _ => None,
        })?
        .map_or(Ok(None), |n| {
            let too_much = || GgufError::metadata(key, format!("{n} is more than the limit of {max}"));
            if n <= max { Ok(Some(n)) } else { Err(too_much()) }
        })
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.typed(key, "a finite number", |value| match value {
            Value::Float(x) if x.is_finite() => Some(*x),
            Value::Integer(n) => Some(*n as f64),
            _ => None,
        })
    }

    /// A truth value.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "a boolean", |value| if let Value::Bool(b) = value { Some(*b) } else { None })
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a text", |value| if let Value::Text(t) = value { Some(t.as_str()) } else { None })
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.typed(key, "an array of texts", |value| {
            if let Value::Texts(t) = value { Some(t.as_slice()) } else { None }
        })
    }

    /// A list of whole numbers.
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, GgufError> {
        self.typed(key, "an array of integers", |value| {
            if let Value::Integers(n) = value { Some(n.as_slice()) } else { None }
        })
    }

    /// What a file without `key` is told.
    pub fn missing(key: &str) -> GgufError {
        GgufError::metadata(key, "is missing")
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        pick: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let wrong = || GgufError::metadata(key, format!("is {} and not {wanted}", value.kind()));
        pick(value).map(Some).ok_or_else(wrong)
    }
}

/// Reads `count` entries.
pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, GgufError> {
    let mut values = BTreeMap::new();
    let mut elements_left = limits::ARRAY_ELEMENTS_MAX;
    for index in 0..count {
        let key = cursor.string(&format!("metadata key {index}"), limits::NAME_BYTES_MAX)?;
        let kind = cursor.u32(&key)?;
        let value = if kind == ARRAY {
            read_array(cursor, &key, &mut elements_left)?
        } else {
            read_one(cursor, &key, kind)?
        };
        if values.contains_key(&key) {
            return Err(GgufError::metadata(&key, "occurs twice: the file is damaged"));
        }
        values.insert(key, value);
    }
    Ok(Metadata { values })
}

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn read_one(cursor: &mut Cursor<'_>, key: &str, kind: u32) -> Result<Value, GgufError> {
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(cursor.array(key)?).into()),
        1 => Value::Integer(i8::from_le_bytes(cursor.array(key)?).into()),
        2 => Value::Integer(u16::from_le_bytes(cursor.array(key)?).into()),
        3 => Value::Integer(i16::from_le_bytes(cursor.array(key)?).into()),
        4 => Value::Integer(cursor.u32(key)?.into()),
        5 => Value::Integer(i32::from_le_bytes(cursor.array(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(cursor.array(key)?).into()),
        BOOL => match cursor.array::<1>(key)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => {
                return Err(GgufError::metadata(
                    key,
                    format!("{other} is not a boolean: the file is damaged"),
                ));
            }
        },
        STRING => Value::Text(cursor.string(key, limits::STRING_BYTES_MAX)?),
        10 => {
            let n = cursor.u64(key)?;
            Value::Integer(
                i64::try_from(n).map_err(|_| GgufError::metadata(key, format!("{n} is out of range")))?,
            )
        }
        11 => Value::Integer(i64::from_le_bytes(cursor.array(key)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.array(key)?)),
        other => {
            return Err(GgufError::metadata(
                key,
                format!("value type {other} is unknown: the file is damaged"),
            ));
        }
    })
}

/// Smallest size of one value in the file, bytes.
const fn bytes_min(kind: u32) -> u64 {
    match kind {
        2 | 3 => 2,
        4..=6 => 4,
        STRING | 10..=12 => 8,
        _ => 1,
    }
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, elements_left: &mut u64) -> Result<Value, GgufError> {
    let kind = cursor.u32(key)?;
    let count = cursor.u64(key)?;
    if kind == ARRAY {
        return Err(GgufError::metadata(key, "is an array of arrays, which no known model has"));
    }
    if count > *elements_left {
        let what = format!("elements of metadata arrays, at `{}`", super::error::shown(key));
        return Err(GgufError::TooMuch { what, found: count, limit: limits::ARRAY_ELEMENTS_MAX });
    }
    *elements_left -= count;
    cursor.check_left(count * bytes_min(kind), key)?;
    let mut array = match kind {
        6 | 12 => Value::Floats(Vec::with_capacity(count as usize)),
        BOOL => Value::Bools(Vec::with_capacity(count as usize)),
        STRING => Value::Texts(Vec::with_capacity(count as usize)),
        _ => Value::Integers(Vec::with_capacity(count as usize)),
    };
    for _ in 0..count {
        match (&mut array, read_one(cursor, key, kind)?) {
            (Value::Floats(all), Value::Float(x)) => all.push(x),
            (Value::Bools(all), Value::Bool(b)) => all.push(b),
            (Value::Texts(all), Value::Text(t)) => all.push(t),
            (Value::Integers(all), Value::Integer(n)) => all.push(n),
            _ => return Err(GgufError::metadata(key, "has elements of two types: the file is damaged")),
        }
    }
    Ok(array)
}
