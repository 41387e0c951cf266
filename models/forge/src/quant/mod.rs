//! Weights into the blocks that ONNX Runtime's `MatMulNBits` and `GatherBlockQuantized` read.
//!
//! Blocks run along a row (the input dimension). A row that is no multiple of the block
//! ends in a block padded with zeros. Codes are unsigned; the value of a code is
//! `scale * (code - zero)`, where `zero` is 8 or 128 unless zero points are stored.
//! Everything here is deterministic and knows no threads: see [`weights`](crate::weights).

mod int4;
mod int8;
mod repack;

pub use int4::{encode_int4, encode_uint4};
pub use int8::encode_int8;
pub use repack::{is_lossless, repack};

/// Codes of one matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 4 bits around a zero of 8.
    Int4,
    /// 4 bits with a stored 4-bit zero point per block.
    Uint4,
    /// 8 bits around a zero of 128.
    Int8,
}

impl Code {
    /// Bits of one code.
    pub const fn bits(self) -> usize {
        match self {
            Self::Int4 | Self::Uint4 => 4,
            Self::Int8 => 8,
        }
    }
}

/// Number format of one matrix in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 32-bit floating point.
    F32,
    /// Codes in blocks with one float32 scale each.
    Blocks {
        /// The codes.
        code: Code,
        /// Numbers that share a scale.
        block: usize,
    },
}

/// Sizes of one encoded row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLayout {
    /// Blocks, the padded one included.
    pub blocks: usize,
    /// Bytes of codes, padding included.
    pub code_bytes: usize,
    /// Bytes of stored zero points.
    pub zero_bytes: usize,
}

impl RowLayout {
    /// Sizes for rows of `columns` numbers.
    pub fn new(code: Code, block: usize, columns: usize) -> Self {
        let blocks = columns.div_ceil(block);
        let zero_bytes = if code == Code::Uint4 { blocks.div_ceil(2) } else { 0 };
        Self { blocks, code_bytes: blocks * block * code.bits() / 8, zero_bytes }
    }
}

/// Where one encoded row goes.
pub struct RowMut<'a> {
    /// Packed codes.
    pub codes: &'a mut [u8],
    /// One scale per block.
    pub scales: &'a mut [f32],
    /// Packed zero points, empty unless stored.
    pub zeros: &'a mut [u8],
}

/// Encodes one row. With `importance` (mean square of each column's input), scales minimise
/// the error that the product will show, not that of the weights.
pub fn encode(code: Code, block: usize, row: &[f32], importance: Option<&[f32]>, out: &mut RowMut<'_>) {
    match code {
        Code::Int4 => encode_int4(block, row, importance, out),
        Code::Uint4 => encode_uint4(block, row, importance, out),
        Code::Int8 => encode_int8(block, row, out),
    }
}

/// The numbers that an encoded row stands for.
pub fn decode(code: Code, block: usize, row: &RowMut<'_>, out: &mut [f32]) {
    for (i, number) in out.iter_mut().enumerate() {
        let b = i / block;
        let nibble = |bytes: &[u8], at: usize| bytes[at / 2] >> (at % 2 * 4) & 15;
        let (q, zero) = match code {
            Code::Int4 => (nibble(row.codes, i), 8),
            Code::Uint4 => (nibble(row.codes, i), nibble(row.zeros, b)),
            Code::Int8 => (row.codes[i], 128),
        };
        *number = row.scales[b] * (f32::from(q) - f32::from(zero));
    }
}
