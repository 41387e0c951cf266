//! `llama`: Llama 2 and 3, SmolLM2, and all that calls itself so.
//!
//! Query and key rows are stored for neighbouring rotary pairs (`convert_hf_to_gguf.py`,
//! `LlamaModel.permute`); the graph rotates halves, so they are put back.

use std::collections::HashSet;

use super::{Decoder, Error, Gguf, Layer, Result, Rope, RowOrder, limits, names};

pub(super) fn describe(gguf: &Gguf) -> Result<Decoder> {
    let width = names::count(gguf, "llama.embedding_length", limits::WIDTH_MAX)?;
    let heads = names::count(gguf, "llama.attention.head_count", limits::WIDTH_MAX)?;
    let kv_heads =
        names::optional_count(gguf, "llama.attention.head_count_kv", limits::WIDTH_MAX)?.unwrap_or(heads);
    let head_width = match names::optional_count(gguf, "llama.attention.key_length", limits::WIDTH_MAX)? {
        Some(width) => width,
        None => width / heads,
    };
    let feed_forward = names::count(gguf, "llama.feed_forward_length", limits::WIDTH_MAX)?;
    let layers = names::count(gguf, "llama.block_count", limits::LAYERS_MAX)?;
    let context = names::count(gguf, "llama.context_length", usize::MAX)?.min(limits::CONTEXT_MAX);
    let epsilon = names::number(gguf, "llama.attention.layer_norm_rms_epsilon")?;
    check_shape(gguf, heads, kv_heads, head_width)?;

    let table = names::find(gguf, "token_embd.weight")?;
    let vocabulary = table.rows;
    if vocabulary > limits::VOCABULARY_MAX {
        let limit = limits::VOCABULARY_MAX;
        return Err(Error::Unsupported(format!(
            "a vocabulary of {vocabulary} is more than the limit of {limit}"
        )));
    }
    let output = match gguf.tensor("output.weight") {
        Some(_) => Some(names::matrix(gguf, "output.weight".to_owned(), vocabulary, width)?),
        None => None,
    };
    let decoder = Decoder {
        architecture: "llama",
        width,
        heads,
        kv_heads,
        head_width,
        feed_forward,
        vocabulary,
        context,
        norm_epsilon: epsilon.unwrap_or(1e-5) as f32,
        attention_scale: (1.0 / (head_width as f64).sqrt()) as f32,
        rope: rope(gguf, head_width)?,
        table: names::matrix(gguf, "token_embd.weight".to_owned(), vocabulary, width)?,
        output,
        final_norm: names::norm(gguf, "output_norm.weight".to_owned(), width)?,
        layers: Vec::new(),
    };
    let layers = (0..layers).map(|i| layer(gguf, &decoder, i)).collect::<Result<Vec<_>>>()?;
    let decoder = Decoder { layers, ..decoder };
    check_all_used(gguf, &decoder)?;
    Ok(decoder)
}

fn layer(gguf: &Gguf, d: &Decoder, index: usize) -> Result<Layer> {
    let name = |part: &str| format!("blk.{index}.{part}.weight");
    let (q, kv) = (d.heads * d.head_width, d.kv_heads * d.head_width);
    let pairs = RowOrder::Neighbours { head_width: d.head_width };
    let qkv = [(name("attn_q"), q, pairs), (name("attn_k"), kv, pairs), (name("attn_v"), kv, RowOrder::Same)];
    let gate_up = [
        (name("ffn_gate"), d.feed_forward, RowOrder::Same),
        (name("ffn_up"), d.feed_forward, RowOrder::Same),
    ];
    Ok(Layer {
        attention_norm: names::norm(gguf, name("attn_norm"), d.width)?,
        qkv: names::stacked(gguf, &qkv, d.width)?,
        attention_output: names::matrix(gguf, name("attn_output"), d.width, q)?,
        feed_forward_norm: names::norm(gguf, name("ffn_norm"), d.width)?,
        gate_up: names::stacked(gguf, &gate_up, d.width)?,
        down: names::matrix(gguf, name("ffn_down"), d.width, d.feed_forward)?,
    })
}

