//! `outpost bench`: what this board does with a package, without the daemon in between.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, Global, out};
use crate::{
    domain::{CPU_PROVIDER, Clock, SystemClock, limits},
    engine::{Graph, GraphError, GraphOptions, Provider, argmax, load_runtime},
    host,
    model::{ChatTemplate, Package, Tokenizer},
};

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Directory of the model package [default: `model.package`]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Threads of one run [default: `engine.threads`]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Prompt lengths to measure, tokens.
const PREFILLS: [usize; 2] = [128, 512];
/// Tokens in the context before decoding starts.
const DEPTHS: [usize; 2] = [128, 512];
/// Tokens to decode per measurement.
const DECODE_TOKENS: usize = 64;
/// Sequences in one decode run.
const BATCHES: [usize; 4] = [1, 2, 4, 8];

pub(super) fn run(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    let config = global.configuration()?;
    let dir = args.model.clone().or(config.model.package).ok_or_else(|| {
        Failure::new(Exit::Configuration, "name the package with `--model DIR`, or set `model.package`")
    })?;
    let threads = host::engine_threads(args.threads.unwrap_or(config.engine.threads));
    let unavailable = |e: &dyn std::fmt::Display| Failure::new(Exit::Unavailable, e);

    let clock = SystemClock::new();
    let started = clock.boot();
    load_runtime(config.runtime.onnxruntime.as_deref(), Some(&dir)).map_err(|e| unavailable(&e))?;
    let package = Package::open(&dir).map_err(|e| Failure::new(Exit::BadData, e))?;
    let tokenizer = Tokenizer::load(&package).map_err(|e| Failure::new(Exit::BadData, e))?;
    ChatTemplate::load(&package, &tokenizer).map_err(|e| Failure::new(Exit::BadData, e))?;
    let manifest = &package.manifest;
    let context = DEPTHS[1] + DECODE_TOKENS + 1;
    let options = GraphOptions { slots: BATCHES[3], context, threads };
    let variant = manifest.variant_for(CPU_PROVIDER).ok_or_else(|| {
        Failure::new(Exit::BadData, "the package has no variant for the processor, which is what is measured")
    })?;
    let mut graph =
        Graph::open(&dir, manifest, variant, &Provider::cpu(), &options).map_err(|e| unavailable(&e))?;
    if graph.context() < context {
        let why =
            format!("the package's context of {} tokens is below the {context} measured", graph.context());
        return Err(Failure::new(Exit::BadData, why));
    }
    let load = clock.boot().since(started);
    let loaded = host::resident();

    let mut bench = Bench { graph: &mut graph, vocabulary: manifest.vocabulary, rounds: args.rounds };
    let prefill =
        PREFILLS.map(|n| bench.prefill(n).map(|t| json!({"tokens": n, "tokens_per_s": rate(n, t)})));
    let decode = DEPTHS.map(|d| {
        bench
            .decode(d, 1)
            .map(|t| json!({"depth": d, "tokens": DECODE_TOKENS, "tokens_per_s": rate(DECODE_TOKENS, t)}))
    });
    let batch = BATCHES.map(|n| {
        bench
            .decode(DEPTHS[0], n)
            .map(|t| json!({"sequences": n, "tokens_per_s": rate(DECODE_TOKENS * n, t)}))
    });
    let first = bench.prefill(PREFILLS[1]).map_err(|e| unavailable(&e))?;
    let collect = |rows: Vec<Result<Value, _>>| {
        rows.into_iter().collect::<Result<Vec<Value>, GraphError>>().map_err(|e| unavailable(&e))
    };
    let after = host::resident();
    report(
        global,
        &json!({
            "model": manifest.name, "weights": variant.weights, "block": variant.block, "kv": variant.kv.name(),
            "threads": threads, "rounds": args.rounds,
            "load_ms": load.as_millis() as u64,
            "prefill": collect(prefill.into())?,
            "decode": collect(decode.into())?,
            "batch": collect(batch.into())?,
            "ttft_ms": first.as_millis() as u64,
            "rss_bytes": loaded.total, "rss_anon_bytes": loaded.anonymous,
            "rss_after_bytes": after.total, "rss_anon_after_bytes": after.anonymous,
        }),
    )
}

