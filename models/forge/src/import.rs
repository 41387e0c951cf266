//! A published model in, package out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use outpost::model::{Convention, FORMAT, KvType, MANIFEST_FILE, Manifest, Requires, Source, Variant};

use crate::{
    Error, Result,
    arch::Decoder,
    calibrate, cut,
    fixed::{self, Fixed},
    graph::{self, GRAPH_FILE, Plan, Store},
    limits, mix, package,
    package::Staging,
    progress::{Progress, Silent},
    quant::Code,
    recipe::{Cache, Recipe, Weights},
    selftest,
    source::{Origin, Tensors},
    tokenizer::Tokenizer,
};

/// What to make of the file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The GGUF file, or a directory with `config.json` and safetensors.
    pub source: PathBuf,
    /// Directory of the package.
    pub destination: PathBuf,
    /// Number format of the weights.
    pub weights: Weights,
    /// Number format of the cache.
    pub kv: KvType,
    /// Weights that share a scale, at most.
    pub block: usize,
    /// Store a zero point with each block of 4-bit codes.
    pub zero_points: bool,
    /// Name of the package; the destination's name without it.
    pub name: Option<String>,
    /// SPDX expression; the file's own word without it.
    pub licence: Option<String>,
    /// Positions; the model's own number without it.
    pub context: Option<usize>,
    /// A variant of fixed sizes besides.
    pub fixed: Option<Fixed>,
    /// Text for calibration instead of the built-in one.
    pub sample: Option<PathBuf>,
    /// Replace an existing package.
    pub force: bool,
}

/// Makes the package and gives its manifest.
pub fn import(options: &Options, progress: &dyn Progress) -> Result<Manifest> {
    let origin = Origin::open(&options.source)?;
    let decoder = origin.describe()?;
    let name = package_name(options)?;
    let context = context(options, &decoder)?;
    let tokenizer = origin.tokenizer(decoder.vocabulary, context)?;
    let least = selftest::least_context(&tokenizer);
    if context < least {
        return Err(Error::Usage(format!(
            "--context {context}: the self-test alone takes {least} positions"
        )));
    }
    let staging = Staging::create(&options.destination, options.force)?;

    let (recipe, cache, importance) =
        choose(options, origin.tensors(), &decoder, &tokenizer, &staging, progress)?;
    let plan = Plan {
        tensors: origin.tensors(),
        decoder: &decoder,
        recipe: &recipe,
        cache: &cache,
        context,
        importance: importance.as_ref(),
        taps: false,
    };
    let mut store = graph::write(&plan, staging.dir(), progress)?;
    staging.write("tokenizer.json", &tokenizer.json)?;
    staging.write("tokenizer_config.json", &tokenizer.config)?;
    if let Some(template) = &tokenizer.template {
        staging.write("chat_template.jinja", template)?;
    }

    let shape = decoder.cache_shape();
    // Graphs of its parts, of the very weights that are shipped.
    let mut chain = cut::chain(&plan, (&mut store, staging.dir()), "part", &Silent)?;
    store.finish()?;
    let mut reader = selftest::OfChain { chain: &mut chain, shape, kv: cache.kind(), sequences: Vec::new() };
    let self_test = selftest::make(&mut reader, &tokenizer, context, progress)?;
    for link in chain.links() {
        fs::remove_file(&link.graph).map_err(Error::io("remove", &link.graph))?;
    }

    let mut manifest = Manifest {
        format: FORMAT,
        name,
        version: origin.version().unwrap_or_else(|| "1".to_owned()),
        architecture: decoder.architecture.to_owned(),
        licence: licence(options, &origin),
        context,
        vocabulary: decoder.vocabulary,
        eos: tokenizer.eos.clone(),
        bos: tokenizer.bos,
        cache: shape,
        source: source(options, &origin, progress)?,
        self_test: Some(self_test),
        variants: vec![Variant {
            graph: GRAPH_FILE.to_owned(),
            providers: vec!["cpu".to_owned()],
            kv: cache.kind(),
            weights: options.weights.name().to_owned(),
            block: if options.weights == Weights::F32 { 0 } else { options.block },
            requires: Requires { onnxruntime: Some(runtime_min(options).to_owned()) },
            shapes: None,
            self_test: None,
            convention: Convention::Forge,
        }],
        files: Vec::new(),
    };
    if let Some(wanted) = &options.fixed {
        let variant = fixed::make(wanted, &plan, staging.dir(), &manifest, &tokenizer, progress)?;
        manifest.variants.insert(0, variant);
    }
    manifest.files = package::digest_all(staging.dir(), progress)?;
    staging.write(MANIFEST_FILE, &manifest.to_toml()?)?;
    staging.commit()?;
    Ok(manifest)
}

