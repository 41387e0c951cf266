//! Packages as others publish them: no `outpost-model.toml`, but enough to run by.
//!
//! - **onnxruntime-genai**: `genai_config.json`, which names the graph and its sizes.
//! - **transformers.js** and **Optimum**: graphs with known names below `onnx/` or at the top,
//!   sizes in `config.json`, ends of an answer in `generation_config.json`.
//!
//! What is read becomes a [`Manifest`] that was never written. It has no self-test: the engine
//! tries such a graph out instead. Digests come from the record of the pull; without one
//! (somebody copied the directory) nothing vouches for the files.

mod config;
mod genai;
mod parts;

use std::{fs, path::Path};

pub use parts::{PRECISIONS, Parts, TABLE, TABLE_PRECISIONS, is_data, is_graph, language_model};

use super::{
    CacheShape, Convention, FORMAT, KvType, Layout, Manifest, PackageError, Pulled, RelPath, Requires,
    Source, Variant, package::read_text,
};
use crate::domain::limits;

/// File that says that a directory is laid out for onnxruntime-genai.
pub const GENAI_FILE: &str = "genai_config.json";

/// What a published configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sizes {
    architecture: String,
    context: usize,
    vocabulary: usize,
    eos: Vec<u32>,
    bos: Option<u32>,
    cache: CacheShape,
}

/// Graphs of the model, and what their number format is called.
struct Graphs {
    decoder: String,
    table: Option<String>,
    precision: String,
}

/// Describes the package in `dir`; `None` when it is laid out in no way that is known.
pub(super) fn describe(dir: &Path) -> Result<Option<Manifest>, PackageError> {
    let record = Pulled::read(dir)?;
    if record.as_ref().is_some_and(|record| record.layout == Layout::Gguf) {
        return Err(PackageError::Gguf { dir: dir.to_owned() });
    }
    let genai = read_optional(dir, GENAI_FILE)?;
    let (sizes, graphs, made_by) = if let Some(text) = genai {
        let (sizes, decoder) = genai::read(&text).map_err(|reason| wrong(dir, GENAI_FILE, reason))?;
        (sizes, Graphs { decoder, table: None, precision: "as published".into() }, "onnxruntime-genai")
    } else {
        let files: Vec<RelPath> = match &record {
            Some(record) => record.files.iter().filter_map(|f| f.path.parse().ok()).collect(),
            None => list(dir),
        };
        let Some(graphs) = choose(&files) else { return Ok(None) };
        let config = read_text(&dir.join(config::FILE), limits::PUBLISHED_CONFIG_BYTES_MAX)?;
        let generation = read_optional(dir, config::GENERATION_FILE)?;
        let sizes = config::read(&config, generation.as_deref())
            .map_err(|reason| wrong(dir, config::FILE, reason))?;
        (sizes, graphs, "transformers.js or Optimum")
    };
    manifest(dir, record, sizes, graphs, made_by).map(Some)
}

fn manifest(
    dir: &Path,
    record: Option<Pulled>,
    sizes: Sizes,
    graphs: Graphs,
    made_by: &str,
) -> Result<Manifest, PackageError> {
    let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let commit = record.as_ref().and_then(|record| record.commit.clone());
    let manifest = Manifest {
        format: FORMAT,
        name,
        version: commit.map_or_else(|| "unknown".into(), |commit| commit.chars().take(12).collect()),
        architecture: sizes.architecture,
        licence: "unknown".into(),
        context: sizes.context,
        vocabulary: sizes.vocabulary,
        eos: sizes.eos,
        bos: sizes.bos,
        cache: sizes.cache,
        source: Source {
            file: graphs.decoder.clone(),
            sha256: String::new(),
            quantization: graphs.precision.clone(),
            made_by: made_by.into(),
        },
        self_test: None,
        variants: vec![Variant {
            graph: graphs.decoder,
            providers: Vec::new(),
            // The graph itself says better, once it is open.
            kv: KvType::F32,
            weights: graphs.precision,
            block: 0,
            requires: Requires::default(),
            shapes: None,
            self_test: None,
            convention: Convention::Published { table: graphs.table },
        }],
        files: record.map(|record| record.files).unwrap_or_default(),
    };
    manifest.check().map_err(|reason| PackageError::Published { path: dir.to_owned(), reason })?;
    Ok(manifest)
}

/// The decoder in the best precision that is there, and the table beside it.
fn choose(files: &[RelPath]) -> Option<Graphs> {
    let (parts, decoder) = language_model(files, |path| path)?;
    let best = |part: &str, order: &[&str]| {
        let there = parts.get(part)?;
        let (precision, files) = order.iter().find_map(|p| there.get_key_value(p))?;
        let graph = files.iter().find(|path| is_graph(path))?;
        Some((graph.to_string(), (*precision).to_owned()))
    };
    let (graph, precision) = best(decoder, PRECISIONS)?;
    let table = best(TABLE, TABLE_PRECISIONS).map(|(graph, _)| graph);
    Some(Graphs { decoder: graph, table, precision })
}

/// Files at the top and below `onnx/`.
fn list(dir: &Path) -> Vec<RelPath> {
    let of = |folder: &str| {
        let entries = fs::read_dir(dir.join(folder)).into_iter().flatten().filter_map(Result::ok);
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        names.filter_map(|name| format!("{prefix}{name}").parse().ok()).collect::<Vec<RelPath>>()
    };
    let mut files: Vec<_> = ["", "onnx"].into_iter().flat_map(of).collect();
    files.sort();
    files
}

fn read_optional(dir: &Path, file: &str) -> Result<Option<String>, PackageError> {
    match read_text(&dir.join(file), limits::PUBLISHED_CONFIG_BYTES_MAX) {
        Err(PackageError::Missing { .. }) => Ok(None),
        read => read.map(Some),
    }
}

fn wrong(dir: &Path, file: &str, reason: String) -> PackageError {
    PackageError::Published { path: dir.join(file), reason }
}

#[cfg(test)]
mod tests;
