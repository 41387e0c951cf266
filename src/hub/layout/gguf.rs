//! GGUF files: one quantisation of those that are there.

use std::collections::BTreeMap;

use super::{Choice, NoChoice, Wish, as_it_is, is_gguf, is_terms};
use crate::{hub::listing::Listed, model::Layout};

/// Quantisations that the forge takes over without loss first, then what it can still read.
const PREFERRED: &[&str] =
    &["Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q6_K", "F16", "BF16", "F32"];

/// A file, or all pieces of one, by the name of the first piece.
type Models<'a> = BTreeMap<&'a str, Vec<&'a Listed>>;

pub(super) fn choose(files: &[Listed], wish: &Wish) -> Result<Choice, NoChoice> {
    let mut models = Models::new();
    let mut pieces: BTreeMap<&str, &str> = BTreeMap::new();
    for file in files.iter().filter(|f| is_gguf(f.path.as_str()) && !is_projector(f.path.file_name())) {
        let path = file.path.as_str();
        let first = match piece_of(path) {
            // Sorted by name, so the first piece comes first.
            Some(stem) => *pieces.entry(stem).or_insert(path),
            None => path,
        };
        models.entry(first).or_default().push(file);
    }
    if models.is_empty() {
        let pickles = files.iter().any(|f| {
            [".bin", ".pt", ".pth", ".safetensors"].iter().any(|end| f.path.as_str().ends_with(end))
        });
        let hint = if pickles {
            "There are weights for PyTorch; look for a repository of the same model that ends in `-ONNX` or `-GGUF`"
        } else {
            "Look at the repository's page whether it is the right one"
        };
        return Err(NoChoice::Unknown(hint.into()));
    }
    let (name, found) = pick(&models, wish)?;
    let mut wanted: Vec<_> = found.iter().copied().map(as_it_is).collect();
    for file in &mut wanted {
        // Its folder says what the name says.
        file.to = file.from.without(file.from.folder()).unwrap_or_else(|| file.to.clone());
    }
    let terms = files.iter().filter(|f| f.path.folder().is_empty() && is_terms(f.path.file_name()));
    wanted.extend(terms.map(as_it_is));
    let last = name.rsplit('/').next().unwrap_or(name);
    let stem = last.get(..last.len() - ".gguf".len()).unwrap_or(last);
    Ok(Choice {
        layout: Layout::Gguf,
        variant: Some(piece_of(last).unwrap_or(stem).to_owned()),
        files: wanted,
    })
}

fn pick<'a, 'b>(models: &'b Models<'a>, wish: &Wish) -> Result<(&'a str, &'b Vec<&'a Listed>), NoChoice> {
    let choices = || {
        let shown = |(name, files): (&&str, &Vec<&Listed>)| {
            let bytes: u64 = files.iter().map(|f| f.bytes).sum();
            format!("{name}  ({:.1} GB)", bytes as f64 / 1e9)
        };
        models.iter().map(shown).collect::<Vec<_>>()
    };
    if let Some(file) = &wish.file {
        let same = |(name, _): &(&&str, _)| **name == file || name.rsplit('/').next() == Some(file);
        let found: Vec<_> = models.iter().filter(same).collect();
        return match &found[..] {
            [(name, files)] => Ok((**name, files)),
            [] => Err(NoChoice::NotThere { what: format!("`{file}`"), choices: choices() }),
            _ => Err(NoChoice::Ambiguous { flag: "--file NAME", choices: choices() }),
        };
    }
    if let (1, None, Some((name, files))) = (models.len(), &wish.precision, models.first_key_value()) {
        return Ok((*name, files));
    }
    let of = |tag: &str| models.iter().filter(|(name, _)| has_tag(name, tag)).collect::<Vec<_>>();
    let tags: Vec<&str> = match &wish.precision {
        Some(tag) => vec![tag],
        None => PREFERRED.to_vec(),
    };
    for tag in tags {
        match &of(tag)[..] {
            [] => {}
            [(name, files)] => return Ok((**name, files)),
            _ => return Err(NoChoice::Ambiguous { flag: "--file NAME", choices: choices() }),
        }
    }
    match &wish.precision {
        Some(tag) => Err(NoChoice::NotThere { what: format!("GGUF file in `{tag}`"), choices: choices() }),
        None => Err(NoChoice::Ambiguous { flag: "--file NAME", choices: choices() }),
    }
}

/// Whether the name holds the tag as a word of its own: `Q4_0` is not in `Q4_0_4_4`.
fn has_tag(path: &str, tag: &str) -> bool {
    let name = path.to_ascii_uppercase();
    let tag = tag.to_ascii_uppercase();
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    name.match_indices(&tag)
        .any(|(at, _)| edge(name[..at].chars().next_back()) && edge(name[at + tag.len()..].chars().next()))
}

/// A vision model's projector: no model of its own.
fn is_projector(name: &str) -> bool {
    name.to_ascii_lowercase().contains("mmproj")
}

/// What stands before `-00001-of-00003.gguf`.
fn piece_of(path: &str) -> Option<&str> {
    let stem = path.get(..path.len().checked_sub(".gguf".len())?)?;
    let (rest, all) = stem.rsplit_once("-of-")?;
    let (name, n) = rest.rsplit_once('-')?;
    let number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (number(all) && number(n)).then_some(name)
}
