//! 4-bit codes, with and without stored zero points.
//!
//! Plain: `scale = number of largest magnitude / -8`, as llama.cpp's `Q4_0`. With
//! importance: a few scales around that are tried, each refitted by weighted least squares,
//! and the one with the least weighted error is taken. Without weights such a search makes
//! a model worse (it clips the large numbers that matter), so none is done.

use super::RowMut;

/// Numbers of one block at most.
const BLOCK_MAX: usize = 128;

/// Encodes one row around a fixed zero of 8.
pub fn encode_int4(block: usize, row: &[f32], importance: Option<&[f32]>, out: &mut RowMut<'_>) {
    let mut codes = [0u8; BLOCK_MAX];
    for (b, numbers) in row.chunks(block).enumerate() {
        let weights = importance.map(|w| &w[b * block..b * block + numbers.len()]);
        codes.fill(8);
        out.scales[b] = match weights {
            Some(weights) => search_symmetric(numbers, weights, &mut codes),
            None => fill_symmetric(numbers, extreme(numbers) / -8.0, &mut codes),
        };
        pack(&codes[..block], &mut out.codes[b * block / 2..]);
    }
}

/// Encodes one row with a zero point per block.
pub fn encode_uint4(block: usize, row: &[f32], importance: Option<&[f32]>, out: &mut RowMut<'_>) {
    let mut codes = [0u8; BLOCK_MAX];
    out.zeros.fill(0);
    for (b, numbers) in row.chunks(block).enumerate() {
        let even;
        let weights = if let Some(weights) = importance {
            &weights[b * block..b * block + numbers.len()]
        } else {
            even = [1.0; BLOCK_MAX];
            &even[..numbers.len()]
        };
        let (scale, zero) = search_affine(numbers, weights, &mut codes);
        codes[numbers.len()..block].fill(zero);
        out.scales[b] = scale;
        out.zeros[b / 2] |= zero << (b % 2 * 4);
        pack(&codes[..block], &mut out.codes[b * block / 2..]);
    }
}

/// Byte `i` holds code `2i` (low) and code `2i + 1` (high).
pub(super) fn pack(codes: &[u8], out: &mut [u8]) {
    for (byte, pair) in out.iter_mut().zip(codes.chunks_exact(2)) {
        *byte = pair[0] | pair[1] << 4;
    }
}

/// The number of largest magnitude, with its sign.
fn extreme(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0f32, |m, x| if x.abs() > m.abs() { *x } else { m })
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

fn fill_symmetric(numbers: &[f32], scale: f32, codes: &mut [u8]) -> f32 {
    fill(numbers, inverse(scale), 8, codes);
    scale
}

/// Codes of `numbers` times `inverse`, rounded to nearest.
fn fill(numbers: &[f32], inverse: f32, zero: u8, codes: &mut [u8]) {
    let offset = f32::from(zero) + 0.5;
    for (code, x) in codes.iter_mut().zip(numbers) {
        // The cast saturates at 0 and truncates above: rounding to nearest.
        *code = ((x * inverse + offset) as u8).min(15);
    }
}

/// Scale of least weighted squares for given codes, and the squares that it explains.
fn refit(numbers: &[f32], weights: &[f32], codes: &[u8], zero: u8) -> Option<(f32, f32)> {
    let (mut product, mut square) = (0f32, 0f32);
    for ((x, w), code) in numbers.iter().zip(weights).zip(codes) {
        let q = f32::from(*code) - f32::from(zero);
        product += w * q * x;
        square += w * q * q;
    }
    (square > 0.0).then(|| (product / square, product * product / square))
}

fn search_symmetric(numbers: &[f32], weights: &[f32], best_codes: &mut [u8]) -> f32 {
    let extreme = extreme(numbers);
    let mut scale = fill_symmetric(numbers, extreme / -8.0, best_codes);
    let mut codes = [0u8; BLOCK_MAX];
    let mut explained_most = f32::MIN;
    // The sum of squares is constant: the most explained is the least error.
    for step in -6..=6 {
        let trial = extreme / -(8.0 + 0.25 * step as f32);
        fill(numbers, inverse(trial), 8, &mut codes);
        if let Some((refitted, explained)) = refit(numbers, weights, &codes, 8)
            && explained > explained_most
        {
            explained_most = explained;
            scale = refitted;
            best_codes[..numbers.len()].copy_from_slice(&codes[..numbers.len()]);
        }
    }
    scale
}

