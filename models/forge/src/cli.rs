//! The command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the room that talks to the terminal")]

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use indicatif::{ProgressBar, ProgressStyle};
use outpost::{
    domain::limits::{FIXED_PREFILL_TOKENS_MAX, FIXED_PREFILL_TOKENS_MIN},
    model::KvType,
};

use crate::{
    Error, Result,
    eval::{self, Windows},
    fixed::Fixed,
    import::{self, Options},
    inspect, limits,
    progress::Progress,
    recipe::Weights,
    runtime, synth,
};

#[derive(Parser)]
#[command(name = "outpost-forge", version, about = "Makes Outpost model packages from published models")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a package from a GGUF file or from safetensors
    Import(ImportArgs),
    /// Perplexity of a package, or of a source's own weights, on a text
    Eval(EvalArgs),
    /// What a model says of itself
    Inspect(InspectArgs),
    /// Write a GGUF file of random weights, to measure with
    Synth(SynthArgs),
}

#[derive(Args)]
struct SynthArgs {
    /// A known shape (`ministral-3-3b`, `tiny`), or a `config.json`
    shape: String,
    /// The file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Number format of the matrices
    #[arg(long, value_enum, default_value = "q8_0")]
    format: synth::Format,
    /// Other numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct InspectArgs {
    /// A GGUF file, a directory with `config.json` and safetensors, or `synth:SHAPE`
    source: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct EvalArgs {
    /// Directory of a package, or what `import` takes
    model: PathBuf,
    /// Text, UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Windows at most
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
    /// Tokens of a window
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=i64::try_from(limits::EVAL_WINDOW_TOKENS_MAX).unwrap_or(i64::MAX)))]
    tokens: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct ImportArgs {
    /// A GGUF file, a directory with `config.json` and safetensors, or `synth:SHAPE` for random weights
    source: PathBuf,
    /// Directory of the package
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number format of the weights
    #[arg(long, value_enum, default_value = "mixed")]
    weights: Weights,
    /// Number format of the KV cache
    #[arg(long, default_value = "int8", value_parser = PossibleValuesParser::new(["f32", "f16", "int8"]))]
    kv: String,
    /// Weights that share a scale; smaller where a matrix is no multiple of it
    #[arg(long, default_value = "128", value_parser = PossibleValuesParser::new(["32", "64", "128"]))]
    block: String,
    /// Store a zero point with each block of 4-bit codes: closer to sources that have
    /// minimums (`Q4_1`, `Q4_K`), not measured on Arm
    #[arg(long)]
    zero_points: bool,
    /// Name of the package [default: the directory's]
    #[arg(long)]
    name: Option<String>,
    /// SPDX expression of the weights' licence [default: what the file says]
    #[arg(long)]
    licence: Option<String>,
    /// Positions that the package can serve [default: what the model says, or those before its
    /// queries begin to grow]
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
    /// Besides, a variant of fixed sizes that reads prompts this many tokens at a time: for NPUs and for
    /// providers that know ONNX's own operators only. Its weights are 32-bit floating point
    #[arg(long, value_name = "TOKENS", value_parser = fixed_tokens)]
    fixed: Option<usize>,
    /// Execution providers that are to use the variant of fixed sizes
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "qnn,xnnpack",
        requires = "fixed"
    )]
    fixed_for: Vec<String>,
    /// Text to calibrate with [default: built in]
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Replace an existing package
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// ONNX Runtime's library
    #[arg(long, value_name = "LIBONNXRUNTIME", env = "ORT_DYLIB_PATH")]
    runtime: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line; its exit status is that of [`Error::exit_code`].
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 64 } else { 0 };
            // A closed terminal is no reason for another error.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Import(args) => import_command(args),
        Command::Eval(args) => eval_command(&args),
        Command::Inspect(args) => inspect_command(&args),
        Command::Synth(args) => synth_command(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outpost-forge: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn import_command(args: ImportArgs) -> Result<()> {
    runtime::load(args.common.runtime.as_deref())?;
    let options = Options {
        source: args.source,
        destination: args.out,
        weights: args.weights,
        kv: kv_type(&args.kv)?,
        block: args.block.parse().map_err(|_| Error::Bug("clap checked the block".to_owned()))?,
        zero_points: args.zero_points,
        name: args.name,
        licence: args.licence,
        context: args.context,
        fixed: args.fixed.map(|prefill| Fixed { prefill, providers: args.fixed_for }),
        sample: args.sample,
        force: args.force,
    };
    let manifest = import::import(&options, &Bars::new())?;
    if args.common.json {
        print_json(&manifest)?;
    } else {
        let bytes: u64 = manifest.files.iter().map(|f| f.bytes).sum();
        println!("{}: {} in {}", manifest.name, indicatif::HumanBytes(bytes), options.destination.display());
    }
    Ok(())
}

fn eval_command(args: &EvalArgs) -> Result<()> {
    runtime::load(args.common.runtime.as_deref())?;
    let windows = Windows { count: args.windows as usize, tokens: args.tokens as usize };
    let report = eval::eval(&args.model, &args.text, windows, &Bars::new())?;
    if args.common.json {
        return print_json(&report);
    }
    println!(
        "perplexity {:.3} ({:.4} nats per token, {} tokens in {} windows)",
        report.perplexity, report.nats_per_token, report.tokens, report.windows
    );
    Ok(())
}

fn inspect_command(args: &InspectArgs) -> Result<()> {
    let report = inspect::inspect(&args.source)?;
    if args.json {
        return print_json(&report);
    }
    print!("{report}");
    Ok(())
}

fn synth_command(args: &SynthArgs) -> Result<()> {
    let model = synth::Synthetic::new(&args.shape, args.seed)?;
    synth::write(&model, args.format, &args.out, &Bars::new())?;
    let bytes = args.out.metadata().map_err(Error::io("read", &args.out))?.len();
    if args.json {
        let path = args.out.display().to_string();
        return print_json(&serde_json::json!({ "file": path, "bytes": bytes }));
    }
    println!("{}: {}", args.out.display(), indicatif::HumanBytes(bytes));
    Ok(())
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::Bug(e.to_string()))?;
    println!("{text}");
    Ok(())
}

fn fixed_tokens(text: &str) -> std::result::Result<usize, String> {
    let (least, most) = (FIXED_PREFILL_TOKENS_MIN, FIXED_PREFILL_TOKENS_MAX);
    let tokens = text.parse().ok().filter(|n| (least..=most).contains(n));
    tokens.ok_or_else(|| format!("{least} to {most} tokens are possible"))
}

fn kv_type(name: &str) -> Result<KvType> {
    [KvType::F32, KvType::F16, KvType::Int8]
        .into_iter()
        .find(|kv| kv.name() == name)
        .ok_or_else(|| Error::Bug("clap checked the cache".to_owned()))
}

/// One bar per step; hidden when standard error is no terminal.
struct Bars {
    bar: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg:22} {wide_bar} {percent:>3} %  {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar }
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, total: u64) {
        self.bar.reset();
        self.bar.set_length(total);
        self.bar.set_message(what.to_owned());
    }

    fn advance(&self, count: u64) {
        self.bar.inc(count);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
