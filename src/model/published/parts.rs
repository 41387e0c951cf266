//! The graphs that a published language model consists of, by their file names.

use std::{collections::BTreeMap, path::Path};

use crate::model::RelPath;

/// Precisions, the one that suits a processor best first: 16-bit arithmetic is emulated on most of them.
pub const PRECISIONS: &[&str] = &[
    "q4",
    "q4f16",
    "int8",
    "quantized",
    "q8",
    "uint8",
    "bnb4",
    "q2",
    "q2f16",
    "q1",
    "q1f16",
    "fp16",
    "fp32",
];
/// The token table's: it is not computed with, and spoilt most by coarse numbers.
pub const TABLE_PRECISIONS: &[&str] =
    &["fp16", "quantized", "q8", "int8", "uint8", "q4", "q4f16", "bnb4", "fp32"];
/// Part that turns token ids into embeddings, where the decoder does not.
pub const TABLE: &str = "embed_tokens";
/// Parts that are the language model itself; the first that is there.
const DECODERS: &[&str] = &["decoder_model_merged", "model"];
/// Where graphs lie.
const FOLDERS: [&str; 2] = ["onnx", ""];

/// Part → precision → its files.
pub type Parts<'a, T> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a T>>>;

/// The graphs below `onnx/` or at the top, and which of them is the decoder; `None` when there are none of a
/// language model. `path` says where a file is.
pub fn language_model<T>(files: &[T], path: impl Fn(&T) -> &RelPath) -> Option<(Parts<'_, T>, &'static str)> {
    FOLDERS.into_iter().find_map(|folder| {
        let parts = parts(files, &path, folder);
        let decoder = DECODERS.iter().find(|name| parts.contains_key(*name))?;
        // Whoever reads with one graph and writes with another is a translator, not a language model.
        (!parts.contains_key("encoder_model")).then_some((parts, *decoder))
    })
}

/// Graphs with their data, such as `embed_tokens_q4.onnx` and `embed_tokens_q4.onnx_data_1`. Without a
/// precision in its name a graph is `fp32`. A graph of which only data is there is none.
fn parts<'a, T>(files: &'a [T], path: impl Fn(&T) -> &RelPath, folder: &str) -> Parts<'a, T> {
    let mut parts = Parts::new();
    for file in files.iter().filter(|file| path(file).folder() == folder) {
        let Some((graph, end)) = path(file).file_name().split_once(".onnx") else { continue };
        if !end.is_empty() && !is_data(end) {
            continue;
        }
        let known = PRECISIONS.iter().find(|p| graph.ends_with(&format!("_{p}")));
        let (part, precision) = match known {
            Some(p) => (&graph[..graph.len() - p.len() - 1], *p),
            None => (graph, "fp32"),
        };
        parts.entry(part).or_default().entry(precision).or_default().push(file);
    }
    for there in parts.values_mut() {
        there.retain(|_, files| files.iter().any(|file| is_graph(path(file))));
    }
    parts.retain(|_, there| !there.is_empty());
    parts
}

/// Whether a file is a graph and not its data.
pub fn is_graph(path: &RelPath) -> bool {
    Path::new(path.as_str()).extension().is_some_and(|end| end == "onnx")
}

/// Whether what follows `.onnx` in a name makes it a graph's data, whole or a piece.
pub fn is_data(end: &str) -> bool {
    let data = end.strip_prefix("_data").or_else(|| end.strip_prefix(".data"));
    let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    data.is_some_and(|n| n.is_empty() || n.strip_prefix('_').is_some_and(number))
}
