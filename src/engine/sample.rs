//! Chooses the next token from logits. Pure: same logits, options and seed, same token.
//!
//! Order: logit bias, penalties, temperature, top-k, top-p, min-p, then one draw. The
//! truncations follow Holtzman et al. 2020 (top-p, §3.1) and Nguyen et al. 2024 (min-p,
//! §3); the repetition penalty is Keskar et al. 2019 (§4.1).

use std::collections::HashMap;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::domain::Sampling;

/// Sampler of one sequence: its options, what it has seen, its random stream.
pub(super) struct Sampler {
    options: Sampling,
    /// Occurrences in the answer; 0 for tokens of the prompt only.
    seen: HashMap<u32, u32>,
    random: ChaCha8Rng,
    adjusted: Vec<f32>,
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// `entropy` seeds the random stream when the caller named no seed.
    pub(super) fn new(options: Sampling, prompt: &[u32], entropy: u64) -> Self {
        let seen = if options.repetition_penalty == 1.0 {
            HashMap::new()
        } else {
            prompt.iter().map(|t| (*t, 0)).collect()
        };
        let random = ChaCha8Rng::seed_from_u64(options.seed.unwrap_or(entropy));
        Self { options, seen, random, adjusted: Vec::new(), candidates: Vec::new() }
    }

    /// The next token. `logits` has one entry per token of the vocabulary.
    pub(super) fn sample(&mut self, logits: &[f32]) -> u32 {
        let token = if self.shapes_logits() {
            let mut adjusted = std::mem::take(&mut self.adjusted);
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            self.adjust(&mut adjusted);
            let token = self.choose(&adjusted);
            self.adjusted = adjusted;
            token
        } else {
            self.choose(logits)
        };
        if self.remembers() {
            *self.seen.entry(token).or_default() += 1;
        }
        token
    }

    fn remembers(&self) -> bool {
        let o = &self.options;
        o.repetition_penalty != 1.0 || o.presence_penalty != 0.0 || o.frequency_penalty != 0.0
    }

    fn shapes_logits(&self) -> bool {
        !self.options.logit_bias.is_empty() || !self.seen.is_empty()
    }

    fn adjust(&self, logits: &mut [f32]) {
        for (id, bias) in &self.options.logit_bias {
            logits[*id as usize] += bias;
        }
        for (id, count) in &self.seen {
            let logit = &mut logits[*id as usize];
            let penalty = self.options.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            if *count > 0 {
                *logit -= self.options.presence_penalty + self.options.frequency_penalty * *count as f32;
            }
        }
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        if self.options.temperature == 0.0 || self.options.top_k == Some(1) {
            return argmax(logits);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        self.truncate(logits, &mut candidates);
        let token = self.draw(&candidates);
        self.candidates = candidates;
        token
    }

    /// Leaves in `kept` the tokens that may be drawn, with weights relative to the likeliest.
    fn truncate(&self, logits: &[f32], kept: &mut Vec<(u32, f32)>) {
        let o = &self.options;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| ((logit - max) / o.temperature).exp();
        let all = || logits.iter().enumerate().map(|(id, logit)| (id as u32, weight(*logit)));
        // A weight that vanishes in f32 cannot be drawn, and NaN compares as not above 0.
        kept.clear();
        kept.extend(all().filter(|(_, w)| *w > 0.0 && *w >= o.min_p));
        if let Some(k) = o.top_k.map(|k| k as usize).filter(|k| *k < kept.len() && *k > 0) {
            kept.select_nth_unstable_by(k - 1, by_weight);
            kept.truncate(k);
        }
        if o.top_p < 1.0 {
            keep_nucleus(kept, o.top_p);
        }
        kept.sort_unstable_by_key(|(id, _)| *id);
    }

    fn draw(&mut self, candidates: &[(u32, f32)]) -> u32 {
        let total: f64 = candidates.iter().map(|(_, w)| f64::from(*w)).sum();
        // 53 random bits, as many as a double holds.
        let unit = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = unit * total;
        for (id, w) in candidates {
            left -= f64::from(*w);
            if left < 0.0 {
                return *id;
            }
        }
        candidates.last().map_or(0, |(id, _)| *id)
    }
}

/// Likeliest first, ties to the lower id.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that sort_by wants")]
fn by_weight(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The fewest of the likeliest candidates whose share of the whole reaches `p`. Sorts only
/// as many as it takes: a nucleus is nearly always a few tokens out of tens of thousands.
fn keep_nucleus(kept: &mut Vec<(u32, f32)>, p: f32) {
    let total: f64 = kept.iter().map(|(_, w)| f64::from(*w)).sum();
    let wanted = f64::from(p) * total;
    let mut sorted = 64;
    loop {
        let n = sorted.min(kept.len());
        if n < kept.len() {
            kept.select_nth_unstable_by(n, by_weight);
        }
        kept[..n].sort_unstable_by(by_weight);
        let mut sum = 0.0;
        let end = kept[..n].iter().position(|(_, w)| {
            sum += f64::from(*w);
            sum >= wanted
        });
        match end {
            Some(last) => return kept.truncate(last + 1),
            None if n == kept.len() => return,
            None => sorted *= 16,
        }
    }
}

/// The likeliest token, ties to the lowest id; NaN never wins.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (id, *logit);
        }
    }
    best.0 as u32
}

