//! Random numbers by place: `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014) of a counter. Four
//! numbers are cut from each word; integers and one multiplication, so that every machine
//! makes the same.

/// Where a tensor's numbers begin.
pub(super) fn key(seed: u64, tensor: &str) -> u64 {
    // FNV-1a.
    tensor.bytes().fold(0xcbf2_9ce4_8422_2325 ^ mix(seed), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Appends a row of `columns` float32 numbers, uniform, with a root mean square of `size`.
pub(super) fn row(key: u64, row: usize, columns: usize, size: f32, out: &mut Vec<u8>) {
    let start = mix(key ^ mix(row as u64));
    let step = size * 3f32.sqrt() / f32::from(i16::MAX);
    for word in 0..columns.div_ceil(4) {
        let bits = mix(start.wrapping_add(word as u64));
        let count = (columns - word * 4).min(4);
        for part in 0..count {
            let number = (bits >> (part * 16)) as u16 as i16;
            out.extend((f32::from(number) * step).to_le_bytes());
        }
    }
}

const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(key: u64, at: usize, columns: usize) -> Vec<f32> {
        let mut bytes = Vec::new();
        row(key, at, columns, 0.5, &mut bytes);
        bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn numbers_are_even_and_of_the_wanted_size() {
        let all = numbers(key(1, "a"), 0, 100_000);
        let mean = all.iter().sum::<f32>() / 1e5;
        let size = (all.iter().map(|x| x * x).sum::<f32>() / 1e5).sqrt();
        assert!(mean.abs() < 0.01 && (size - 0.5).abs() < 0.01, "{mean} {size}");
        assert!(all.iter().all(|x| x.abs() <= 0.8661));
    }

    #[test]
    fn each_place_has_its_own_always() {
        let one = numbers(key(1, "a"), 0, 6);
        assert_eq!(one, numbers(key(1, "a"), 0, 6));
        assert_eq!(one[..5], numbers(key(1, "a"), 0, 5));
        for other in [numbers(key(2, "a"), 0, 6), numbers(key(1, "b"), 0, 6), numbers(key(1, "a"), 1, 6)] {
            assert!(one.iter().zip(&other).all(|(a, b)| a != b));
        }
    }
}
