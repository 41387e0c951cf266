//! What a graph takes and gives: names, types and shapes, read from the session and never assumed.
//!
//! Graphs of language models differ at their border more than within. Ours are told lengths
//! and wanted rows in small tensors of their own; those of onnxruntime-genai, transformers.js
//! and Optimum take an `attention_mask`, some of them `position_ids`, some the embeddings of
//! tokens instead of their ids. Cache tensors are known by their four dimensions, a layer's
//! number and the word `key` or `value` in their names.

mod fixed;

use std::{collections::BTreeMap, ffi::CString};

use ort::value::{Outlet, TensorElementType as Element};

pub(super) use fixed::{FixedBorder, PAST, TOKENS, TOTAL};

use crate::model::{CacheShape, KvType};

/// One input or output. A dimension of -1 may have any size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    name: String,
    element: Option<Element>,
    shape: Vec<i64>,
}

impl Port {
    pub(super) fn all(outlets: &[Outlet]) -> Vec<Self> {
        let one = |outlet: &Outlet| Self {
            name: outlet.name().to_owned(),
            element: outlet.dtype().tensor_type(),
            shape: outlet.dtype().tensor_shape().map_or_else(Vec::new, |s| s.to_vec()),
        };
        outlets.iter().map(one).collect()
    }

    fn is(&self, element: Element, rank: usize) -> bool {
        self.element == Some(element) && self.shape.len() == rank
    }

    fn last(&self) -> Option<usize> {
        self.shape.last().and_then(|n| usize::try_from(*n).ok())
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let element = self.element.map_or_else(|| "not a tensor".to_owned(), |e| e.to_string());
        write!(f, "`{}` ({element} {:?})", self.name, self.shape)
    }
}

/// A number format that the engine reads and writes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F32,
    F16,
}

impl Float {
    fn of(port: &Port) -> Option<Self> {
        match port.element? {
            Element::Float32 => Some(Self::F32),
            Element::Float16 => Some(Self::F16),
            _ => None,
        }
    }

    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// How tokens go in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tokens {
    /// Ids, `[sequences, tokens]`.
    Ids(CString),
    /// Rows of a table that another graph holds, `[sequences, tokens, width]`.
    Embeddings { name: CString, number: Float, width: usize },
}

/// How the graph learns what the cache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lengths {
    /// `seqlens_k`, the last position of each sequence, and `total_len`, the longest: as
    /// `GroupQueryAttention` of com.microsoft takes them.
    Numbers,
    /// `attention_mask` `[sequences, longest]`, 1 where there is a token.
    Mask(CString),
}

/// Which positions get logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// Those whose indices are in this tensor: `[rows, vocabulary]`.
    Selected(CString),
    /// The last so many of each sequence, all for 0: `[sequences, rows, vocabulary]`.
    Kept { name: CString, scalar: bool },
    /// Each: `[sequences, tokens, vocabulary]`.
    All,
    /// The last of each sequence: `[sequences, 1, vocabulary]`.
    Last,
    /// One of the two before; only a run tells.
    Unsaid,
}

/// Names of one cache tensor as it goes in and comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CacheNames {
    pub(super) past: CString,
    pub(super) present: CString,
}

/// A graph's border.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Border {
    pub(super) tokens: Tokens,
    pub(super) lengths: Lengths,
    /// `position_ids` `[sequences, tokens]`.
    pub(super) positions: Option<CString>,
    pub(super) rows: Rows,
    pub(super) logits: CString,
    pub(super) number: Float,
    pub(super) vocabulary: usize,
    pub(super) kv: KvType,
    pub(super) shape: CacheShape,
    /// By layer, key before value.
    pub(super) caches: Vec<CacheNames>,
}

