//! ONNX graphs: transformers.js' and Optimum's, and those of onnxruntime-genai.

use std::{collections::BTreeMap, path::Path};

use super::{Choice, NoChoice, Wanted, Wish, as_it_is, is_always, is_terms};
use crate::{
    hub::listing::Listed,
    model::{Layout, RelPath},
};

pub(super) const GENAI_FILE: &str = "genai_config.json";

/// Precisions, the one that suits a processor best first: 16-bit arithmetic is emulated on most of them.
const PREFERRED: &[&str] = &[
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
/// The token table: not computed with, and spoilt most by coarse numbers.
const PREFERRED_TABLE: &[&str] = &["fp16", "quantized", "q8", "int8", "uint8", "q4", "q4f16", "bnb4", "fp32"];
/// Graphs that a language model consists of; the first of a list that is there is the decoder.
const DECODERS: &[&str] = &["decoder_model_merged", "model"];
const TABLE: &str = "embed_tokens";
/// Graphs beside it that some have.
const BESIDES: &[&str] = &[TABLE, "vision_encoder", "audio_encoder"];

/// Part → precision → its files.
type Parts<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Listed>>>;

/// The graphs below `onnx/` or at the top; `None` when there are none of a language model.
pub(super) fn choose(files: &[Listed], wish: &Wish) -> Result<Option<Choice>, NoChoice> {
    let found = ["onnx", ""].into_iter().find_map(|folder| {
        let parts = parts(files, folder);
        let decoder = DECODERS.iter().find(|name| parts.contains_key(*name))?;
        // Whoever reads with one graph and writes with another is a translator, not a language model.
        (!parts.contains_key("encoder_model")).then_some((parts, *decoder))
    });
    let Some((parts, decoder)) = found else { return Ok(None) };
    let chosen = precision(decoder, &parts, wish.precision.as_deref(), PREFERRED)?;
    let mut wanted = Vec::new();
    let mut variant = chosen.to_owned();
    for part in [&decoder].into_iter().chain(BESIDES) {
        let Some(there) = parts.get(part) else { continue };
        let own = wish.parts.get(*part).map(String::as_str);
        if own == Some("none") && *part != decoder {
            variant.extend(["-no-", part]);
            continue;
        }
        let of = match own {
            Some(own) => {
                variant.extend(["-", part, "-", own]);
                precision(part, &parts, Some(own), PREFERRED)?
            }
            None if *part == decoder => chosen,
            None => beside(part, there, chosen),
        };
        wanted.extend(there[of].iter().copied().map(as_it_is));
    }
    if let Some(part) = wish.parts.keys().find(|part| !parts.contains_key(part.as_str())) {
        let choices = parts.keys().map(ToString::to_string).collect();
        return Err(NoChoice::NotThere { what: format!("part `{part}`"), choices });
    }
    wanted.extend(
        files.iter().filter(|f| f.path.folder().is_empty() && is_always(f.path.file_name())).map(as_it_is),
    );
    let layout = if decoder == "model" { Layout::Onnx } else { Layout::TransformersJs };
    Ok(Some(Choice { layout, variant: Some(variant), files: wanted }))
}

/// For a part that nobody has spoken of: the table finely, the rest like the decoder, or as it is there.
fn beside<'a>(part: &str, there: &BTreeMap<&'a str, Vec<&Listed>>, chosen: &'a str) -> &'a str {
    let order: Vec<&str> = if part == TABLE {
        PREFERRED_TABLE.to_vec()
    } else {
        [chosen].into_iter().chain(PREFERRED.iter().copied()).collect()
    };
    let best = order.iter().find_map(|name| there.get_key_value(name));
    best.or_else(|| there.first_key_value()).map_or("", |(name, _)| name)
}

/// The precision of a part: the one wanted, or the best that is there.
fn precision<'a>(
    part: &str,
    parts: &Parts<'a>,
    wanted: Option<&str>,
    preferred: &[&str],
) -> Result<&'a str, NoChoice> {
    let there = parts.get(part);
    let find = |name: &str| there.and_then(|there| there.get_key_value(name)).map(|(name, _)| *name);
    let choices = || there.into_iter().flatten().map(|(name, _)| (*name).to_owned()).collect();
    match wanted {
        Some(wanted) => find(&wanted.to_ascii_lowercase()).ok_or_else(|| NoChoice::NotThere {
            what: format!("`{part}` in the precision `{wanted}`"),
            choices: choices(),
        }),
        None => preferred
            .iter()
            .find_map(|name| find(name))
            .ok_or_else(|| NoChoice::Ambiguous { flag: "--precision", choices: choices() }),
    }
}

