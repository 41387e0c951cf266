//! Models with random weights of any shape: to measure what a board does with a model whose
//! weights are elsewhere.
//!
//! The shape is a `config.json`. Each number depends on the seed, its tensor and its place
//! alone, so that the same model can be written as GGUF for somebody else's engine and made
//! into a package here.

mod numbers;
mod vocabulary;
mod write;

use std::path::Path;

pub use write::{Format, write};

use crate::{
    Error, Result,
    arch::{self, Decoder, RowOrder, Shape},
    limits,
    source::{Tensor, Tensors},
    text::read_text,
    tokenizer::Tokenizer,
};

/// Shapes that need no file.
pub const KNOWN: [(&str, &str); 2] = [
    ("ministral-3-3b", include_str!("../../data/ministral-3-3b.json")),
    ("tiny", include_str!("../../data/tiny.json")),
];

/// A model of random weights.
pub struct Synthetic {
    config: String,
    shape: Shape,
    vocabulary: usize,
    seed: u64,
    tensors: Vec<Tensor>,
}

impl Synthetic {
    /// Of the shape `name`, a known one or the path of a `config.json`.
    pub fn new(name: &str, seed: u64) -> Result<Self> {
        let config = match KNOWN.iter().find(|(known, _)| *known == name) {
            Some((_, config)) => (*config).to_owned(),
            None if Path::new(name).is_file() => read_text(Path::new(name), limits::STRING_BYTES_MAX)?,
            None => {
                let known = KNOWN.map(|(name, _)| name).join("`, `");
                return Err(Error::Usage(format!("`{name}` is neither a file nor one of `{known}`")));
            }
        };
        Self::of(config, seed)
    }

    fn of(config: String, seed: u64) -> Result<Self> {
        let shape = arch::named_shape(&config, |tied| Ok(arch::gguf_names(tied == Some(false))))?;
        let order = RowOrder::Neighbours { head_width: shape.head_width };
        let shape = Shape { order, ..shape };
        let vocabulary = vocabulary::size(&config)?;
        let mut synthetic = Self { config, shape, vocabulary, seed, tensors: Vec::new() };
        synthetic.tensors = synthetic.list();
        Ok(synthetic)
    }

    /// What it is.
    pub fn describe(&self) -> Result<Decoder> {
        self.shape.clone().decoder(self)
    }

    /// A tokenizer that knows bytes and nothing more.
    pub fn tokenizer(&self, context: usize) -> Result<Tokenizer> {
        vocabulary::tokenizer(self.vocabulary, context)
    }

    /// The `config.json` that it was made of.
    pub fn config(&self) -> &str {
        &self.config
    }

    fn list(&self) -> Vec<Tensor> {
        let Shape { names, width, .. } = &self.shape;
        let (q, kv) = (self.shape.heads * self.shape.head_width, self.shape.kv_heads * self.shape.head_width);
        let (width, wide, parts) = (*width, self.shape.feed_forward, names.parts);
        let mut list = vec![(names.table.clone(), self.vocabulary, width)];
        for layer in 0..self.shape.layers {
            let name = |part: &str| format!("{}{layer}{}{part}.weight", names.layer[0], names.layer[1]);
            list.extend([
                (name(parts.attention_norm), 1, width),
                (name(parts.q), q, width),
                (name(parts.k), kv, width),
                (name(parts.v), kv, width),
                (name(parts.attention_output), width, q),
                (name(parts.feed_forward_norm), 1, width),
                (name(parts.gate), wide, width),
                (name(parts.up), wide, width),
                (name(parts.down), width, wide),
            ]);
        }
        list.push((names.final_norm.clone(), 1, width));
        list.extend(names.output.clone().map(|name| (name, self.vocabulary, width)));
        let tensor = |(name, rows, columns): (String, usize, usize)| Tensor {
            name,
            format: crate::source::Format::F32,
            columns,
            rows,
            offset: 0,
            row_bytes: columns * size_of::<f32>(),
        };
        list.into_iter().map(tensor).collect()
    }
}

impl Tensors for Synthetic {
    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn read_rows(&self, tensor: &Tensor, first: usize, count: usize, buffer: &mut Vec<u8>) -> Result<()> {
        assert!(first + count <= tensor.rows, "rows asked for are rows of the tensor");
        buffer.clear();
        // Norms are 1; all others keep the size of what they are multiplied with.
        if tensor.rows == 1 {
            buffer.extend((0..tensor.columns).flat_map(|_| 1f32.to_le_bytes()));
            return Ok(());
        }
        let key = numbers::key(self.seed, &tensor.name);
        let size = (1.0 / tensor.columns as f64).sqrt() as f32;
        for row in first..first + count {
            numbers::row(key, row, tensor.columns, size, buffer);
        }
        Ok(())
    }
}
