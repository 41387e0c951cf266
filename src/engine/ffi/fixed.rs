//! A graph of fixed sizes with its cache: one session reads prompts, `tokens` at a time, another
//! writes answers, one token at a time.
//!
//! Whatever is less than a run takes is padded, and the padding masked. Each run gets the whole
//! cache of one sequence, full or not, and gives the rows of its own tokens, which are written
//! behind those that the slot holds.

use ort::session::Session;

use super::{
    Binding, ElementType, Tensor,
    cache::{Cache, Keeping},
    cell::{CellShape, Span},
};
use crate::{engine::border::FixedBorder, model::KvType};

const INT64: ElementType = ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
const FLOAT: ElementType = ElementType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
/// Added to the scores of what is not there. Far below any score, and a number in 16 bits, too.
const NOT_THERE: f32 = -30_000.0;

/// A session for runs of one size, with all that goes in and out but the cache.
struct Gauge {
    // Declared before what it points into, hence dropped before it.
    binding: Binding,
    session: Session,
    border: FixedBorder,
    ids: Box<[i64]>,
    positions: Box<[i64]>,
    /// `tokens × (past + tokens)`.
    bias: Box<[f32]>,
    row: Box<[i64]>,
    logits: Box<[f32]>,
    /// New rows by layer, key before value: `heads × tokens × head_width`.
    new: Vec<Box<[f32]>>,
}

impl Gauge {
    fn new(session: Session, border: FixedBorder) -> Result<Self, String> {
        let FixedBorder { tokens, past, vocabulary, shape, .. } = border;
        let rows = shape.heads * tokens * shape.head_width;
        let mut gauge = Self {
            binding: Binding::new(&session)?,
            session,
            ids: vec![0; tokens].into(),
            positions: vec![0; tokens].into(),
            bias: vec![0.0; tokens * (past + tokens)].into(),
            row: vec![0].into(),
            logits: vec![0.0; vocabulary].into(),
            new: border.caches.iter().map(|_| vec![0.0; rows].into()).collect(),
            border,
        };
        gauge.bind()?;
        Ok(gauge)
    }

    /// Binds everything but the cache, once: these buffers never move.
    fn bind(&mut self) -> Result<(), String> {
        let FixedBorder { tokens, past, vocabulary, shape, caches } = &self.border;
        let dims = |all: &[usize]| all.iter().map(|n| *n as i64).collect::<Vec<_>>();
        let (binding, one_row) = (&self.binding, dims(&[1, *tokens]));
        let rows = dims(&[1, shape.heads, *tokens, shape.head_width]);
        // SAFETY: each tensor is over a box of just as many elements (see `new`) that `self` keeps for as
        // long as the binding and never resizes.
        unsafe {
            binding.input(c"input_ids", &Tensor::over(self.ids.as_mut_ptr(), &one_row, INT64)?)?;
            binding.input(c"position_ids", &Tensor::over(self.positions.as_mut_ptr(), &one_row, INT64)?)?;
            let bias = dims(&[1, 1, *tokens, past + tokens]);
            binding.input(c"attention_bias", &Tensor::over(self.bias.as_mut_ptr(), &bias, FLOAT)?)?;
            binding.input(c"logits_row", &Tensor::over(self.row.as_mut_ptr(), &[1], INT64)?)?;
            let logits = dims(&[1, *vocabulary]);
            binding.output(c"logits", &Tensor::over(self.logits.as_mut_ptr(), &logits, FLOAT)?)?;
            for (new, names) in self.new.iter_mut().zip(caches) {
                binding.output(&names.present, &Tensor::over(new.as_mut_ptr(), &rows, FLOAT)?)?;
            }
        }
        Ok(())
    }

    /// Takes in `tokens`, not more than a run has room for, behind `past` others.
    fn fill(&mut self, tokens: &[u32], past: usize) {
        let (room, cache) = (self.border.tokens, self.border.past);
        assert!(!tokens.is_empty() && tokens.len() <= room, "{} tokens in a run of {room}", tokens.len());
        for at in 0..room {
            // Padding has some token and some position, and nobody looks at it.
            self.ids[at] = tokens.get(at).copied().map_or(0, i64::from);
            self.positions[at] = (past + at.min(tokens.len() - 1)) as i64;
            let bias = &mut self.bias[at * (cache + room)..][..cache + room];
            for (column, bias) in bias.iter_mut().enumerate() {
                let is_there = column < past || (cache..=cache + at).contains(&column);
                *bias = if is_there { 0.0 } else { NOT_THERE };
            }
        }
    }
}