/// Lowest version of ONNX Runtime that computes the graph.
fn runtime_min(options: &Options) -> &'static str {
    if options.weights == Weights::F32 && options.kv == KvType::F32 {
        return "1.22";
    }
    // The first with 8-bit `MatMulNBits` and `GatherBlockQuantized` on the CPU, and with quantised caches.
    "1.24"
}

/// Number formats, and what a calibration found out where one is needed.
fn choose(
    options: &Options,
    tensors: &dyn Tensors,
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    staging: &Staging,
    progress: &dyn Progress,
) -> Result<(Recipe, Cache, Option<graph::Importance>)> {
    let weighs = matches!(options.weights, Weights::Int4 | Weights::Mixed);
    if !weighs && options.kv != KvType::Int8 {
        let cache = if options.kv == KvType::F16 { Cache::F16 } else { Cache::F32 };
        let int8 = || Recipe::uniform(decoder, Code::Int8, options.block);
        let recipe = if options.weights == Weights::F32 { Recipe::f32() } else { int8() };
        return Ok((recipe, cache, None));
    }
    let tokens = calibrate::sample_tokens(options.sample.as_deref(), &tokenizer.model)?;
    let dir = staging.dir().join("calibration");
    fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
    let mut store = Store::create(&dir)?;
    let place = (&mut store, dir.as_path());
    let seen = calibrate::calibrate(tensors, decoder, &tokens, tokenizer.first, place, progress)?;
    let four = if options.zero_points { Code::Uint4 } else { Code::Int4 };
    let recipe = match options.weights {
        Weights::F32 => Recipe::f32(),
        Weights::Int8 => Recipe::uniform(decoder, Code::Int8, options.block),
        Weights::Int4 => Recipe::uniform(decoder, four, options.block),
        Weights::Mixed => {
            let place = (&mut store, dir.as_path());
            mix::choose(tensors, decoder, (four, options.block), &seen.importance, place, &tokens, progress)?
        }
    };
    fs::remove_dir_all(&dir).map_err(Error::io("remove", &dir))?;
    let cache = match options.kv {
        KvType::F32 => Cache::F32,
        KvType::F16 => Cache::F16,
        KvType::Int8 => seen.cache,
    };
    Ok((recipe, cache, Some(seen.importance).filter(|_| weighs)))
}

fn package_name(options: &Options) -> Result<String> {
    let from_path = || options.destination.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let name = options.name.clone().or_else(from_path).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = !name.is_empty()
        && name.len() <= limits::PACKAGE_NAME_BYTES_MAX
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let wrong = || {
        Error::Usage(format!("`{}` is no package name: letters, digits, `.`, `_`, `-`", name.escape_debug()))
    };
    good.then(|| name.clone()).ok_or_else(wrong)
}

fn context(options: &Options, decoder: &Decoder) -> Result<usize> {
    match options.context {
        Some(wanted) if wanted > decoder.context => {
            let own = decoder.context;
            Err(Error::Usage(format!("--context {wanted}: the model was made for {own} positions")))
        }
        Some(wanted) => Ok(wanted),
        // Beyond, each step has something more to do, and few boards have the memory.
        None => Ok(decoder.query_scale.map_or(decoder.context, |scale| decoder.context.min(scale.original))),
    }
}

fn licence(options: &Options, origin: &Origin) -> String {
    let own = origin.licence().map(|word| match word.as_str() {
        "apache-2.0" => "Apache-2.0".to_owned(),
        "mit" => "MIT".to_owned(),
        _ => word,
    });
    options.licence.clone().or(own).unwrap_or_else(|| "unknown".to_owned())
}

fn source(options: &Options, origin: &Origin, progress: &dyn Progress) -> Result<Source> {
    let file = options.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sha256 = origin.digest(&options.source, progress)?;
    Ok(Source { file, sha256, quantization: origin.formats(), made_by: made_by() })
}

fn made_by() -> String {
    concat!("outpost-forge ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// A directory for what a command needs only while it runs.
pub fn scratch() -> Result<tempfile::TempDir> {
    let parent: &Path = &std::env::temp_dir();
    tempfile::Builder::new().prefix("outpost-forge-").tempdir_in(parent).map_err(Error::io("create", parent))
}