/// Reads the border of a graph of which the package says that its cache has the shape `shape` and its logits
/// `vocabulary` columns.
pub(super) fn read(
    inputs: &[Port],
    outputs: &[Port],
    shape: CacheShape,
    vocabulary: usize,
) -> Result<Border, String> {
    let past = caches(inputs)?;
    let present = caches(outputs)?;
    let (kv, names) = match_caches(&past, &present, shape)?;
    let logits = find(outputs, "logits").ok_or("it gives no `logits`")?;
    let number =
        Float::of(logits).ok_or_else(|| format!("{logits} is neither 32-bit nor 16-bit floating point"))?;
    if logits.last().is_some_and(|found| found != vocabulary) {
        return Err(format!("{logits} does not have the {vocabulary} columns of the vocabulary"));
    }
    let mut border = Border {
        tokens: tokens(inputs)?,
        lengths: Lengths::Numbers,
        positions: None,
        rows: match logits.shape[..] {
            [_, 1, _] => Rows::Last,
            _ => Rows::Unsaid,
        },
        logits: c_name(logits)?,
        number,
        vocabulary,
        kv,
        shape,
        caches: names,
    };
    small_inputs(inputs, logits, &mut border)?;
    Ok(border)
}

/// Everything that is neither tokens nor cache.
fn small_inputs(inputs: &[Port], logits: &Port, border: &mut Border) -> Result<(), String> {
    let (mut last_positions, mut total, mut mask) = (false, false, false);
    for port in inputs {
        match port.name.as_str() {
            "input_ids" | "inputs_embeds" => {}
            "seqlens_k" if port.is(Element::Int32, 1) => last_positions = true,
            "total_len" if port.is(Element::Int32, 0) => total = true,
            "attention_mask" if port.is(Element::Int64, 2) => {
                mask = true;
                border.lengths = Lengths::Mask(c_name(port)?);
            }
            "position_ids" if port.is(Element::Int64, 2) => border.positions = Some(c_name(port)?),
            "logits_rows" if port.is(Element::Int64, 1) => border.rows = Rows::Selected(c_name(port)?),
            "num_logits_to_keep" if port.element == Some(Element::Int64) && port.shape.len() < 2 => {
                border.rows = Rows::Kept { name: c_name(port)?, scalar: port.shape.is_empty() };
            }
            _ if port.shape.len() == 4 => {}
            _ => return Err(format!("it wants {port}, which Outpost does not know how to give")),
        }
    }
    if last_positions != total || mask == total {
        return Err(
            "it takes neither `attention_mask` (int64, two dimensions) nor `seqlens_k` and `total_len`"
                .into(),
        );
    }
    let rank = if matches!(border.rows, Rows::Selected(_)) { 2 } else { 3 };
    if logits.shape.len() == rank { Ok(()) } else { Err(format!("{logits} has not {rank} dimensions")) }
}

fn tokens(inputs: &[Port]) -> Result<Tokens, String> {
    match (find(inputs, "input_ids"), find(inputs, "inputs_embeds")) {
        (Some(ids), None) if ids.is(Element::Int64, 2) => Ok(Tokens::Ids(c_name(ids)?)),
        (None, Some(port)) if port.shape.len() == 3 => {
            let (Some(number), Some(width)) = (Float::of(port), port.last()) else {
                return Err(format!("{port} is not floating point of a known width"));
            };
            Ok(Tokens::Embeddings { name: c_name(port)?, number, width })
        }
        (None, None) => Err("it takes neither `input_ids` nor `inputs_embeds`".into()),
        (Some(port), None) | (_, Some(port)) => Err(format!("{port} is not what tokens can be given in")),
    }
}

/// Cache tensors by layer and kind; `false` is a key.
type Caches<'a> = BTreeMap<(usize, bool), &'a Port>;

fn caches(ports: &[Port]) -> Result<Caches<'_>, String> {
    let mut found = Caches::new();
    for port in ports.iter().filter(|p| p.shape.len() == 4) {
        let key = layer_and_kind(&port.name)
            .ok_or_else(|| format!("{port} is a cache tensor without layer and kind in its name"))?;
        if let Some(other) = found.insert(key, port) {
            return Err(format!("{port} and {other} are the same layer's"));
        }
    }
    Ok(found)
}

