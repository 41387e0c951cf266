//! The JSON Schema that an answer must meet.
//!
//! The keywords are those of draft 2020-12 that say what a value is: types, `enum`, `const`,
//! ranges, lengths, `pattern`, some `format`s, properties and items, the four combinations,
//! and `$ref` within the same schema. Any other keyword is refused by its name when the
//! schema is compiled, so that nothing is promised that is not held, and no slip of the finger
//! goes unseen.
//!
//! Nothing is fetched. A pattern is matched in time linear in the text, a schema that leads
//! back to itself without going into the value is refused, and a check ends after
//! [`limits::SCHEMA_STEPS_MAX`] steps, so neither a schema nor an answer can make it hang.

mod check;
mod compile;
mod rules;
#[cfg(test)]
mod tests;
mod values;

use serde_json::Value;

use self::rules::Rules;
use crate::domain::limits;

/// Faults of one answer that are told; the rest is likely to follow from them.
const FAULTS_TOLD: usize = 5;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    /// The first one is the whole; each refers to others by their number.
    rules: Vec<Rules>,
    text: String,
}

impl Schema {
    /// Compiles the text of a schema; the error says what is wrong with it.
    pub fn compile(text: &str) -> Result<Self, String> {
        if text.len() > limits::SCHEMA_BYTES_MAX {
            return Err(format!("has {} bytes, at most {} are taken", text.len(), limits::SCHEMA_BYTES_MAX));
        }
        let value: Value = serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))?;
        let rules = compile::compile(&value)?;
        Ok(Self { rules, text: value.to_string() })
    }

    /// The schema as one line of JSON.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Holds a value against the schema; the error says where it fails and what was expected.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let (mut faults, count) = check::faults(&self.rules, value);
        if count == 0 {
            return Ok(());
        }
        if count > FAULTS_TOLD {
            faults.truncate(FAULTS_TOLD);
            faults.push(format!("and {} more", count - FAULTS_TOLD));
        }
        Err(faults.join("; "))
    }
}
