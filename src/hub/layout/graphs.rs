//! ONNX graphs: transformers.js' and Optimum's, and those of onnxruntime-genai.

use std::collections::BTreeMap;

use super::{Choice, NoChoice, Wanted, Wish, as_it_is, is_always, is_terms};
use crate::{
    hub::listing::Listed,
    model::{
        self, GENAI_FILE, Layout, PRECISIONS, TABLE, TABLE_PRECISIONS, is_data, is_graph, language_model,
    },
};

/// Graphs beside it that some have.
const BESIDES: &[&str] = &[TABLE, "vision_encoder", "audio_encoder"];

type Parts<'a> = model::Parts<'a, Listed>;

/// The graphs below `onnx/` or at the top; `None` when there are none of a language model.
pub(super) fn choose(files: &[Listed], wish: &Wish) -> Result<Option<Choice>, NoChoice> {
    let Some((parts, decoder)) = language_model(files, |file| &file.path) else { return Ok(None) };
    let chosen = precision(decoder, &parts, wish.precision.as_deref(), PRECISIONS)?;
    let mut wanted = Vec::new();
    let mut variant = chosen.to_owned();
    for part in [decoder].into_iter().chain(BESIDES.iter().copied()) {
        let Some(there) = parts.get(part) else { continue };
        let own = wish.parts.get(part).map(String::as_str);
        if own == Some("none") && part != decoder {
            variant.extend(["-no-", part]);
            continue;
        }
        let of = match own {
            Some(own) => {
                variant.extend(["-", part, "-", own]);
                precision(part, &parts, Some(own), PRECISIONS)?
            }
            None if part == decoder => chosen,
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
        TABLE_PRECISIONS.to_vec()
    } else {
        [chosen].into_iter().chain(PRECISIONS.iter().copied()).collect()
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

/// The folder of a `genai_config.json`, which becomes the package's top.
pub(super) fn genai(files: &[Listed], wish: &Wish) -> Result<Choice, NoChoice> {
    let folders: Vec<&str> =
        files.iter().filter(|f| f.path.file_name() == GENAI_FILE).map(|f| f.path.folder()).collect();
    let folder = folder(&folders, wish.file.as_deref().or(wish.precision.as_deref()))?;
    let inside = files.iter().filter(|f| f.path.folder() == folder);
    let is_model = |name: &str| {
        let graph = name.split_once(".onnx").is_some_and(|(_, end)| end.is_empty() || is_data(end));
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