/// Natural log-probabilities before any shaping: of `token`, and of the `top` likeliest.
pub(super) fn log_probabilities(logits: &[f32], token: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    let norm = f64::from(max) + sum.ln();
    let log_p = |logit: f32| (f64::from(logit) - norm) as f32;

    let mut best: Vec<(u32, f32)> = Vec::with_capacity(top + 1);
    for (id, logit) in logits.iter().enumerate() {
        if top > 0 && (best.len() < top || *logit > best[best.len() - 1].1) {
            let at = best.partition_point(|(_, l)| l >= logit);
            best.insert(at, (id as u32, *logit));
            best.truncate(top);
        }
    }
    for (_, logit) in &mut best {
        *logit = log_p(*logit);
    }
    (log_p(logits[token as usize]), best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draws(options: &Sampling, logits: &[f32], n: u64) -> Vec<u32> {
        (0..n)
            .map(|seed| Sampler::new(Sampling { seed: Some(seed), ..options.clone() }, &[], 0).sample(logits))
            .collect()
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_a_tie_and_never_a_nan() {
        assert_eq!(argmax(&[f32::NAN, 1.0, 3.0, 3.0]), 2);
    }

    #[test]
    fn frequencies_follow_the_softmax_at_the_temperature() {
        let (n, logits) = (20_000, [1.0f32, 0.0, -1.0]);
        let options = Sampling { temperature: 0.5, ..Sampling::default() };
        let drawn = draws(&options, &logits, n);
        let weights = logits.map(|l| f64::from(l / 0.5).exp());
        for (id, w) in weights.iter().enumerate() {
            let wanted = w / weights.iter().sum::<f64>();
            let got = drawn.iter().filter(|d| **d == id as u32).count() as f64 / n as f64;
            // Four standard deviations of a binomial share.
            assert!(
                (got - wanted).abs() < 4.0 * (wanted * (1.0 - wanted) / n as f64).sqrt(),
                "{id}: {got} {wanted}"
            );
        }
    }

    #[test]
    fn truncations_keep_exactly_what_they_say() {
        // Probabilities 0.5, 0.3, 0.15, 0.05.
        let logits = [0.5f32, 0.3, 0.15, 0.05].map(f32::ln);
        let kept = |o: Sampling| {
            let mut ids = draws(&o, &logits, 2_000);
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let base = Sampling::default();
        assert_eq!(kept(base.clone()), [0, 1, 2, 3]);
        assert_eq!(kept(Sampling { top_k: Some(2), ..base.clone() }), [0, 1]);
        assert_eq!(kept(Sampling { top_p: 0.75, ..base.clone() }), [0, 1]);
        assert_eq!(kept(Sampling { top_p: 0.85, ..base.clone() }), [0, 1, 2]);
        assert_eq!(kept(Sampling { min_p: 0.25, ..base.clone() }), [0, 1, 2]);
        assert_eq!(kept(Sampling { logit_bias: vec![(3, -100.0)], ..base }), [0, 1, 2]);
    }

    #[test]
    fn penalties_push_repeated_tokens_back() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let logits = [2.0, 1.5, -1.0];
        let answer = |options: Sampling, prompt: &[u32]| {
            let mut s = Sampler::new(options, prompt, 0);
            [s.sample(&logits), s.sample(&logits), s.sample(&logits)]
        };
        assert_eq!(answer(greedy.clone(), &[0]), [0, 0, 0]);
        assert_eq!(answer(Sampling { presence_penalty: 1.0, ..greedy.clone() }, &[0]), [0, 1, 0]);
        assert_eq!(answer(Sampling { frequency_penalty: 0.4, ..greedy.clone() }, &[]), [0, 0, 1]);
        assert_eq!(answer(Sampling { repetition_penalty: 2.0, ..greedy }, &[0]), [1, 0, 0]);
    }

    proptest! {
        #[test]
        fn the_nucleus_is_the_shortest_prefix_of_the_sorted_weights(
            weights in prop::collection::vec(0.001f32..1.0, 1..300), p in 0.05f32..0.999,
        ) {
            let mut kept: Vec<_> = weights.iter().enumerate().map(|(i, w)| (i as u32, *w)).collect();
            let mut sorted = kept.clone();
            sorted.sort_unstable_by(by_weight);
            keep_nucleus(&mut kept, p);
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            let mass = |n: usize| sorted[..n].iter().map(|(_, w)| f64::from(*w)).sum::<f64>();
            prop_assert!(mass(kept.len()) >= f64::from(p) * total * 0.999_999);
            prop_assert!(kept.len() == 1 || mass(kept.len() - 1) < f64::from(p) * total);
        }

        #[test]
        fn any_logits_and_options_give_a_token_of_the_vocabulary(
            logits in prop::collection::vec(prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), -1e30f32..1e30], 1..50),
            temperature in 0.0f32..2.0, top_p in 0.01f32..1.0, min_p in 0.0f32..1.0, top_k in 1u32..60,
        ) {
            let options = Sampling { temperature, top_p, min_p, top_k: Some(top_k), ..Sampling::default() };
            prop_assert!((Sampler::new(options, &[], 7).sample(&logits) as usize) < logits.len());
        }

        #[test]
        fn log_probabilities_sum_to_one_and_are_sorted(logits in prop::collection::vec(-20f32..20.0, 2..40)) {
            let (own, top) = log_probabilities(&logits, 1, logits.len());
            let sum: f64 = top.iter().map(|(_, l)| f64::from(*l).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-4);
            prop_assert!(top.windows(2).all(|w| w[0].1 >= w[1].1));
            prop_assert_eq!(top.iter().find(|(id, _)| *id == 1).map(|(_, l)| *l), Some(own));
        }
    }
}
