//! Sizes and names of a model, and the [`Decoder`] that they make of its tensors.

use std::collections::HashSet;

use super::{Decoder, Layer, QueryScale, Rope, RowOrder, names};
use crate::{Error, Result, limits, source::Tensors};

/// What a file's description says, before its tensors are held against it.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The architecture, by GGUF's name.
    pub architecture: &'static str,
    /// Width of hidden states.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_width: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Positions that the model was trained for.
    pub context: usize,
    /// Added to the mean square in RMS norms.
    pub norm_epsilon: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Growth of queries with their position.
    pub query_scale: Option<QueryScale>,
    /// How the tensors are called.
    pub names: Names,
    /// Order of query and key rows.
    pub order: RowOrder,
}

/// How the tensors of a dense decoder are called.
#[derive(Clone, Debug)]
pub struct Names {
    /// Token table.
    pub table: String,
    /// Output matrix, where there is one of its own.
    pub output: Option<String>,
    /// Norm before the output matrix.
    pub final_norm: String,
    /// Before and after the number of a layer: `blk.` and `.`.
    pub layer: [String; 2],
    /// Within a layer.
    pub parts: &'static Parts,
    /// Tensors that are known and belong to no matrix, by how their names begin.
    pub beside: Vec<String>,
}

/// Names within a layer.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields of `Layer`, unpacked")]
pub struct Parts {
    pub attention_norm: &'static str,
    pub q: &'static str,
    pub k: &'static str,
    pub v: &'static str,
    pub attention_output: &'static str,
    pub feed_forward_norm: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

impl Shape {
    /// The decoder, if `tensors` holds all it needs in the right shapes, and nothing beside.
    pub fn decoder(self, tensors: &dyn Tensors) -> Result<Decoder> {
        self.check()?;
        let table = names::find(tensors, &self.names.table)?;
        let vocabulary = table.rows;
        if vocabulary > limits::VOCABULARY_MAX {
            let limit = limits::VOCABULARY_MAX;
            return Err(Error::Unsupported(format!(
                "a vocabulary of {vocabulary} is more than the limit of {limit}"
            )));
        }
        let own = |name: &String| names::matrix(tensors, name.clone(), vocabulary, self.width);
        let decoder = Decoder {
            architecture: self.architecture,
            width: self.width,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_width: self.head_width,
            feed_forward: self.feed_forward,
            vocabulary,
            context: self.context,
            norm_epsilon: self.norm_epsilon,
            attention_scale: (1.0 / (self.head_width as f64).sqrt()) as f32,
            rope: self.rope.clone(),
            query_scale: self.query_scale,
            table: names::matrix(tensors, self.names.table.clone(), vocabulary, self.width)?,
            output: self.names.output.as_ref().map(own).transpose()?,
            final_norm: names::norm(tensors, self.names.final_norm.clone(), self.width)?,
            layers: (0..self.layers).map(|i| self.layer(tensors, i)).collect::<Result<_>>()?,
        };
        self.check_all_used(tensors, &decoder)?;
        Ok(decoder)
    }

    fn layer(&self, tensors: &dyn Tensors, index: usize) -> Result<Layer> {
        let [before, after] = &self.names.layer;
        let name = |part: &str| format!("{before}{index}{after}{part}.weight");
        let parts = self.names.parts;
        let (q, kv) = (self.heads * self.head_width, self.kv_heads * self.head_width);
        let qkv = [
            (name(parts.q), q, self.order),
            (name(parts.k), kv, self.order),
            (name(parts.v), kv, RowOrder::Same),
        ];
        let gate_up = [parts.gate, parts.up].map(|part| (name(part), self.feed_forward, RowOrder::Same));
        Ok(Layer {
            attention_norm: names::norm(tensors, name(parts.attention_norm), self.width)?,
            qkv: names::stacked(tensors, &qkv, self.width)?,
            attention_output: names::matrix(tensors, name(parts.attention_output), self.width, q)?,
            feed_forward_norm: names::norm(tensors, name(parts.feed_forward_norm), self.width)?,
            gate_up: names::stacked(tensors, &gate_up, self.width)?,
            down: names::matrix(tensors, name(parts.down), self.width, self.feed_forward)?,
        })
    }

    /// Refuses what the graph could not express.
    fn check(&self) -> Result<()> {
        let (heads, kv_heads, head_width) = (self.heads, self.kv_heads, self.head_width);
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(Error::Unsupported(format!(
                "{heads} query heads cannot share {kv_heads} key/value heads evenly"
            )));
        }
        if head_width == 0
            || !head_width.is_multiple_of(8)
            || heads.saturating_mul(head_width) > limits::WIDTH_MAX
        {
            return Err(Error::Unsupported(format!(
                "a head width of {head_width} with {heads} heads is not supported"
            )));
        }
        Ok(())
    }

    /// A bias or an unknown tensor would silently change the model: refuse it by name.
    fn check_all_used(&self, tensors: &dyn Tensors, decoder: &Decoder) -> Result<()> {
        let mut used: HashSet<&str> = HashSet::from([decoder.final_norm.as_str()]);
        let tables = std::iter::once(&decoder.table).chain(&decoder.output);
        let matrices = decoder.matrices().map(|(_, m)| m).chain(tables);
        used.extend(matrices.flat_map(|m| &m.parts).map(|p| p.tensor.as_str()));
        used.extend(
            decoder.layers.iter().flat_map(|l| [l.attention_norm.as_str(), l.feed_forward_norm.as_str()]),
        );
        let beside = |name: &str| self.names.beside.iter().any(|known| name.starts_with(known.as_str()));
        names::nothing_beside(tensors, &|name| used.contains(name) || beside(name))
    }
}
