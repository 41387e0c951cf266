//! Stored numbers to float32, as `ggml-quants.c` does it.

use half::{bf16, f16};

use super::Format;

/// Dequantises whole blocks of `format`; `bytes` and `out` are of matching lengths.
///
/// # Panics
/// When they are not, or when the format [is not read](Format::is_read): both were checked
/// when the file was accepted.
pub fn dequantise(format: Format, bytes: &[u8], out: &mut [f32]) {
    let (numbers, size) = format.block();
    assert_eq!(bytes.len() / size * numbers, out.len(), "whole blocks and their numbers");
    let block = match format {
        Format::F32 => |b: &[u8], o: &mut [f32]| o[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        Format::F16 => |b: &[u8], o: &mut [f32]| o[0] = half(b),
        Format::BF16 => |b: &[u8], o: &mut [f32]| o[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        Format::Q4_0 => q4_0,
        Format::Q4_1 => q4_1,
        Format::Q5_0 => q5_0,
        Format::Q5_1 => q5_1,
        Format::Q8_0 => q8_0,
        Format::Q4_K => q4_k,
        Format::Q5_K => q5_k,
        Format::Q6_K => q6_k,
        Format::Q2_K | Format::Q3_K => unreachable!("formats that are not read are refused before"),
    };
    for (bytes, out) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(numbers)) {
        block(bytes, out);
    }
}

/// The IEEE 754 half at the start of `bytes`.
pub(crate) fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// The 4-bit codes of a block of 32: byte `i` holds number `i` (low) and number `i + 16` (high).
pub(crate) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// The 5-bit codes: nibbles with the fifth bits in a 32-bit word.
pub(crate) fn fives(high: &[u8], low: &[u8]) -> [u8; 32] {
    let word = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let low = nibbles(low);
    std::array::from_fn(|i| low[i] | (((word >> i) & 1) as u8) << 4)
}

fn q4_0(b: &[u8], out: &mut [f32]) {
    let scale = half(b);
    for (o, q) in out.iter_mut().zip(nibbles(&b[2..])) {
        *o = scale * (f32::from(q) - 8.0);
    }
}

fn q4_1(b: &[u8], out: &mut [f32]) {
    let (scale, min) = (half(b), half(&b[2..]));
    for (o, q) in out.iter_mut().zip(nibbles(&b[4..])) {
        *o = scale * f32::from(q) + min;
    }
}

fn q5_0(b: &[u8], out: &mut [f32]) {
    let scale = half(b);
    for (o, q) in out.iter_mut().zip(fives(&b[2..6], &b[6..])) {
        *o = scale * (f32::from(q) - 16.0);
    }
}

fn q5_1(b: &[u8], out: &mut [f32]) {
    let (scale, min) = (half(b), half(&b[2..]));
    for (o, q) in out.iter_mut().zip(fives(&b[4..8], &b[8..])) {
        *o = scale * f32::from(q) + min;
    }
}

fn q8_0(b: &[u8], out: &mut [f32]) {
    let scale = half(b);
    for (o, q) in out.iter_mut().zip(&b[2..]) {
        *o = scale * f32::from(q.cast_signed());
    }
}

/// Six-bit scale and minimum of sub-block `j` of a K-quant (`get_scale_min_k4`).
fn scale_min(j: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4), (packed[j + 4] >> 4) | (packed[j] >> 6 << 4))
    };
    (f32::from(scale), f32::from(min))
}

fn q4_k(b: &[u8], out: &mut [f32]) {
    let (scale, min) = (half(b), half(&b[2..]));
    let (scales, codes) = (&b[4..16], &b[16..]);
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = scale_min(j, scales);
        let (s, m) = (scale * s, min * m);
        for (o, byte) in out.iter_mut().zip(&codes[j / 2 * 32..]) {
            let code = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
            *o = s * f32::from(code) - m;
        }
    }
}

fn q5_k(b: &[u8], out: &mut [f32]) {
    let (scale, min) = (half(b), half(&b[2..]));
    let (scales, high, codes) = (&b[4..16], &b[16..48], &b[48..]);
    for (j, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = scale_min(j, scales);
        let (s, m) = (scale * s, min * m);
        for ((o, byte), fifth) in out.iter_mut().zip(&codes[j / 2 * 32..]).zip(high) {
            let low = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
            *o = s * f32::from(low | (fifth >> j & 1) << 4) - m;
        }
    }
}

fn q6_k(b: &[u8], out: &mut [f32]) {
    let (low, high, scales, scale) = (&b[..128], &b[128..192], &b[192..208], half(&b[208..]));
    for (i, o) in out.iter_mut().enumerate() {
        // Two halves of 128 numbers; in each, four runs of 32 share bytes of `low` and `high`.
        let (part, run, at) = (i / 128, i % 128 / 32, i % 32);
        let nibble = low[part * 64 + (run % 2) * 32 + at] >> (run / 2 * 4) & 15;
        let pair = high[part * 32 + at] >> (run * 2) & 3;
        let code = f32::from(nibble | pair << 4) - 32.0;
        *o = scale * f32::from(scales[i / 16].cast_signed()) * code;
    }
}
