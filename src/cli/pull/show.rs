//! What a pull says at its end.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    super::{Failure, Global, out},
    meter::Counts,
};
use crate::{
    hub::{Known, Outcome, Plan, Unfinished},
    model::{Layout, Pulled, Vouched},
};

pub(super) fn catalogue(global: &Global, all: &[Known]) -> Result<(), Failure> {
    if global.json {
        let one = |k: &Known| {
            json!({"name": k.name.as_str(), "about": k.about, "repo": k.repo.as_str(), "revision": k.revision.as_str(),
                "precision": k.precision, "file": k.file, "bytes": k.bytes, "memory_bytes": k.memory,
                "licence": k.licence, "context": k.context})
        };
        return Ok(out::json(&json!({"models": all.iter().map(one).collect::<Vec<_>>()}))?);
    }
    for known in all {
        let gb = |n: Option<u64>| n.map_or("?".into(), |n| format!("{:.1} GB", n as f64 / 1e9));
        out::line(format_args!(
            "{:<24} {:>7} on disk {:>7} of memory  {:>6} tokens  {}\n    {}\n    {}",
            known.name.as_str(),
            gb(known.bytes),
            gb(known.memory),
            known.context,
            known.licence,
            known.about,
            known.repo
        ))?;
    }
    Ok(())
}

pub(super) fn unfinished(global: &Global, all: &[Unfinished]) -> Result<(), Failure> {
    if global.json {
        let one = |u: &Unfinished| {
            let state = u.state.as_ref();
            json!({"key": u.key, "name": state.map(|s| s.name.as_str()), "there_bytes": u.there,
                "bytes": state.map(crate::hub::State::bytes)})
        };
        return Ok(out::json(&json!({"unfinished": all.iter().map(one).collect::<Vec<_>>()}))?);
    }
    if all.is_empty() {
        out::line("No pull is unfinished.")?;
    }
    for one in all {
        match &one.state {
            Some(state) => out::line(format_args!("{}  {} of {} bytes", one.key, one.there, state.bytes()))?,
            None => out::line(format_args!("{}  cannot be read; discard it", one.key))?,
        }
    }
    Ok(())
}

pub(super) fn discarded(global: &Global, name: &str) -> Result<(), Failure> {
    if global.json {
        return Ok(out::json(&json!({"discarded": name}))?);
    }
    Ok(out::line(format_args!("{name} is removed."))?)
}

pub(super) fn plan(global: &Global, plan: &Plan) -> Result<(), Failure> {
    let state = &plan.state;
    if global.json {
        let file = |f: &crate::hub::Wanted| {
            json!({"from": f.from.as_str(), "path": f.to.as_str(), "bytes": f.bytes,
                "proof": f.proof.as_ref().map(ToString::to_string)})
        };
        return Ok(out::json(&json!({
            "package": state.name.as_str(), "dir": plan.dir, "layout": state.layout, "variant": state.variant,
            "repo": state.repo, "commit": state.commit, "vouched": state.vouched, "bytes": plan.bytes,
            "there_bytes": plan.there, "left_bytes": plan.left(), "free_bytes": plan.free, "reserve_bytes": plan.reserve,
            "fits": plan.fits(), "files": state.files.iter().map(file).collect::<Vec<_>>(),
        }))?);
    }
    let variant = state.variant.as_deref().map(|v| format!(", {v}")).unwrap_or_default();
    out::line(format_args!("{} ({}{variant})", state.name, state.layout))?;
    if let (Some(repo), Some(commit)) = (&state.repo, &state.commit) {
        out::line(format_args!("from {repo} at {commit}"))?;
    }
    for file in &state.files {
        out::line(format_args!("{:>14}  {}", file.bytes, file.to))?;
    }
    out::line(format_args!("{:>14}  bytes in all, {} of them are there", plan.bytes, plan.there))?;
    let room = if plan.fits() { "there is room" } else { "there is not enough room" };
    Ok(out::line(format_args!(
        "{room}: {} MB to come, {} MB free, {} MB of which stay free; it goes to {}",
        plan.left().div_ceil(1_000_000),
        plan.free / 1_000_000,
        plan.reserve / 1_000_000,
        plan.dir.display()
    ))?)
}

pub(super) fn outcome(
    global: &Global,
    outcome: &Outcome,
    counts: &Counts,
    known: Option<&Known>,
    from_dir: bool,
) -> Result<(), Failure> {
    let Outcome { dir, record, was_there } = outcome;
    let import = (record.layout == Layout::Gguf).then(|| import_line(dir, record, known));
    if global.json {
        let files: Vec<Value> = record
            .files
            .iter()
            .map(|f| json!({"path": f.path, "bytes": f.bytes, "sha256": f.sha256}))
            .collect();
        return Ok(out::json(&json!({
            "package": name(dir), "dir": dir, "was_there": was_there, "layout": record.layout,
            "variant": record.variant, "repo": record.repo, "commit": record.commit, "vouched": record.vouched,
            "signed_by": record.signed_by, "comment": record.comment, "bytes": record.bytes(), "files": files,
            "fetched_bytes": counts.fetched, "kept_bytes": counts.kept, "thrown_away_bytes": counts.thrown_away,
            "retries": counts.retries, "import": import,
        }))?);
    }
    let there = if *was_there { "was there already, whole" } else { "is there, whole" };
    out::line(format_args!("{} {there}: {} bytes in {}", name(dir), record.bytes(), dir.display()))?;
    let vouched = match record.vouched {
        Vouched::Signature => format!(
            "Every file is named in a list that your key has signed ({}).",
            record.comment.as_deref().unwrap_or_default()
        ),
        Vouched::Listing => "Every file is what the Hub says of this commit.".to_owned(),
        Vouched::Sums => "Every file that its SHA256SUMS or its record names is what they say.".to_owned(),
        Vouched::Manifest => "Every file is what its manifest says.".to_owned(),
        Vouched::Nothing => {
            "Nothing vouches for what it holds: there is no SHA256SUMS, no record and no manifest. What was found is \
             recorded, so that a change will be noticed."
                .to_owned()
        }
    };
    out::line(vouched)?;
    if from_dir && !was_there {
        out::line(format_args!("{} bytes were copied.", counts.fetched))?;
    }
    match import {
        Some(line) => {
            out::line(format_args!("A GGUF file is not run itself. Make a package of it:\n  {line}"))
        }
        None => out::line(format_args!("Use it:\n  outpost models activate {}", name(dir))),
    }?;
    Ok(())
}

fn name(dir: &Path) -> String {
    dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What makes a package of a GGUF file.
fn import_line(dir: &Path, record: &Pulled, known: Option<&Known>) -> String {
    let file = record.files.iter().find(|f| f.path.to_ascii_lowercase().ends_with(".gguf"));
    let file = file.map(|f| dir.join(&f.path)).unwrap_or_default();
    let stem = name(dir).trim_end_matches(".gguf").to_ascii_lowercase();
    let out = dir.with_file_name(&stem);
    let licence = known.map(|k| format!(" --licence {}", k.licence)).unwrap_or_default();
    format!("outpost-forge import {} --out {} --name {stem}{licence}", quoted(&file), quoted(&out))
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.,:+@%".contains(&b));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