/// Graphs with their data, such as `embed_tokens_q4.onnx` and `embed_tokens_q4.onnx_data_1`. Without a
/// precision in its name a graph is `fp32`. A graph of which only data is there is none.
fn parts<'a>(files: &'a [Listed], folder: &str) -> Parts<'a> {
    let mut parts = Parts::new();
    for file in files.iter().filter(|file| file.path.folder() == folder) {
        let name = file.path.file_name();
        let Some((graph, end)) = name.split_once(".onnx") else { continue };
        let data = end.strip_prefix("_data").or_else(|| end.strip_prefix(".data"));
        let piece = data.is_some_and(|n| n.is_empty() || n.strip_prefix('_').is_some_and(is_number));
        if !end.is_empty() && !piece {
            continue;
        }
        let known = PREFERRED.iter().find(|p| graph.ends_with(&format!("_{p}")));
        let (part, precision) = match known {
            Some(p) => (&graph[..graph.len() - p.len() - 1], *p),
            None => (graph, "fp32"),
        };
        parts.entry(part).or_default().entry(precision).or_default().push(file);
    }
    for there in parts.values_mut() {
        there.retain(|_, files| files.iter().any(|file| is_graph(&file.path)));
    }
    parts.retain(|_, there| !there.is_empty());
    parts
}

fn is_graph(path: &RelPath) -> bool {
    Path::new(path.as_str()).extension().is_some_and(|end| end == "onnx")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The folder of a `genai_config.json`, which becomes the package's top.
pub(super) fn genai(files: &[Listed], wish: &Wish) -> Result<Choice, NoChoice> {
    let folders: Vec<&str> =
        files.iter().filter(|f| f.path.file_name() == GENAI_FILE).map(|f| f.path.folder()).collect();
    let folder = folder(&folders, wish.file.as_deref().or(wish.precision.as_deref()))?;
    let inside = files.iter().filter(|f| f.path.folder() == folder);
    let is_model = |name: &str| {
        let graph = name.split_once(".onnx").is_some_and(|(_, end)| {
            matches!(end, "" | ".data" | "_data") || end.strip_prefix("_data_").is_some_and(is_number)
        });
        graph || is_always(name)
    };
    let mut chosen: Vec<Wanted> =
        inside.filter(|f| is_model(f.path.file_name())).map(|f| below(f, folder)).collect();
    if !folder.is_empty() {
        // The terms lie at the top, whatever the folder.
        let terms = files.iter().filter(|f| f.path.folder().is_empty() && is_terms(f.path.file_name()));
        let new: Vec<_> = terms.filter(|t| chosen.iter().all(|c| c.to != t.path)).map(as_it_is).collect();
        chosen.extend(new);
    }
    if !chosen.iter().any(|f| is_graph(&f.to)) {
        return Err(NoChoice::Unknown(format!("`{GENAI_FILE}` has no graph beside it")));
    }
    let variant = (folders.len() > 1).then(|| folder.to_owned());
    Ok(Choice { layout: Layout::OnnxruntimeGenai, variant, files: chosen })
}

/// The one folder that is wanted; of several the one for processors.
fn folder<'a>(folders: &[&'a str], wanted: Option<&str>) -> Result<&'a str, NoChoice> {
    let choices =
        || folders.iter().map(|f| if f.is_empty() { "." } else { f }.to_owned()).collect::<Vec<_>>();
    let ambiguous = || NoChoice::Ambiguous { flag: "--file FOLDER", choices: choices() };
    let of = |is: &dyn Fn(&str) -> bool| folders.iter().copied().filter(|f| is(f)).collect::<Vec<_>>();
    let Some(wanted) = wanted else {
        return match (folders, &of(&|f| f.starts_with("cpu"))[..]) {
            ([one], _) | (_, [one]) => Ok(one),
            _ => Err(ambiguous()),
        };
    };
    let wanted = wanted.trim_end_matches('/').trim_end_matches(GENAI_FILE).trim_end_matches('/');
    let exact = of(&|f| f == wanted || (wanted == "." && f.is_empty()));
    match (&exact[..], &of(&|f| f.contains(wanted))[..]) {
        ([one], _) | ([], [one]) => Ok(one),
        ([], []) => {
            let what = format!("folder `{wanted}` with a `{GENAI_FILE}`");
            Err(NoChoice::NotThere { what, choices: choices() })
        }
        _ => Err(ambiguous()),
    }
}

fn below(file: &Listed, folder: &str) -> Wanted {
    let mut wanted = as_it_is(file);
    wanted.to = file.path.without(folder).unwrap_or(wanted.to);
    wanted
}
