//! `outpost models`

use super::{
    Failure, Global,
    client::{self, Daemon},
    out,
};

pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let daemon = Daemon::of(global)?;
    let list = client::block_on(daemon.get("/v1/models"))?;
    if global.json {
        return Ok(out::json(&list)?);
    }
    let models = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    if models.is_empty() {
        out::note("No model is ready; `outpost status` says why.");
    }
    for model in models {
        let text = |key: &str| model[key].as_str().unwrap_or("-").to_owned();
        let context = model["context_length"].as_u64().unwrap_or(0);
        let (id, zone, licence) = (text("id"), text("zone"), text("licence"));
        out::line(format_args!("{id:<32} {zone:<8} {context:>7} tokens  {licence}"))?;
    }
    Ok(())
}