/// `past_key_values.3.value` is layer 3's value.
fn layer_and_kind(name: &str) -> Option<(usize, bool)> {
    let layer = name.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?;
    let words = || name.split(|c: char| !c.is_ascii_alphabetic());
    // `past_key_values` is what both kinds are called: the last word that names one counts.
    let kind = words().rfind(|word| matches!(*word, "key" | "value"))?;
    Some((layer.parse().ok()?, kind == "value"))
}

fn match_caches(
    past: &Caches<'_>,
    present: &Caches<'_>,
    shape: CacheShape,
) -> Result<(KvType, Vec<CacheNames>), String> {
    let mut names = Vec::new();
    let mut kv = None;
    for key in (0..shape.layers).flat_map(|layer| [(layer, false), (layer, true)]) {
        let kind = if key.1 { "value" } else { "key" };
        let missing = |side: &str| format!("it has no {side} cache tensor of layer {}'s {kind}", key.0);
        let from = *past.get(&key).ok_or_else(|| missing("past"))?;
        let to = *present.get(&key).ok_or_else(|| missing("present"))?;
        for port in [from, to] {
            let wanted = [-1, shape.heads as i64, -1, shape.head_width as i64];
            let fits = port.shape.iter().zip(wanted).all(|(found, w)| *found == -1 || w == -1 || *found == w);
            if !fits {
                return Err(format!("{port} is not of {} heads of {}", shape.heads, shape.head_width));
            }
        }
        let found = match from.element {
            Some(Element::Float32) => KvType::F32,
            Some(Element::Float16) => KvType::F16,
            Some(Element::Int8) => KvType::Int8,
            _ => return Err(format!("{from} has a number format that caches here cannot have")),
        };
        if from.element != to.element || *kv.get_or_insert(found) != found {
            return Err(format!("{from} and the other cache tensors are not of one number format"));
        }
        names.push(CacheNames { past: c_name(from)?, present: c_name(to)? });
    }
    let expected = shape.layers * 2;
    if past.len() != expected || present.len() != expected {
        return Err(format!("it has more than the {expected} cache tensors of {} layers", shape.layers));
    }
    Ok((kv.unwrap_or(KvType::F32), names))
}

/// The width and number format of what a graph of embeddings gives.
pub(super) fn read_table(inputs: &[Port], outputs: &[Port]) -> Result<(CString, CString, Float), String> {
    let [ids] = inputs else { return Err(format!("it takes {} inputs, not only token ids", inputs.len())) };
    let [rows] = outputs else { return Err(format!("it gives {} outputs, not one", outputs.len())) };
    if !ids.is(Element::Int64, 2) {
        return Err(format!("{ids} is not what tokens can be given in"));
    }
    match Float::of(rows) {
        Some(number) if rows.shape.len() == 3 => Ok((c_name(ids)?, c_name(rows)?, number)),
        _ => Err(format!("{rows} is not floating point of three dimensions")),
    }
}

fn find<'a>(ports: &'a [Port], name: &str) -> Option<&'a Port> {
    ports.iter().find(|port| port.name == name)
}

