//! What computes: the runtime library, the package, the execution providers.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{DoctorArgs, Failure, Finding};
use crate::{
    config::Config,
    domain::CPU_PROVIDER,
    engine::{Need, ProbeRequest, load_runtime, try_provider},
    host,
    model::{ChatTemplate, Package, Shelf, Tokenizer},
    supervise::provider,
};

/// What is known of the board already.
pub(super) struct Board<'a> {
    /// Of a daemon that runs.
    pub(super) status: Option<&'a Value>,
    /// Bytes of memory that can be had.
    pub(super) room: Option<u64>,
}

pub(super) fn look(
    config: &Config,
    args: &DoctorArgs,
    board: &Board<'_>,
    take: &mut dyn FnMut(Finding) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let dir = config
        .model
        .package
        .clone()
        .or_else(|| Shelf::new(config.models_dir()).chosen().map(|load| load.dir));
    let runtime = load_runtime(config.runtime.onnxruntime.as_deref(), dir.as_deref());
    let has_runtime = runtime.is_ok();
    take(match runtime {
        Ok(info) => {
            Finding::good("runtime", format!("ONNX Runtime {}, {}", info.version, info.path.display()))
        }
        Err(error) => Finding::bad(
            "runtime",
            error.to_string(),
            "install Debian's libonnxruntime or the library out of the PyPI package `onnxruntime`, and set \
             `runtime.onnxruntime` to its path",
        ),
    })?;
    let Some(dir) = dir else {
        let fix = "`outpost pull ministral-3-3b`, then `outpost models activate ministral-3-3b`; or set `model.package`";
        return take(Finding::bad("model", "no package is activated", fix));
    };
    let package = match open(&dir, args) {
        Ok(package) => package,
        Err(error) => {
            return take(Finding::bad(
                "model",
                error,
                "fetch or import the model again, or activate another",
            ));
        }
    };
    take(described(&package, args))?;
    take(memory(&package, config, board))?;
    for name in config.model.providers.iter().filter(|name| *name != CPU_PROVIDER) {
        if args.quick || !has_runtime {
            take(Finding::good("provider", format!("`{name}` was not tried")))?;
            continue;
        }
        take(tried(name, &dir, config))?;
    }
    Ok(())
}

fn open(dir: &std::path::Path, args: &DoctorArgs) -> Result<Package, String> {
    let text = |error: crate::model::PackageError| error.to_string();
    let package = Package::open(dir).map_err(text)?;
    let tokenizer = Tokenizer::load(&package).map_err(text)?;
    ChatTemplate::load(&package, &tokenizer).map_err(text)?;
    if args.verify {
        let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}");
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        // What was verified before is not believed, and what is found is not remembered.
        let verified = package.verify(&PathBuf::from("/dev/null"), true, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        verified.map_err(text)?;
    }
    Ok(package)
}

fn described(package: &Package, args: &DoctorArgs) -> Finding {
    let manifest = &package.manifest;
    let bytes: u64 = manifest.files.iter().map(|f| f.bytes).sum();
    let digests = match (manifest.files.is_empty(), args.verify) {
        (true, _) => "nothing vouches for its files",
        (false, true) => "every file has its digest",
        (false, false) => "its files have their sizes; `--verify` reads them",
    };
    let says = format!(
        "{}, {} MB in {}, up to {} tokens; {digests}",
        manifest.name,
        bytes / 1_000_000,
        package.dir.display(),
        manifest.context
    );
    Finding::good("model", says)
}

/// Of the variant for the first provider that has one.
fn memory(package: &Package, config: &Config, board: &Board<'_>) -> Finding {
    let mb = |bytes: u64| bytes / 1_000_000;
    let loaded = board.status.filter(|status| status["state"] == "ready");
    if let Some(resident) = loaded.and_then(|s| s["memory"]["resident_bytes"].as_u64()) {
        return Finding::good(
            "memory",
            format!("the daemon has the model loaded and takes {} MB", mb(resident)),
        );
    }
    let manifest = &package.manifest;
    let variant = config.model.providers.iter().find_map(|name| manifest.variant_for(name));
    let variant = variant.unwrap_or(&manifest.variants[0]);
    let need = Need::of(package, variant, config.engine.slots, config.engine.context);
    let says = format!("the model needs {need}");
    match board.room {
        Some(room) if need.total() > room => Finding::bad(
            "memory",
            format!("{says}; {} MB can be had", mb(room)),
            "take fewer `engine.slots` or less `engine.context`, a smaller model, or a precision with fewer bits",
        ),
        Some(room) => Finding::good("memory", format!("{says}; {} MB can be had", mb(room))),
        None => {
            Finding::attention("memory", format!("{says}; what can be had is not told"), "look with `free`")
        }
    }
}

fn tried(name: &str, dir: &std::path::Path, config: &Config) -> Finding {
    let request = ProbeRequest {
        runtime: config.runtime.onnxruntime.clone(),
        package: dir.to_owned(),
        provider: provider(config, name),
        // Files of whoever asks would lie where the daemon cannot replace them.
        prepared: None,
        context: config.engine.context,
        threads: host::engine_threads(config.engine.threads),
    };
    let found = std::env::current_exe().map_err(|e| e.to_string()).and_then(|me| try_provider(&me, &request));
    match found {
        Ok(placement) => {
            let (taken, total) = (placement.taken(), placement.total());
            Finding::good("provider", format!("`{name}` runs the model and takes {taken} of {total} nodes"))
        }
        Err(reason) => {
            let fix = format!(
                "mend that, or take `{name}` out of `model.providers`; until then the next one runs the model"
            );
            Finding::attention("provider", format!("`{name}` does not run the model: {reason}"), fix)
        }
    }
}