fn search_affine(numbers: &[f32], weights: &[f32], best_codes: &mut [u8]) -> (f32, u8) {
    // The range always spans 0, so that padding and pruned weights stay exact.
    let low = numbers.iter().fold(0f32, |m, x| m.min(*x));
    let high = numbers.iter().fold(0f32, |m, x| m.max(*x));
    let mut best = (0.0, 8);
    best_codes.fill(8);
    let mut codes = [0u8; BLOCK_MAX];
    let mut explained_most = f32::MIN;
    for step in 0..10 {
        let inverse = inverse((high - low) / (15.0 + 0.25 * (step - 3) as f32));
        let middle = (-low * inverse + 0.5) as u8;
        for zero in middle.saturating_sub(1)..=(middle + 1).min(15) {
            fill(numbers, inverse, zero, &mut codes);
            if let Some((refitted, explained)) = refit(numbers, weights, &codes, zero)
                && explained > explained_most
            {
                explained_most = explained;
                best = (refitted, zero);
                best_codes[..numbers.len()].copy_from_slice(&codes[..numbers.len()]);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::{Code, RowLayout, decode};
    use super::*;

    fn row(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 % 1009) as f32 / 1009.0 - 0.45).powi(3)).collect()
    }

    /// Encodes and decodes; the weighted squared error.
    fn error(code: Code, block: usize, row: &[f32], importance: Option<&[f32]>, weights: &[f32]) -> f32 {
        let layout = RowLayout::new(code, block, row.len());
        let (mut codes, mut scales) = (vec![0; layout.code_bytes], vec![0.0; layout.blocks]);
        let (mut zeros, mut back) = (vec![0; layout.zero_bytes], vec![0.0; row.len()]);
        let mut out = RowMut { codes: &mut codes, scales: &mut scales, zeros: &mut zeros };
        super::super::encode(code, block, row, importance, &mut out);
        decode(code, block, &out, &mut back);
        row.iter().zip(&back).zip(weights).map(|((x, y), w)| w * (x - y).powi(2)).sum()
    }

    #[test]
    fn plain_rounding_keeps_the_largest_number_and_errs_by_half_a_step() {
        let row = row(64);
        let largest = extreme(&row);
        let step = largest.abs() / 8.0;
        let error = error(Code::Int4, 64, &row, None, &[1.0; 64]);
        assert!(error <= 64.0 * (step / 2.0).powi(2) * 1.01, "{error}");
    }

    #[test]
    fn the_weighted_search_never_loses_to_plain_rounding() {
        for len in [32, 64, 100, 128] {
            let row = row(len);
            let weights: Vec<f32> = (0..len).map(|i| if i % 5 == 0 { 9.0 } else { 0.3 }).collect();
            let plain = error(Code::Int4, 32, &row, None, &weights);
            let searched = error(Code::Int4, 32, &row, Some(&weights), &weights);
            let affine = error(Code::Uint4, 32, &row, Some(&weights), &weights);
            assert!(searched <= plain, "{len}: {searched} > {plain}");
            assert!(affine <= plain, "{len}: {affine} > {plain}");
        }
    }

    #[test]
    fn a_block_without_weight_or_numbers_is_still_sane() {
        assert_eq!(error(Code::Int4, 32, &[0.0; 32], Some(&[0.0; 32]), &[1.0; 32]), 0.0);
        assert_eq!(error(Code::Uint4, 32, &[0.0; 32], Some(&[0.0; 32]), &[1.0; 32]), 0.0);
        let row = row(32);
        let unseen = error(Code::Int4, 32, &row, Some(&[0.0; 32]), &[1.0; 32]);
        assert_eq!(unseen, error(Code::Int4, 32, &row, None, &[1.0; 32]));
    }
}
