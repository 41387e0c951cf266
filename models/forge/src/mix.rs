//! Which matrices of a mixed package get 8 bits.
//!
//! Tables always do: 4 bits there cost a small model dearly, 8 cost nothing. Of the layers'
//! weights at most a third (`EIGHT_BIT_SHARE`) does, chosen by measurement: the matrices are
//! grouped by kind and by depth; each group in turn is put to 4 bits while all others keep
//! 8, and its harm is how far that moves the predicted distributions (Kullback-Leibler, in
//! nats) at some positions of the sample. The groups with the most harm per weight keep
//! their 8 bits.
//!
//! Two simpler measures were tried on SmolLM2 and tell little: the weighted error of a
//! matrix is between 0.6 % and 0.9 % of its output nearly everywhere; and the sample's
//! perplexity changes by one group as often to the better as to the worse. The divergence
//! ranks the groups alike whether the others have 8 bits or 4.

use std::{collections::BTreeMap, path::Path};

use crate::{
    Result,
    arch::{Decoder, Site},
    graph::{Importance, Store},
    probe::{self, Probe},
    progress::Progress,
    quant::Code,
    recipe::Recipe,
    source::Tensors,
};

/// Part of the layers' weights that may have 8 bits. More is slower to decode: every step
/// reads them all.
const EIGHT_BIT_SHARE: f64 = 1.0 / 3.0;
/// Parts into which the depth of the model is cut.
const DEPTHS: usize = 3;
/// Matrices that are decided together: kind and depth.
type Group = (&'static str, usize);

/// Chooses between `code` (of 4 bits) and 8 bits for every matrix by running `tokens`; `store` lies in `dir`.
pub fn choose(
    tensors: &dyn Tensors,
    decoder: &Decoder,
    (code, block): (Code, usize),
    importance: &Importance,
    (store, dir): (&mut Store, &Path),
    tokens: &[u32],
    progress: &dyn Progress,
) -> Result<Recipe> {
    let groups = groups(decoder);
    let mut probe = Probe::new((tensors, decoder, importance), borders(decoder), (store, dir), tokens)?;
    progress.begin("sensitivity", groups.len() as u64 + 1);
    let base = probe.base()?;
    progress.advance(1);
    let mut measured = Vec::new();
    for (n, (group, sites)) in groups.iter().enumerate() {
        let layers: Vec<usize> = sites.iter().filter_map(|site| site.layer()).collect();
        let mut four = probe::recipe(decoder);
        let matrices = decoder.matrices().filter(|(site, _)| sites.contains(site));
        matrices.for_each(|(site, matrix)| four.set(site, code, block, matrix.columns));
        let changed = probe.changed(&four, &layers, &format!("group{n}"))?;
        let harm = divergence(&base, &changed, decoder.vocabulary);
        let weights =
            decoder.matrices().filter(|(s, _)| sites.contains(s)).map(|(_, m)| m.rows * m.columns).sum();
        measured.push(Measured { group: *group, harm, weights });
        progress.advance(1);
    }
    let eight = pick(measured);
    let mut recipe = Recipe::uniform(decoder, code, block);
    recipe.set_table(Code::Int8, block, decoder.width);
    for (site, matrix) in decoder.matrices() {
        if eight.iter().any(|group| groups[group].contains(&site)) {
            recipe.set(site, Code::Int8, block, matrix.columns);
        }
    }
    Ok(recipe)
}

/// Sensitivity of one group.
#[derive(Clone, Copy, Debug)]
struct Measured {
    group: Group,
    /// Divergence that 4 bits cause, nats.
    harm: f64,
    weights: usize,
}

/// The most harmful groups per weight, as long as they fit into the share.
fn pick(mut measured: Vec<Measured>) -> Vec<Group> {
    let all: usize = measured.iter().map(|m| m.weights).sum();
    let mut left = all as f64 * EIGHT_BIT_SHARE;
    measured.sort_by(|a, b| (b.harm / b.weights as f64).total_cmp(&(a.harm / a.weights as f64)));
    let mut eight = Vec::new();
    for m in measured {
        if m.harm > 0.0 && m.weights as f64 <= left {
            left -= m.weights as f64;
            eight.push(m.group);
        }
    }
    eight
}

/// Mean Kullback-Leibler divergence of the distributions behind `changed` from those behind
/// `base`, nats; both are rows of `vocabulary` logits.
fn divergence(base: &[f32], changed: &[f32], vocabulary: usize) -> f64 {
    let normaliser = |row: &[f32]| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        f64::from(largest) + row.iter().map(|x| f64::from(x - largest).exp()).sum::<f64>().ln()
    };
    let rows = base.chunks(vocabulary).zip(changed.chunks(vocabulary));
    let count = rows.len().max(1) as f64;
    let one = |(p, q): (&[f32], &[f32])| {
        let (all_p, all_q) = (normaliser(p), normaliser(q));
        let log = |x: f32, all: f64| f64::from(x) - all;
        p.iter().zip(q).map(|(p, q)| log(*p, all_p).exp() * (log(*p, all_p) - log(*q, all_q))).sum::<f64>()
    };
    rows.map(one).sum::<f64>() / count
}

fn groups(decoder: &Decoder) -> BTreeMap<Group, Vec<Site>> {
    let layers = decoder.layers.len();
    let mut groups: BTreeMap<Group, Vec<Site>> = BTreeMap::new();
    for (site, _) in decoder.matrices() {
        let (kind, layer) = match site {
            Site::Qkv(layer) => ("qkv", layer),
            Site::AttentionOutput(layer) => ("attention_output", layer),
            Site::GateUp(layer) => ("gate_up", layer),
            Site::Down(layer) => ("down", layer),
            Site::Output => continue,
        };
        groups.entry((kind, layer * DEPTHS / layers)).or_default().push(site);
    }
    groups
}

/// First layers of the depths but the first.
fn borders(decoder: &Decoder) -> Vec<usize> {
    let depth = |layer: usize| layer * DEPTHS / decoder.layers.len();
    (1..decoder.layers.len()).filter(|layer| depth(*layer) != depth(layer - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_zero_for_equal_distributions_and_grows() {
        let base = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0];
        let shifted: Vec<f32> = base.iter().map(|x| x + 5.0).collect();
        assert!(divergence(&base, &shifted, 3).abs() < 1e-12, "a constant changes no distribution");
        let near = divergence(&base, &[1.1, 2.0, 3.0, 0.0, 0.0, 0.0], 3);
        let far = divergence(&base, &[3.0, 2.0, 1.0, 0.0, 0.0, 0.0], 3);
        assert!(0.0 < near && near < far);
    }

    #[test]
    fn the_most_harmful_per_weight_get_eight_bits_until_the_share_is_used() {
        let group = |depth, harm, weights| Measured { group: ("down", depth), harm, weights };
        let measured = vec![
            group(0, 0.04, 400), // as harmful as 1, four times the weights, too large for what is left
            group(1, 0.04, 100),
            group(2, 0.02, 100),
            group(3, -0.01, 100), // noise
            group(4, 0.001, 100),
            group(5, 0.0, 100),
        ];
        assert_eq!(pick(measured), [("down", 1), ("down", 2), ("down", 4)]);
    }
}
