//! Cutting a model into parts that fit into memory one by one, and running them as a chain.

use std::path::Path;

use crate::{
    Result,
    arch::Decoder,
    graph::{self, Part, Plan, Store, tap_name},
    limits,
    progress::Progress,
    runtime::{Chain, Link},
};

/// Parts of at most [`limits::PART_WEIGHTS`] each, or of one layer; a new one begins at each
/// layer of `borders`, too. The tables are in the first and the last of a small model; in a
/// large one the output matrix is apart from the layers, in pieces of so many rows.
pub fn cut(decoder: &Decoder, borders: &[usize]) -> Vec<Part> {
    let table = decoder.vocabulary * decoder.width;
    let layer = |index: usize| -> usize {
        let own = decoder.matrices().filter(|(site, _)| site.layer() == Some(index));
        own.map(|(_, matrix)| matrix.rows * matrix.columns).sum()
    };
    let mut parts = Vec::new();
    let (mut first, mut weights) = (0, 0);
    for index in 0..decoder.layers.len() {
        let more = layer(index);
        if index > first && (borders.contains(&index) || weights + more > limits::PART_WEIGHTS) {
            parts.push(Part { layers: first..index, embeds: first == 0, projects: 0..0 });
            (first, weights) = (index, 0);
        }
        weights += more;
    }
    let all = decoder.layers.len();
    let apart = weights + table > limits::PART_WEIGHTS;
    let rows = decoder.vocabulary;
    parts.push(Part { layers: first..all, embeds: first == 0, projects: if apart { 0..0 } else { 0..rows } });
    if apart {
        let piece = rows.div_ceil(table.div_ceil(limits::PART_WEIGHTS).max(1)).max(1);
        let pieces = (0..rows).step_by(piece).map(|from| from..rows.min(from + piece));
        parts.extend(pieces.map(|rows| Part { layers: all..all, embeds: false, projects: rows }));
    }
    parts
}

/// Writes `parts` as graphs beside `store` in `dir`, called after `name`; gives them as links.
pub fn links(
    plan: &Plan<'_>,
    parts: &[Part],
    (store, dir): (&mut Store, &Path),
    name: &str,
    progress: &dyn Progress,
) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let graph = dir.join(format!("{name}.{index}.onnx"));
        graph::write_part(plan, part, store, &graph, progress)?;
        let taps = if plan.taps { part.sites(plan.decoder) } else { Vec::new() };
        let taps = taps.into_iter().map(tap_name).collect();
        let columns =
            if part.projects == (0..plan.decoder.vocabulary) { 0..0 } else { part.projects.clone() };
        links.push(Link { graph, layers: part.layers.clone(), columns, taps });
    }
    Ok(links)
}

/// [`links`] of the whole model, as a chain.
pub fn chain(
    plan: &Plan<'_>,
    place: (&mut Store, &Path),
    name: &str,
    progress: &dyn Progress,
) -> Result<Chain> {
    links(plan, &cut(plan.decoder, &[]), place, name, progress).map(Chain::new)
}
