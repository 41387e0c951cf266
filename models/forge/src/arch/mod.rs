//! What a model is, apart from its numbers.
//!
//! A description (GGUF metadata, `config.json`, or what `synth` was asked for) becomes a
//! [`Shape`]: sizes, rotary frequencies, names. Held against the tensors it gives a
//! [`Decoder`]: which tensors make up which matrix of the graph. The graph writer
//! ([`graph`](crate::graph)) knows decoders and no architectures, so a new architecture of the
//! usual kind (grouped-query attention, RMS norm, `SwiGLU`) is a new reader of its description.

mod gguf;
mod huggingface;
mod names;
mod rope;
mod shape;

use outpost::model::CacheShape;

pub use gguf::names as gguf_names;
pub use huggingface::{is_beside, named_shape, shape as huggingface_shape};
pub use rope::{QueryScale, Rope, Yarn};
pub use shape::{Names, Parts, Shape};

use crate::{Error, Result, gguf::Gguf};

/// A decoder-only transformer.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// The architecture, by GGUF's name.
    pub architecture: &'static str,
    /// Width of hidden states.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_width: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Rows of the token table.
    pub vocabulary: usize,
    /// Positions that the model was trained for.
    pub context: usize,
    /// Added to the mean square in RMS norms.
    pub norm_epsilon: f32,
    /// Factor on attention scores.
    pub attention_scale: f32,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Growth of queries with their position.
    pub query_scale: Option<QueryScale>,
    /// Token table.
    pub table: Matrix,
    /// Output matrix; `None` where the token table serves.
    pub output: Option<Matrix>,
    /// Norm before the output matrix.
    pub final_norm: String,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Norm before attention.
    pub attention_norm: String,
    /// Query, key and value projections, in this order.
    pub qkv: Matrix,
    /// Projection of the attention's result.
    pub attention_output: Matrix,
    /// Norm before the feed-forward layer.
    pub feed_forward_norm: String,
    /// Gate and up projections, in this order.
    pub gate_up: Matrix,
    /// Projection back to the hidden state.
    pub down: Matrix,
}

/// A matrix of the graph: tensors of the file, one below the other.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The tensors; all have as many columns.
    pub parts: Vec<Part>,
    /// Rows of all parts together: the output width.
    pub rows: usize,
    /// Columns: the input width.
    pub columns: usize,
}

/// One tensor of a matrix.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name in the file.
    pub tensor: String,
    /// How its rows are ordered there.
    pub order: RowOrder,
}

/// Order of a tensor's rows in the file, as against the graph's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// The same.
    Same,
    /// Query and key rows of architectures whose rotary pairs are neighbours in GGUF (row
    /// `2j + s` of a head is row `s * width / 2 + j` in the graph). Whole rows move, and
    /// blocks lie within rows, so undoing it costs no precision.
    Neighbours {
        /// Rows of one head.
        head_width: usize,
    },
}

/// The place of a matrix in the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "fields of `Layer` and `Decoder` with the layer's index")]
pub enum Site {
    Qkv(usize),
    AttentionOutput(usize),
    GateUp(usize),
    Down(usize),
    Output,
}

impl Site {
    /// The layer that it lies in.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Qkv(layer) | Self::AttentionOutput(layer) | Self::GateUp(layer) | Self::Down(layer) => {
                Some(layer)
            }
            Self::Output => None,
        }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Qkv(layer) => write!(f, "layers.{layer}.qkv"),
            Self::AttentionOutput(layer) => write!(f, "layers.{layer}.attention_output"),
            Self::GateUp(layer) => write!(f, "layers.{layer}.gate_up"),
            Self::Down(layer) => write!(f, "layers.{layer}.down"),
            Self::Output => write!(f, "output"),
        }
    }
}

impl Decoder {
    /// Shape of its KV cache.
    pub fn cache_shape(&self) -> CacheShape {
        CacheShape { layers: self.layers.len(), heads: self.kv_heads, head_width: self.head_width }
    }

    /// Every matrix of the layers, first to last. Tables are not among them.
    pub fn matrices(&self) -> impl Iterator<Item = (Site, &Matrix)> {
        self.layers.iter().enumerate().flat_map(|(i, layer)| {
            [
                (Site::Qkv(i), &layer.qkv),
                (Site::AttentionOutput(i), &layer.attention_output),
                (Site::GateUp(i), &layer.gate_up),
                (Site::Down(i), &layer.down),
            ]
        })
    }

    /// Width of the packed projections' result.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_width
    }
}

/// Describes the model in `gguf`, whatever its architecture.
pub fn describe(gguf: &Gguf) -> Result<Decoder> {
    let metadata = gguf.metadata();
    let data = |e| Error::Unsupported(format!("{e}"));
    if metadata.count("split.count", usize::MAX).map_err(data)?.is_some_and(|n| n > 1) {
        let advice = "join it first with `llama-gguf-split --merge`";
        return Err(Error::Unsupported(format!("the file is one part of a split model: {advice}")));
    }
    let architecture = match metadata.text("general.architecture").map_err(data)? {
        Some("llama") => "llama",
        Some("mistral3") => "mistral3",
        Some(other) => {
            let other: String = other.escape_debug().take(64).collect();
            return Err(Error::Unsupported(format!(
                "architecture `{other}` is not supported; `llama` and `mistral3` are"
            )));
        }
        None => {
            return Err(Error::Unsupported(
                "metadata `general.architecture` is missing: not a model file".to_owned(),
            ));
        }
    };
    gguf::shape(gguf, architecture)?.decoder(gguf)
}
