//! A package's one graph with one sequence.

use std::path::Path;

use outpost::model::{CacheShape, KvType};

use super::{
    Sequence, Step,
    chain::{Chain, Feed, Link},
};
use crate::Result;

/// A loaded graph and the cache of one sequence.
pub struct Model {
    chain: Chain,
    shape: CacheShape,
    kv: KvType,
    vocabulary: usize,
    sequence: Sequence,
}

impl Model {
    /// Of `graph`, which is loaded by the first step.
    pub fn open(graph: &Path, shape: CacheShape, kv: KvType, vocabulary: usize) -> Self {
        let link = Link { graph: graph.to_owned(), layers: 0..shape.layers, columns: 0..0, taps: Vec::new() };
        let sequence = Sequence::new(shape, kv, 0);
        Self { chain: Chain::new(vec![link]), shape, kv, vocabulary, sequence }
    }

    /// Begins a sequence of at most `tokens`.
    pub fn reset(&mut self, tokens: usize) {
        self.sequence = Sequence::new(self.shape, self.kv, tokens);
    }

    /// Feeds `tokens` after the past and gives the logits at `rows` of them.
    pub fn step(&mut self, tokens: &[u32], rows: &[usize]) -> Result<Step> {
        let sequences = std::slice::from_mut(&mut self.sequence);
        let mut steps = self.chain.step(sequences, &[Feed { tokens, rows }])?;
        Ok(steps.pop().unwrap_or_default())
    }

    /// Rows of logits.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}
