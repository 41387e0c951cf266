//! The audit as the daemon gives it away, read and held together by nothing but SHA-256.

use outpost::domain::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// All rows, and what does not hold together.
#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) rows: Vec<Value>,
    pub(crate) broken: Vec<String>,
    last: Option<String>,
}

impl Audit {
    /// Takes in a portion of it; whether it was the last.
    pub(crate) fn take(&mut self, portion: &Value) -> bool {
        let lines = portion["data"].as_array().unwrap();
        for row in lines {
            let (line, hash) = (row["line"].as_str().unwrap(), row["hash"].as_str().unwrap());
            let parsed: Value = serde_json::from_str(line).unwrap();
            let before = self.last.take().unwrap_or_else(|| "0".repeat(64));
            let seq = self.rows.len() + 1;
            if parsed["seq"] != seq || parsed["prev"] != before.as_str() || sha256(line.as_bytes()) != hash {
                self.broken
                    .push(format!("row {seq} of the chain is not what follows the one before: {line}"));
            }
            self.last = Some(hash.to_owned());
            self.rows.push(parsed);
        }
        let head = &portion["head"];
        if lines.is_empty() && (head["seq"] != self.rows.len() || head["hash"] != self.head()) {
            self.broken.push(format!("the chain ends with row {} and not with {head}", self.rows.len()));
        }
        lines.is_empty()
    }

    fn head(&self) -> String {
        self.last.clone().unwrap_or_else(|| "0".repeat(64))
    }

    /// The rows of one event, in their order.
    pub(crate) fn of(&self, event: &str) -> Vec<&Value> {
        self.rows.iter().filter(|row| row["event"] == event).collect()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
