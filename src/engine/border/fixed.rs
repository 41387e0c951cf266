//! The border of a graph whose sizes are fixed when it is loaded.
//!
//! As the forge draws it: `input_ids` and `position_ids` int64 `[1, tokens]`; `attention_bias`
//! float `[1, 1, tokens, past + tokens]`, added to the scores, so that padding and what is not
//! yet written count for nothing; `logits_row` int64 `[1]`; the whole cache of one sequence
//! comes in as `past.{i}.key` and `.value` `[1, heads, past, head_width]`, and `new.{i}.key`
//! and `.value` `[1, heads, tokens, head_width]` come out beside `logits` `[1, vocabulary]`.

use super::{CacheNames, CacheShape, Element, KvType, Port, caches, find, match_caches};

pub(in crate::engine) const TOKENS: &str = "tokens";
pub(in crate::engine) const PAST: &str = "past";
pub(in crate::engine) const TOTAL: &str = "total";

/// What a graph of fixed sizes takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct FixedBorder {
    /// Tokens of one run.
    pub(in crate::engine) tokens: usize,
    /// Tokens of the cache.
    pub(in crate::engine) past: usize,
    pub(in crate::engine) vocabulary: usize,
    pub(in crate::engine) shape: CacheShape,
    /// By layer, key before value: the whole cache as it goes in, new rows as they come out.
    pub(in crate::engine) caches: Vec<CacheNames>,
}

impl FixedBorder {
    /// Reads the border of a graph that was opened for runs of `tokens` tokens behind a cache of `past`.
    pub(in crate::engine) fn read(
        (inputs, outputs): (&[Port], &[Port]),
        (tokens, past): (usize, usize),
        shape: CacheShape,
        vocabulary: usize,
    ) -> Result<Self, String> {
        let numbers = |element, dims: &[usize]| (element, dims.to_vec());
        let small = [
            ("input_ids", numbers(Element::Int64, &[1, tokens])),
            ("position_ids", numbers(Element::Int64, &[1, tokens])),
            ("attention_bias", numbers(Element::Float32, &[1, 1, tokens, past + tokens])),
            ("logits_row", numbers(Element::Int64, &[1])),
        ];
        for (name, (element, dims)) in &small {
            expect(inputs, name, *element, dims)?;
        }
        expect(outputs, "logits", Element::Float32, &[1, vocabulary])?;
        let is_small = |port: &&Port| small.iter().any(|(name, _)| *name == port.name);
        let rest: Vec<Port> = inputs.iter().filter(|port| !is_small(port)).cloned().collect();
        if let Some(port) = rest.iter().find(|port| port.shape.len() != 4) {
            return Err(format!("it wants {port}, which Outpost does not know how to give"));
        }
        let (whole, new) = (caches(&rest)?, caches(outputs)?);
        let (kv, names) = match_caches(&whole, &new, shape)?;
        if kv != KvType::F32 {
            return Err(format!("its cache is {}; of fixed shapes only f32 is possible", kv.name()));
        }
        for (ports, rows) in [(&whole, past), (&new, tokens)] {
            if let Some(port) = ports.values().find(|port| !port.holds(2, rows)) {
                return Err(format!("{port} does not hold {rows} tokens"));
            }
        }
        Ok(Self { tokens, past, vocabulary, shape, caches: names })
    }
}

fn expect(ports: &[Port], name: &str, element: Element, dims: &[usize]) -> Result<(), String> {
    let port = find(ports, name).ok_or_else(|| format!("it has no `{name}`"))?;
    let fits = port.is(element, dims.len()) && dims.iter().enumerate().all(|(at, n)| port.holds(at, *n));
    if fits { Ok(()) } else { Err(format!("{port} is not {element} {dims:?}")) }
}

impl Port {
    /// Whether its dimension `at` is `size`, or anything.
    fn holds(&self, at: usize, size: usize) -> bool {
        self.shape.get(at).is_some_and(|found| *found == -1 || *found == size as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape { layers: 2, heads: 2, head_width: 16 };

    fn port(name: &str, element: Element, shape: &[i64]) -> Port {
        Port { name: name.into(), element: Some(element), shape: shape.into() }
    }

    fn rows(name: &str, tokens: i64) -> Vec<Port> {
        let one = |layer: usize, kind: &str| {
            port(&format!("{name}.{layer}.{kind}"), Element::Float32, &[1, 2, tokens, 16])
        };
        (0..2).flat_map(|layer| [one(layer, "key"), one(layer, "value")]).collect()
    }

    fn graph() -> (Vec<Port>, Vec<Port>) {
        let mut inputs = vec![
            port("input_ids", Element::Int64, &[1, 8]),
            port("position_ids", Element::Int64, &[1, 8]),
            port("attention_bias", Element::Float32, &[1, 1, 8, 72]),
            port("logits_row", Element::Int64, &[1]),
        ];
        inputs.extend(rows("past", 64));
        let mut outputs = vec![port("logits", Element::Float32, &[1, 320])];
        outputs.extend(rows("new", 8));
        (inputs, outputs)
    }

    fn refused(change: impl Fn(&mut Vec<Port>, &mut Vec<Port>)) -> String {
        let (mut inputs, mut outputs) = graph();
        change(&mut inputs, &mut outputs);
        FixedBorder::read((&inputs, &outputs), (8, 64), SHAPE, 320).unwrap_err()
    }

    #[test]
    fn a_graph_of_the_forge_is_read() {
        let (inputs, outputs) = graph();
        let border = FixedBorder::read((&inputs, &outputs), (8, 64), SHAPE, 320).unwrap();
        assert_eq!((border.tokens, border.past, border.caches.len()), (8, 64, 4));
        assert_eq!(border.caches[3].past.to_str().unwrap(), "past.1.value");
        assert_eq!(border.caches[3].present.to_str().unwrap(), "new.1.value");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (said, word) in [
            (refused(|i, _| i[0].shape[1] = 4), "input_ids"),
            (refused(|i, _| i.retain(|p| p.name != "attention_bias")), "attention_bias"),
            (refused(|i, _| i[4].shape[2] = 32), "past.0.key"),
            (refused(|_, o| o[2].shape[2] = 1), "new.0.value"),
            (refused(|_, o| o[0].shape[1] = 8), "logits"),
            (refused(|i, _| i.push(port("seqlens_k", Element::Int32, &[1]))), "seqlens_k"),
            (refused(|_, o| o.truncate(4)), "layer 1's value"),
        ] {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
    }
}
