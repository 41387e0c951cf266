//! 8-bit codes: plain rounding; there is nothing left to win by a search.

use super::RowMut;

/// Encodes one row with `scale = largest magnitude / 127`.
pub fn encode_int8(block: usize, row: &[f32], out: &mut RowMut<'_>) {
    let codes = out.codes.chunks_exact_mut(block);
    for ((numbers, codes), scale) in row.chunks(block).zip(codes).zip(out.scales.iter_mut()) {
        let largest = numbers.iter().fold(0f32, |m, x| m.max(x.abs()));
        *scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        codes.fill(128);
        for (code, x) in codes.iter_mut().zip(numbers) {
            // Positive before the cast, so that truncation rounds to nearest.
            *code = (x * inverse + 128.5) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Code, RowLayout, decode};
    use super::*;

    #[test]
    fn a_ragged_row_comes_back_within_half_a_step() {
        let row: Vec<f32> = (0..80).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        let layout = RowLayout::new(Code::Int8, 64, row.len());
        assert_eq!((layout.blocks, layout.code_bytes), (2, 128));
        let (mut codes, mut scales, mut back) = (vec![0; 128], vec![0.0; 2], vec![0.0; 80]);
        let mut out = RowMut { codes: &mut codes, scales: &mut scales, zeros: &mut [] };
        encode_int8(64, &row, &mut out);
        decode(Code::Int8, 64, &out, &mut back);
        for (i, (x, y)) in row.iter().zip(&back).enumerate() {
            assert!((x - y).abs() <= out.scales[i / 64] * 0.501, "{i}: {x} became {y}");
        }
        assert!(out.codes[80..].iter().all(|c| *c == 128), "padding is zero");
    }

    #[test]
    fn a_block_of_zeros_has_scale_zero_and_stays_zero() {
        let (mut codes, mut scales, mut back) = (vec![0; 32], vec![1.0], vec![1.0; 32]);
        let mut out = RowMut { codes: &mut codes, scales: &mut scales, zeros: &mut [] };
        encode_int8(32, &[0.0; 32], &mut out);
        decode(Code::Int8, 32, &out, &mut back);
        assert_eq!(back, [0.0; 32]);
    }
}