/// Refuses what the graph could not express.
fn check_shape(gguf: &Gguf, heads: usize, kv_heads: usize, head_width: usize) -> Result<()> {
    let no = |reason: String| Err(Error::Unsupported(reason));
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        return no(format!("{heads} query heads cannot share {kv_heads} key/value heads evenly"));
    }
    if head_width == 0
        || !head_width.is_multiple_of(8)
        || heads.saturating_mul(head_width) > limits::WIDTH_MAX
    {
        return no(format!("a head width of {head_width} with {heads} heads is not supported"));
    }
    let turned = names::optional_count(gguf, "llama.rope.dimension_count", limits::WIDTH_MAX)?;
    if turned.is_some_and(|n| n != head_width) {
        return no("rotary embedding over a part of each head is not supported".to_owned());
    }
    let values = names::optional_count(gguf, "llama.attention.value_length", limits::WIDTH_MAX)?;
    if values.is_some_and(|n| n != head_width) {
        return no("value heads of another width than key heads are not supported".to_owned());
    }
    if names::optional_count(gguf, "llama.expert_count", usize::MAX)?.is_some_and(|n| n > 0) {
        return no("mixture-of-experts models are not supported".to_owned());
    }
    Ok(())
}

/// Plain frequencies; divided by `rope_freqs.weight` where Llama 3 brings it.
fn rope(gguf: &Gguf, head_width: usize) -> Result<Rope> {
    let base = names::number(gguf, "llama.rope.freq_base")?.unwrap_or(10_000.0);
    if base <= 1.0 {
        return Err(Error::Unsupported(format!("metadata `llama.rope.freq_base`: {base} is not above 1")));
    }
    let kind =
        gguf.metadata().text("llama.rope.scaling.type").map_err(|e| Error::Unsupported(e.to_string()))?;
    let divisor = match kind {
        None | Some("none") => 1.0,
        Some("linear") => names::number(gguf, "llama.rope.scaling.factor")?.unwrap_or(1.0),
        Some(other) => {
            let other = other.escape_debug();
            return Err(Error::Unsupported(format!("rotary scaling `{other}` is not supported for `llama`")));
        }
    };
    let pairs = head_width / 2;
    let own = match gguf.tensor("rope_freqs.weight") {
        Some(tensor) if tensor.rows == 1 && tensor.columns == pairs && tensor.format.is_read() => {
            gguf.read_vector(tensor).map_err(|e| Error::Unsupported(e.to_string()))?
        }
        Some(_) => {
            return Err(Error::Unsupported(
                "tensor `rope_freqs.weight` has another shape than the heads".to_owned(),
            ));
        }
        None => vec![1.0; pairs],
    };
    if divisor <= 0.0 || own.iter().any(|f| *f <= 0.0 || !f.is_finite()) {
        return Err(Error::Unsupported("rotary scaling factors are not positive".to_owned()));
    }
    let frequencies = (own.iter().enumerate())
        .map(|(i, own)| base.powf(-2.0 * i as f64 / head_width as f64) / (f64::from(*own) * divisor))
        .collect();
    Ok(Rope { frequencies, magnitude: 1.0 })
}

/// A bias or an unknown tensor would silently change the model: refuse it by name.
fn check_all_used(gguf: &Gguf, decoder: &Decoder) -> Result<()> {
    let mut used: HashSet<&str> = HashSet::from([decoder.final_norm.as_str(), "rope_freqs.weight"]);
    let tables = std::iter::once(&decoder.table).chain(&decoder.output);
    let matrices = decoder.matrices().map(|(_, m)| m).chain(tables);
    used.extend(matrices.flat_map(|m| &m.parts).map(|p| p.tensor.as_str()));
    used.extend(
        decoder.layers.iter().flat_map(|l| [l.attention_norm.as_str(), l.feed_forward_norm.as_str()]),
    );
    names::nothing_beside(gguf, &|name| used.contains(name))
}
