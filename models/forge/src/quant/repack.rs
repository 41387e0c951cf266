//! ggml blocks that `MatMulNBits` can hold as they are: the same codes, the same scales.
//!
//! `Q4_1` is not among them. Its minimum is a float, and ONNX Runtime's CPU kernels take a
//! float zero point only by dequantising the whole matrix at every run: measured 40 times
//! slower in decode (576 by 3072, ONNX Runtime 1.31.1, `models/README.md`).

use super::{Code, RowMut, int4::pack};
use crate::gguf::{self, Format};

/// Numbers of one block of every format that can be repacked.
const BLOCK: usize = 32;

/// Whether [`repack`] can be used from `format` to `code` with `block`.
pub fn is_lossless(format: Format, code: Code, block: usize) -> bool {
    block == BLOCK
        && matches!(
            (format, code),
            (Format::Q4_0, Code::Int4) | (Format::Q4_0 | Format::Q5_0 | Format::Q8_0, Code::Int8)
        )
}

/// Moves one row of `format` into codes and scales without changing a number.
///
/// # Panics
/// Unless [`is_lossless`].
pub fn repack(format: Format, code: Code, row: &[u8], out: &mut RowMut<'_>) {
    assert!(is_lossless(format, code, BLOCK), "only lossless pairs are repacked");
    let (_, block_bytes) = format.block();
    let codes = out.codes.chunks_exact_mut(BLOCK * code.bits() / 8);
    for ((bytes, codes), scale) in row.chunks_exact(block_bytes).zip(codes).zip(out.scales.iter_mut()) {
        *scale = gguf::half(bytes);
        match (format, code) {
            (Format::Q4_0, Code::Int4) => pack(&gguf::nibbles(&bytes[2..]), codes),
            (Format::Q4_0, _) => shift(&gguf::nibbles(&bytes[2..]), 128 - 8, codes),
            (Format::Q5_0, _) => shift(&gguf::fives(&bytes[2..6], &bytes[6..]), 128 - 16, codes),
            // Signed codes: wrapping by 128 makes them unsigned around 128.
            _ => shift(&bytes[2..], 128, codes),
        }
    }
}

fn shift(codes: &[u8], by: u8, out: &mut [u8]) {
    for (out, code) in out.iter_mut().zip(codes) {
        *out = code.wrapping_add(by);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RowLayout, decode};
    use super::*;

    #[test]
    fn repacked_rows_stand_for_exactly_the_same_numbers() {
        for (format, code) in [
            (Format::Q4_0, Code::Int4),
            (Format::Q4_0, Code::Int8),
            (Format::Q5_0, Code::Int8),
            (Format::Q8_0, Code::Int8),
        ] {
            let (_, size) = format.block();
            let mut row: Vec<u8> = (0..3 * size).map(|i| (i * 89 % 251) as u8).collect();
            for block in row.chunks_exact_mut(size) {
                block[..2].copy_from_slice(&half::f16::from_f32(-0.0123).to_le_bytes());
            }
            let (mut want, mut got) = (vec![0.0; 96], vec![1.0; 96]);
            gguf::dequantise(format, &row, &mut want);
            let layout = RowLayout::new(code, 32, 96);
            let (mut codes, mut scales) = (vec![0; layout.code_bytes], vec![0.0; layout.blocks]);
            let mut out = RowMut { codes: &mut codes, scales: &mut scales, zeros: &mut [] };
            repack(format, code, &row, &mut out);
            decode(code, 32, &out, &mut got);
            assert_eq!(want, got, "{} to {code:?}", format.name());
        }
    }
}
