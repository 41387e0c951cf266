//! What a model says of itself, and whether a package can be made of it.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::{
    Result,
    source::{Origin, Tensor},
};

/// Characters of one value that are shown.
const VALUE_CHARS: usize = 60;

/// The model in brief.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Metadata, values shortened.
    pub metadata: Vec<(String, String)>,
    /// Tensors.
    pub tensors: Vec<TensorLine>,
    /// Number formats, the one with the most bytes first.
    pub formats: String,
    /// Weights.
    pub parameters: u64,
    /// Why no package can be made of it; `None` when one can.
    pub obstacle: Option<String>,
}

/// One tensor.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "fields of `source::Tensor`")]
pub struct TensorLine {
    pub name: String,
    pub format: &'static str,
    pub rows: usize,
    pub columns: usize,
}

/// Reads the headers of the file or directory `path`.
pub fn inspect(path: &Path) -> Result<Report> {
    let origin = Origin::open(path)?;
    let describe = || -> Result<()> {
        let decoder = origin.describe()?;
        origin.tokenizer(decoder.vocabulary, decoder.context).map(|_| ())
    };
    let line = |t: &Tensor| TensorLine {
        name: shown(&t.name),
        format: t.format.name(),
        rows: t.rows,
        columns: t.columns,
    };
    let tensors = origin.tensors().tensors();
    Ok(Report {
        metadata: origin.metadata().iter().map(|(key, value)| (shown(key), shown(value))).collect(),
        tensors: tensors.iter().map(line).collect(),
        formats: origin.formats(),
        parameters: tensors.iter().map(|t| t.rows as u64 * t.columns as u64).sum(),
        obstacle: describe().err().map(|e| e.to_string()),
    })
}

fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(VALUE_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(VALUE_CHARS).is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.metadata {
            writeln!(f, "{key} = {value}")?;
        }
        for t in &self.tensors {
            writeln!(f, "{:32} {:5} {} x {}", t.name, t.format, t.rows, t.columns)?;
        }
        writeln!(f, "{} tensors, {} weights, {}", self.tensors.len(), self.parameters, self.formats)?;
        match &self.obstacle {
            None => writeln!(f, "a package can be made of it"),
            Some(reason) => writeln!(f, "no package can be made of it: {reason}"),
        }
    }
}