struct Bench<'a> {
    graph: &'a mut Graph,
    vocabulary: usize,
    rounds: u32,
}

impl Bench<'_> {
    /// Median time to read a prompt of `tokens`.
    fn prefill(&mut self, tokens: usize) -> Result<Duration, GraphError> {
        let prompt = self.words(tokens);
        self.median(|graph| read(graph, 0, &prompt))
    }

    /// Median time to write `DECODE_TOKENS` in each of `sequences`, `depth` tokens in.
    fn decode(&mut self, depth: usize, sequences: usize) -> Result<Duration, GraphError> {
        let (prompt, vocabulary) = (self.words(depth), self.vocabulary);
        for slot in 0..sequences {
            read(self.graph, slot, &prompt)?;
        }
        self.median(|graph| {
            let mut next = vec![prompt[0]; sequences];
            for step in 0..DECODE_TOKENS {
                let logits = graph.decode(&next, &vec![depth + step; sequences])?;
                next = logits.chunks_exact(vocabulary).map(argmax).collect();
            }
            Ok(())
        })
    }

    fn median(
        &mut self,
        mut run: impl FnMut(&mut Graph) -> Result<(), GraphError>,
    ) -> Result<Duration, GraphError> {
        let clock = SystemClock::new();
        let mut times = Vec::new();
        // The first round warms up and does not count.
        for round in 0..=self.rounds {
            let began = clock.boot();
            run(self.graph)?;
            if round > 0 {
                times.push(clock.boot().since(began));
            }
        }
        times.sort();
        Ok(times[times.len() / 2])
    }

    /// Tokens that differ from one another, so that no step is a special case.
    fn words(&self, n: usize) -> Vec<u32> {
        (0..n).map(|i| (100 + i * 37) as u32 % self.vocabulary as u32).collect()
    }
}

/// Reads a prompt in the chunks in which the daemon reads it.
fn read(graph: &mut Graph, slot: usize, prompt: &[u32]) -> Result<(), GraphError> {
    for (n, chunk) in prompt.chunks(limits::PREFILL_CHUNK_TOKENS).enumerate() {
        graph.prefill(slot, n * limits::PREFILL_CHUNK_TOKENS, chunk, &[chunk.len() - 1])?;
    }
    Ok(())
}

fn rate(tokens: usize, time: Duration) -> f64 {
    (tokens as f64 / time.as_secs_f64() * 10.0).round() / 10.0
}

fn report(global: &Global, result: &Value) -> Result<(), Failure> {
    if global.json {
        return Ok(out::json(result)?);
    }
    let mb = |key: &str| result[key].as_u64().unwrap_or(0) / 1_000_000;
    out::line(format_args!(
        "{} ({} weights, block {}, {} KV cache), {} threads, median of {}",
        result["model"].as_str().unwrap_or_default(),
        result["weights"].as_str().unwrap_or_default(),
        result["block"],
        result["kv"].as_str().unwrap_or_default(),
        result["threads"],
        result["rounds"]
    ))?;
    out::line(format_args!("load                 {:>8} ms", result["load_ms"]))?;
    for row in result["prefill"].as_array().into_iter().flatten() {
        out::line(format_args!("prefill {:>4} tokens  {:>8} tokens/s", row["tokens"], row["tokens_per_s"]))?;
    }
    for row in result["decode"].as_array().into_iter().flatten() {
        out::line(format_args!("decode at {:>4}       {:>8} tokens/s", row["depth"], row["tokens_per_s"]))?;
    }
    for row in result["batch"].as_array().into_iter().flatten() {
        out::line(format_args!(
            "{} at once            {:>8} tokens/s",
            row["sequences"], row["tokens_per_s"]
        ))?;
    }
    out::line(format_args!(
        "time to first token  {:>8} ms after a prompt of {} tokens",
        result["ttft_ms"], PREFILLS[1]
    ))?;
    out::line(format_args!(
        "resident             {:>8} MB, {} MB of it anonymous",
        mb("rss_bytes"),
        mb("rss_anon_bytes")
    ))?;
    Ok(())
}