fn c_name(port: &Port) -> Result<CString, String> {
    CString::new(port.name.as_str()).map_err(|_| format!("the name of {port} holds a NUL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape { layers: 2, heads: 2, head_width: 16 };

    fn port(name: &str, element: Element, shape: &[i64]) -> Port {
        Port { name: name.into(), element: Some(element), shape: shape.into() }
    }

    /// Keys before values, as the builder of onnxruntime-genai lists them.
    fn cache(past: &str, element: Element) -> Vec<Port> {
        let names = ["key", "value"].map(|kind| [0, 1].map(|layer| format!("{past}.{layer}.{kind}")));
        names.as_flattened().iter().map(|name| port(name, element, &[-1, 2, -1, 16])).collect()
    }

    fn genai() -> (Vec<Port>, Vec<Port>) {
        let mut inputs = vec![
            port("input_ids", Element::Int64, &[-1, -1]),
            port("attention_mask", Element::Int64, &[-1, -1]),
        ];
        inputs.extend(cache("past_key_values", Element::Float32));
        let mut outputs = vec![port("logits", Element::Float32, &[-1, -1, 320])];
        outputs.extend(cache("present", Element::Float32));
        (inputs, outputs)
    }

    fn refused(change: impl Fn(&mut Vec<Port>, &mut Vec<Port>)) -> String {
        let (mut inputs, mut outputs) = genai();
        change(&mut inputs, &mut outputs);
        read(&inputs, &outputs, SHAPE, 320).unwrap_err()
    }

    #[test]
    fn caches_are_matched_by_layer_and_kind_whatever_their_order() {
        let (inputs, mut outputs) = genai();
        outputs.reverse();
        let border = read(&inputs, &outputs, SHAPE, 320).unwrap();
        let names: Vec<_> =
            border.caches.iter().map(|c| (c.past.to_str().unwrap(), c.present.to_str().unwrap())).collect();
        assert_eq!(names[1], ("past_key_values.0.value", "present.0.value"));
        assert_eq!(names[2], ("past_key_values.1.key", "present.1.key"));
        assert_eq!((border.kv, border.rows, border.positions), (KvType::F32, Rows::Unsaid, None));
    }

    #[test]
    fn what_a_graph_takes_decides_what_it_is_given() {
        let (mut inputs, mut outputs) = genai();
        inputs[0] = port("inputs_embeds", Element::Float32, &[-1, -1, 32]);
        inputs.push(port("position_ids", Element::Int64, &[-1, -1]));
        inputs.push(port("num_logits_to_keep", Element::Int64, &[]));
        outputs[0] = port("logits", Element::Float16, &[-1, -1, -1]);
        let border = read(&inputs, &outputs, SHAPE, 320).unwrap();
        assert!(matches!(border.tokens, Tokens::Embeddings { width: 32, number: Float::F32, .. }));
        assert!(border.positions.is_some() && matches!(border.rows, Rows::Kept { scalar: true, .. }));
        assert_eq!(border.number, Float::F16);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let says = |said: String, words: &[&str]| {
            for word in words {
                assert!(said.contains(word), "`{word}` is not in: {said}");
            }
        };
        says(refused(|i, _| i.push(port("pixel_values", Element::Float32, &[-1, 3, -1]))), &["pixel_values"]);
        says(refused(|i, _| i.retain(|p| p.name != "attention_mask")), &["attention_mask", "seqlens_k"]);
        says(refused(|i, _| i.retain(|p| p.name != "input_ids")), &["input_ids", "inputs_embeds"]);
        says(refused(|_, o| o.retain(|p| p.name != "logits")), &["`logits`"]);
        says(refused(|_, o| o.retain(|p| p.name != "present.1.key")), &["present", "layer 1's key"]);
        says(refused(|i, _| i[2].shape[1] = 8), &["past_key_values.0.key", "2 heads of 16"]);
        says(refused(|i, _| i[2].element = Some(Element::Float16)), &["one number format"]);
        says(refused(|i, _| i[2].element = Some(Element::Uint8)), &["cannot have"]);
        says(refused(|_, o| o[0].shape[2] = 32_000), &["320 columns"]);
        says(refused(|_, o| o[0].element = Some(Element::Int8)), &["logits"]);
        says(refused(|i, _| i.push(port("past.7.key", Element::Float32, &[-1, 2, -1, 16]))), &["more than"]);
        says(refused(|i, _| i.push(port("memory", Element::Float32, &[1, 2, 3, 4]))), &["memory", "layer"]);
        says(refused(|i, _| i[0].element = Some(Element::Int32)), &["input_ids"]);
    }
}
