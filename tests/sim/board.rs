//! The model that the scripted engine stands for: the demo package's tokenizer and template, no weights.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use outpost::{
    engine::{Model, RuntimeInfo},
    model::{ChatTemplate, Package, Tokenizer},
};

/// Loaded once; tokenizer and template hold no state.
pub(crate) fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    Arc::clone(MODEL.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/models/smollm2-135m-instruct");
        let package =
            Package::open(&dir).unwrap_or_else(|e| panic!("{e}\n`make model` makes the demo package"));
        let tokenizer = Tokenizer::load(&package).expect("the package's tokenizer");
        let template = ChatTemplate::load(&package, &tokenizer).expect("the package's template");
        let variant = package.manifest.variants[0].clone();
        Arc::new(Model {
            dir,
            manifest: package.manifest,
            tokenizer,
            template,
            variant,
            provider: "simulated".into(),
            placement: None,
            passed_over: Vec::new(),
            runtime: RuntimeInfo { path: "nowhere".into(), version: "0".into() },
            context: 1024,
            slots: 4,
            threads: 1,
            cache_bytes: 0,
            calls: None,
            load_time: Duration::ZERO,
            returned: None,
        })
    }))
}
