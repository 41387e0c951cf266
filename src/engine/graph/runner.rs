//! What a graph runs in, whichever kind it is.

use crate::{
    domain::limits,
    engine::{
        border::Rows,
        ffi::{Cell, CellShape, FixedCell, Span},
    },
    model::KvType,
};

/// Sessions with their cache.
pub(super) enum Runner {
    /// Runs take any number of tokens.
    Free(Cell),
    /// Runs take always as many.
    Fixed(FixedCell),
}

impl Runner {
    pub(super) fn run(
        &mut self,
        span: Span,
        tokens: &[u32],
        pasts: &[usize],
        rows: &[usize],
    ) -> Result<&[f32], String> {
        match self {
            Self::Free(cell) => cell.run(span, tokens, pasts, rows),
            Self::Fixed(cell) => cell.run(span, tokens, pasts, rows),
        }
    }

    pub(super) fn copy_slot(&mut self, from: usize, to: usize, tokens: usize) {
        match self {
            Self::Free(cell) => cell.copy_slot(from, to, tokens),
            Self::Fixed(cell) => cell.copy_slot(from, to, tokens),
        }
    }

    pub(super) const fn shape(&self) -> CellShape {
        match self {
            Self::Free(cell) => cell.shape(),
            Self::Fixed(cell) => cell.shape(),
        }
    }

    pub(super) fn cache_bytes(&self) -> usize {
        match self {
            Self::Free(cell) => cell.cache_bytes(),
            Self::Fixed(cell) => cell.cache_bytes(),
        }
    }

    pub(super) const fn kv(&self) -> KvType {
        match self {
            Self::Free(cell) => cell.border().kv,
            Self::Fixed(_) => KvType::F32,
        }
    }

    /// Most tokens of a prompt in one run. A graph that computes the logits of every token, asked or not, gets
    /// fewer: each takes 4 bytes per row of the vocabulary.
    pub(super) fn chunk(&self) -> usize {
        match self {
            Self::Free(cell) if cell.border().rows == Rows::All => {
                let rows = limits::LOGITS_BYTES_MAX / (4 * cell.border().vocabulary);
                rows.clamp(3, limits::PREFILL_CHUNK_TOKENS)
            }
            Self::Free(_) => limits::PREFILL_CHUNK_TOKENS,
            Self::Fixed(cell) => cell.chunk(),
        }
    }
}
