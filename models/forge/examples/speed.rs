//! Speed of packages in the daemon's engine, side by side.
//!
//! `cargo run --release -p outpost-forge --example speed -- ROUNDS PACKAGE...`
//!
//! Prints the best tokens per second of all rounds: prefill of 512, decode of one and of
//! four sequences at position 128. Rounds go through all packages in turn, so that a busy
//! neighbour hits all of them.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use outpost::{
    domain::{Clock, SystemClock},
    engine::{Graph, GraphOptions, Provider, load_runtime},
    model::Manifest,
};

const PREFILL: usize = 512;
const STEPS: usize = 32;
const PAST: usize = 128;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().context("ROUNDS PACKAGE...")?.parse()?;
    let packages: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    load_runtime(None, None)?;
    let mut graphs = Vec::new();
    for dir in &packages {
        let manifest = Manifest::parse(&fs::read_to_string(dir.join("outpost-model.toml"))?)?;
        let threads = std::thread::available_parallelism()?.get();
        let options = GraphOptions { slots: 4, context: 1024, threads };
        let cpu = Provider::cpu();
        let variant = manifest.variant_for(&cpu.name).context("no variant for the processor")?;
        graphs.push(Graph::open(dir, &manifest, variant, &cpu, &options)?);
    }
    let mut best = vec![[0f64; 3]; graphs.len()];
    for _ in 0..rounds {
        for (graph, best) in graphs.iter_mut().zip(&mut best) {
            for (best, now) in best.iter_mut().zip(measure(graph)?) {
                *best = best.max(now);
            }
        }
    }
    println!("{:>10} {:>10} {:>10}  package", "prefill", "decode 1", "decode 4");
    for (dir, [prefill, one, four]) in packages.iter().zip(best) {
        println!("{prefill:>10.0} {one:>10.0} {four:>10.0}  {}", dir.display());
    }
    Ok(())
}

/// Tokens per second.
fn measure(graph: &mut Graph) -> Result<[f64; 3]> {
    let prompt: Vec<u32> = (0..PREFILL as u32).map(|i| 100 + i * 7).collect();
    let prefill = timed(PREFILL, || graph.prefill(0, 0, &prompt, &[PREFILL - 1]).map(|_| ()))?;
    let mut decode = |sequences: usize| {
        timed(STEPS * sequences, || {
            (0..STEPS)
                .try_for_each(|n| graph.decode(&vec![100; sequences], &vec![PAST + n; sequences]).map(|_| ()))
        })
    };
    Ok([prefill, decode(1)?, decode(4)?])
}

fn timed<E: Into<anyhow::Error>>(tokens: usize, run: impl FnOnce() -> Result<(), E>) -> Result<f64> {
    let clock = SystemClock::new();
    let started = clock.boot();
    run().map_err(Into::into)?;
    Ok(tokens as f64 / clock.boot().since(started).as_secs_f64())
}