/// Two sessions of one graph with `slots` sequences of up to `context` tokens.
pub(in crate::engine) struct FixedCell {
    prefill: Gauge,
    decode: Gauge,
    cache: Cache,
    shape: CellShape,
    /// Logits of rows that ran one after the other.
    gathered: Vec<f32>,
}

// SAFETY: as for `Cell`.
unsafe impl Send for FixedCell {}

impl FixedCell {
    /// Of two sessions of one graph, for prompts and for answers; both were opened for a cache of as many tokens.
    pub(in crate::engine) fn new(
        prefill: (Session, FixedBorder),
        decode: (Session, FixedBorder),
        slots: usize,
    ) -> Result<Self, String> {
        let context = prefill.1.past;
        assert!(decode.1.past == context && decode.1.tokens == 1, "sessions of one graph");
        // It lies as where a graph writes in place, only that the new rows are written here.
        let shape = CellShape { keeping: Keeping::InPlace, slots, context };
        let cache = Cache::new(shape.keeping, prefill.1.shape, KvType::F32, slots, context);
        Ok(Self {
            prefill: Gauge::new(prefill.0, prefill.1)?,
            decode: Gauge::new(decode.0, decode.1)?,
            cache,
            shape,
            gathered: Vec::new(),
        })
    }

    pub(in crate::engine) const fn shape(&self) -> CellShape {
        self.shape
    }

    /// Tokens of a prompt in one run.
    pub(in crate::engine) const fn chunk(&self) -> usize {
        self.prefill.border.tokens
    }

    /// Bytes of the whole cache.
    pub(in crate::engine) fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// As [`Cell::run`](super::Cell::run): one sequence after the other.
    pub(in crate::engine) fn run(
        &mut self,
        span: Span,
        tokens: &[u32],
        pasts: &[usize],
        rows: &[usize],
    ) -> Result<&[f32], String> {
        self.gathered.clear();
        match span {
            Span::Slot(slot) => self.run_slot(slot, tokens, pasts[0], rows)?,
            Span::First(sequences) => {
                assert!(tokens.len() == sequences && pasts.len() == sequences, "one token each");
                for slot in 0..sequences {
                    let rows = if rows.contains(&slot) { &[0][..] } else { &[] };
                    self.run_slot(slot, &tokens[slot..=slot], pasts[slot], rows)?;
                }
            }
        }
        Ok(&self.gathered)
    }

    fn run_slot(&mut self, slot: usize, tokens: &[u32], past: usize, rows: &[usize]) -> Result<(), String> {
        assert!(past + tokens.len() <= self.shape.context, "{past}+{} tokens in a slot", tokens.len());
        assert!(
            rows.is_sorted() && rows.iter().all(|row| *row < tokens.len()),
            "rows of the chunk, in order"
        );
        let vocabulary = self.prefill.border.vocabulary;
        assert!(tokens.iter().all(|t| (*t as usize) < vocabulary), "token beyond the vocabulary");
        let room = self.chunk();
        for (n, chunk) in tokens.chunks(room).enumerate() {
            let first = n * room;
            let own: Vec<usize> = rows
                .iter()
                .filter(|row| (first..first + chunk.len()).contains(*row))
                .map(|row| row - first)
                .collect();
            self.run_chunk(slot, chunk, past + first, &own)?;
        }
        Ok(())
    }

    /// One run for each wanted row, and one where none is wanted: the graph gives one row of logits. Only then are
    /// the new rows of the cache kept, so that each of these runs finds the same past.
    fn run_chunk(&mut self, slot: usize, tokens: &[u32], past: usize, rows: &[usize]) -> Result<(), String> {
        let gauge = if tokens.len() == 1 { &mut self.decode } else { &mut self.prefill };
        gauge.fill(tokens, past);
        self.cache.bind_past(&gauge.binding, &gauge.border.caches, slot)?;
        for row in rows.iter().copied().map(Some).chain(rows.is_empty().then_some(None)) {
            gauge.row[0] = row.unwrap_or(tokens.len() - 1) as i64;
            // SAFETY: all buffers belong to `self`, which nobody else can touch while this runs.
            unsafe { gauge.binding.run(&gauge.session)? };
            if row.is_some() {
                self.gathered.extend_from_slice(&gauge.logits);
            }
        }
        self.cache.append(slot, past, &gauge.new, gauge.border.tokens, tokens.len());
        Ok(())
    }

    /// Copies the first `tokens` positions of one slot over those of another.
    pub(in crate::engine) fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        self.cache.copy_slot(from, to, tokens);
    }
}
