//! Frequencies of rotary position embedding: plain, divided, and `YaRN`.

use std::f64::consts::TAU;

/// Rotary position embedding: angle = position * frequency, first half of a head against
/// the second half.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians per position, one for each pair.
    pub frequencies: Vec<f64>,
    /// Factor on sine and cosine (`YaRN`'s attention factor).
    pub magnitude: f32,
}

/// Queries grow with their position (Llama 4's attention temperature): at `position` they are
/// multiplied by `1 + beta * ln(1 + floor(position / original))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryScale {
    /// Strength.
    pub beta: f64,
    /// Positions without growth.
    pub original: usize,
}

impl QueryScale {
    /// The factor at `position`.
    pub fn at(self, position: usize) -> f32 {
        (1.0 + self.beta * ((position / self.original) as f64).ln_1p()) as f32
    }
}

/// `YaRN` (Peng et al., arXiv:2309.00071, sections 3.2 and 3.4): fast pairs keep their
/// frequency, slow ones are divided by `factor`, and a ramp lies between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// How many times longer the context became.
    pub factor: f64,
    /// Positions before that.
    pub original: usize,
    /// Turns within `original` positions above which a pair keeps its frequency.
    pub beta_fast: f64,
    /// Turns below which a pair is divided by `factor`.
    pub beta_slow: f64,
    /// Whether the ramp's ends are whole pairs.
    pub truncate: bool,
    /// Factor on sine and cosine; `None`: the paper's.
    pub magnitude: Option<f64>,
}

impl Yarn {
    /// transformers' `mscale` rule: the paper's growth with weight `mscale`, against that of `mscale_all_dim`.
    pub fn magnitude_of(factor: f64, mscale: f64, mscale_all_dim: f64) -> f64 {
        growth(factor, mscale) / growth(factor, mscale_all_dim)
    }

    /// The embedding for heads of `head_width` with the base `theta`.
    pub fn rope(&self, theta: f64, head_width: usize) -> Rope {
        let pairs = head_width / 2;
        // The pair that makes `turns` turns within the original context.
        let pair =
            |turns: f64| head_width as f64 * (self.original as f64 / (turns * TAU)).ln() / (2.0 * theta.ln());
        let (mut low, mut high) = (pair(self.beta_fast), pair(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(head_width as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        let frequencies = plain(theta, head_width).enumerate().map(|(i, own)| {
            let slow = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            own / self.factor * slow + own * (1.0 - slow)
        });
        let magnitude = self.magnitude.unwrap_or_else(|| growth(self.factor, 1.0)) as f32;
        Rope { frequencies: frequencies.take(pairs).collect(), magnitude }
    }
}

fn growth(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
}

impl Rope {
    /// Frequencies `theta^(-2i/head_width)`, each divided by `divisor` and by its own of `own`, where there is one.
    pub fn plain(theta: f64, head_width: usize, divisor: f64, own: Option<&[f32]>) -> Self {
        let own = |i: usize| own.map_or(1.0, |own| f64::from(own[i]));
        let frequencies = plain(theta, head_width).enumerate().map(|(i, f)| f / (own(i) * divisor));
        Self { frequencies: frequencies.collect(), magnitude: 1.0 }
    }
}

fn plain(theta: f64, head_width: usize) -> impl Iterator<Item = f64> {
    (0..head_width / 2).map(move |i| theta.powf(-2.0 * i as f64 / head_width as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINISTRAL: Yarn = Yarn {
        factor: 16.0,
        original: 16_384,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        magnitude: None,
    };

    #[test]
    fn fast_pairs_keep_their_frequency_and_slow_ones_are_divided() {
        let rope = MINISTRAL.rope(1e6, 128);
        let plain = Rope::plain(1e6, 128, 1.0, None);
        assert_eq!(rope.frequencies.len(), 64);
        // 16,384 positions: pair 20 makes more than 32 turns there, pair 37 less than one.
        assert_eq!(rope.frequencies[..=20], plain.frequencies[..=20]);
        for i in 37..64 {
            assert!((rope.frequencies[i] * 16.0 / plain.frequencies[i] - 1.0).abs() < 1e-12, "{i}");
        }
        assert!(rope.frequencies.windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rope.magnitude - 1.277_258_9).abs() < 1e-6, "the paper's 0.1 ln(16) + 1");
    }

    #[test]
    fn equal_mscales_cancel() {
        assert_eq!(Yarn::magnitude_of(16.0, 1.0, 1.0), 1.0);
        assert!((Yarn::magnitude_of(16.0, 1.0, 0.0) - 1.277_258_872).abs() < 1e-9);
        assert_eq!(Yarn::magnitude_of(1.0, 1.0, 0.0), 1.0);
    }

    #[test]
    fn queries_grow_in_steps_beyond_the_original_context() {
        let scale = QueryScale { beta: 0.1, original: 16_384 };
        assert_eq!((scale.at(0), scale.at(16_383)), (1.0, 1.0));
        assert_eq!(scale.at(16_384), scale.at(32_767));
        assert!((scale.at(16_384) - 1.069_314_7).abs() < 1e-6);
        assert!(scale.at(32_768) > scale.at(32_767));
    }
}
