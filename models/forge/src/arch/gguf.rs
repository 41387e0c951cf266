//! Dense decoders as GGUF describes them: `llama` (Llama 2 and 3, SmolLM2, and all that calls
//! itself so) and `mistral3` (Ministral 3), whose keys are the same but for the prefix.
//!
//! Query and key rows are stored for neighbouring rotary pairs (`convert_hf_to_gguf.py`,
//! `LlamaModel.permute`); the graph rotates halves, so they are put back.

use super::{
    QueryScale, Result, Rope, RowOrder, Yarn, names,
    shape::{Names, Parts, Shape},
};
use crate::{Error, gguf::Gguf, limits, source::Tensors};

const PARTS: Parts = Parts {
    attention_norm: "attn_norm",
    q: "attn_q",
    k: "attn_k",
    v: "attn_v",
    attention_output: "attn_output",
    feed_forward_norm: "ffn_norm",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
};
/// Llama 3's divisors of frequencies.
const OWN_DIVISORS: &str = "rope_freqs.weight";

/// The metadata of one architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn count(&self, key: &str, max: usize) -> Result<usize> {
        let key = self.key(key);
        names::positive(&key, names::optional_count(self.gguf, &key, max)?)
    }

    fn optional_count(&self, key: &str, max: usize) -> Result<Option<usize>> {
        names::optional_count(self.gguf, &self.key(key), max)
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        let number = self.gguf.metadata().number(&self.key(key));
        number.map_err(|e| Error::Unsupported(e.to_string()))
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        self.gguf.metadata().text(&self.key(key)).map_err(|e| Error::Unsupported(e.to_string()))
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }
}

/// The shape of `gguf`, whose architecture is `prefix`.
pub(super) fn shape(gguf: &Gguf, prefix: &'static str) -> Result<Shape> {
    let keys = Keys { gguf, prefix };
    let width = keys.count("embedding_length", limits::WIDTH_MAX)?;
    let heads = keys.count("attention.head_count", limits::WIDTH_MAX)?;
    let head_width = keys.optional_count("attention.key_length", limits::WIDTH_MAX)?;
    let head_width = head_width.unwrap_or(width / heads);
    check(&keys, head_width)?;
    let (rope, original) = rope(&keys, head_width)?;
    Ok(Shape {
        architecture: prefix,
        width,
        layers: keys.count("block_count", limits::LAYERS_MAX)?,
        heads,
        kv_heads: keys.optional_count("attention.head_count_kv", limits::WIDTH_MAX)?.unwrap_or(heads),
        head_width,
        feed_forward: keys.count("feed_forward_length", limits::WIDTH_MAX)?,
        context: keys.count("context_length", usize::MAX)?.min(limits::CONTEXT_MAX),
        norm_epsilon: keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5) as f32,
        rope,
        query_scale: query_scale(&keys, original)?,
        names: names(gguf.tensor("output.weight").is_some()),
        order: RowOrder::Neighbours { head_width },
    })
}

/// GGUF's names, for a model that has an output matrix of its own or not.
pub fn names(own_output: bool) -> Names {
    Names {
        table: "token_embd.weight".to_owned(),
        output: own_output.then(|| "output.weight".to_owned()),
        final_norm: "output_norm.weight".to_owned(),
        layer: ["blk.".to_owned(), ".".to_owned()],
        parts: &PARTS,
        beside: vec![OWN_DIVISORS.to_owned()],
    }
}

/// Refuses what would make another model of it.
fn check(keys: &Keys<'_>, head_width: usize) -> Result<()> {
    let no = |reason: &str| Err(Error::Unsupported(reason.to_owned()));
    let other = |key: &str| -> Result<bool> {
        Ok(keys.optional_count(key, limits::WIDTH_MAX)?.is_some_and(|n| n != head_width))
    };
    if other("rope.dimension_count")? {
        return no("rotary embedding over a part of each head is not supported");
    }
    if other("attention.value_length")? {
        return no("value heads of another width than key heads are not supported");
    }
    if keys.optional_count("expert_count", usize::MAX)?.is_some_and(|n| n > 0) {
        return no("mixture-of-experts models are not supported");
    }
    Ok(())
}

/// Frequencies, and the positions before they were stretched.
fn rope(keys: &Keys<'_>, head_width: usize) -> Result<(Rope, Option<usize>)> {
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    if theta <= 1.0 {
        let key = keys.key("rope.freq_base");
        return Err(Error::Unsupported(format!("metadata `{key}`: {theta} is not above 1")));
    }
    // `scale_linear` is what old files call it; a factor without a type is linear.
    let factor = keys.number("rope.scaling.factor")?.or(keys.number("rope.scale_linear")?).unwrap_or(1.0);
    let own = own_divisors(keys.gguf, head_width / 2)?;
    if factor <= 0.0 || own.iter().flatten().any(|f| *f <= 0.0 || !f.is_finite()) {
        return Err(Error::Unsupported("rotary scaling factors are not positive".to_owned()));
    }
    let divisor = match keys.text("rope.scaling.type")? {
        Some("none") => 1.0,
        None | Some("linear") => factor,
        Some("yarn") if own.is_none() => {
            let original = keys.count("rope.scaling.original_context_length", limits::CONTEXT_MAX)?;
            return Ok((yarn(keys, factor, original)?.rope(theta, head_width), Some(original)));
        }
        Some(other) => {
            let (other, prefix) = (other.escape_debug(), keys.prefix);
            return Err(Error::Unsupported(format!(
                "rotary scaling `{other}` is not supported for `{prefix}`"
            )));
        }
    };
    Ok((Rope::plain(theta, head_width, divisor, own.as_deref()), None))
}

/// As llama.cpp reads it (`llama-context.cpp`): an `mscale` of 1, against `yarn_log_multiplier`.
fn yarn(keys: &Keys<'_>, factor: f64, original: usize) -> Result<Yarn> {
    let all_dim = keys.number("rope.scaling.yarn_log_multiplier")?.filter(|m| *m != 0.0);
    let magnitude = Yarn::magnitude_of(factor, 1.0, all_dim.unwrap_or(0.0));
    let more = keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    Ok(Yarn {
        factor,
        original,
        beta_fast: keys.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        beta_slow: keys.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        truncate: true,
        magnitude: Some(magnitude * more),
    })
}

fn query_scale(keys: &Keys<'_>, original: Option<usize>) -> Result<Option<QueryScale>> {
    let beta = keys.number("attention.temperature_scale")?.filter(|beta| *beta != 0.0);
    match (beta, original) {
        (None, _) => Ok(None),
        (Some(beta), Some(original)) => Ok(Some(QueryScale { beta, original })),
        (Some(_), None) => {
            let key = keys.key("attention.temperature_scale");
            Err(Error::Unsupported(format!("metadata `{key}` without the context before scaling")))
        }
    }
}

fn own_divisors(gguf: &Gguf, pairs: usize) -> Result<Option<Vec<f32>>> {
    match gguf.tensor(OWN_DIVISORS) {
        None => Ok(None),
        Some(tensor) if tensor.rows == 1 && tensor.columns == pairs && tensor.format.is_read() => {
            gguf.read_vector(tensor).map(Some)
        }
        Some(_) => {
            Err(Error::Unsupported(format!("tensor `{OWN_DIVISORS}` has another shape than the heads")))
        }
    }
}
