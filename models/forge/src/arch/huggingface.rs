//! Dense decoders as `config.json` describes them: `mistral3` (Ministral 3 with its image
//! tower, whose language model is taken), `ministral3`, `mistral` and `llama`.
//!
//! Query and key rows are stored for rotary halves, as the graph wants them.

use std::f64::consts::TAU;

use serde::Deserialize;
use serde_json::Value;

use super::{
    QueryScale, Rope, RowOrder, Yarn, names,
    shape::{Names, Parts, Shape},
};
use crate::{Error, Result, limits, source::Tensors};

const PARTS: Parts = Parts {
    attention_norm: "input_layernorm",
    q: "self_attn.q_proj",
    k: "self_attn.k_proj",
    v: "self_attn.v_proj",
    attention_output: "self_attn.o_proj",
    feed_forward_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
};
/// Where the language model's tensors begin, by age of the transformers library that wrote them.
const PREFIXES: [&str; 3] = ["language_model.model.", "model.language_model.", "model."];
/// The same for the output matrix.
const OUTPUTS: [&str; 3] = ["lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"];
/// The image tower and the way from it to the language model: no part of a text model.
const BESIDE: [&str; 4] =
    ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];

/// Whether a tensor is no part of the language model.
pub fn is_beside(name: &str) -> bool {
    BESIDE.iter().any(|known| name.starts_with(known))
}

/// `config.json`, or its `text_config`, as far as it matters.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: Option<String>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<RopeParameters>,
    tie_word_embeddings: Option<bool>,
    sliding_window: Option<usize>,
    hidden_act: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RopeParameters {
    rope_type: Option<String>,
    /// The same by its older name; files for both have both.
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    attention_factor: Option<f64>,
    truncate: Option<bool>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    llama_4_scaling_beta: Option<f64>,
}

/// The shape that `config`, the text of `config.json`, gives to `tensors`.
pub fn shape(config: &str, tensors: &dyn Tensors) -> Result<Shape> {
    named_shape(config, |tied| tensor_names(tensors, tied))
}

/// The same with other `names`; these depend on whether the token table serves as output matrix, where that is said.
pub fn named_shape(config: &str, names: impl FnOnce(Option<bool>) -> Result<Names>) -> Result<Shape> {
    let bad = |e: serde_json::Error| Error::Unsupported(format!("`config.json`: {e}"));
    let whole: Value = serde_json::from_str(config).map_err(bad)?;
    if !whole.is_object() {
        return Err(Error::Unsupported("`config.json` is no object".to_owned()));
    }
    let text = whole.get("text_config").filter(|text| text.is_object()).unwrap_or(&whole);
    let config = Config::deserialize(text).map_err(bad)?;
    let architecture = architecture(&config)?;
    let tied = config.tie_word_embeddings.or(whole["tie_word_embeddings"].as_bool());

    let width = count("hidden_size", config.hidden_size, limits::WIDTH_MAX)?;
    let heads = count("num_attention_heads", config.num_attention_heads, limits::WIDTH_MAX)?;
    let head_width = match config.head_dim {
        Some(_) => count("head_dim", config.head_dim, limits::WIDTH_MAX)?,
        None => width / heads,
    };
    let context = count("max_position_embeddings", config.max_position_embeddings, usize::MAX)?;
    let (rope, query_scale) = rope(&config, head_width, context)?;
    Ok(Shape {
        architecture,
        width,
        layers: count("num_hidden_layers", config.num_hidden_layers, limits::LAYERS_MAX)?,
        heads,
        kv_heads: match config.num_key_value_heads {
            Some(_) => count("num_key_value_heads", config.num_key_value_heads, limits::WIDTH_MAX)?,
            None => heads,
        },
        head_width,
        feed_forward: count("intermediate_size", config.intermediate_size, limits::WIDTH_MAX)?,
        context: context.min(limits::CONTEXT_MAX),
        norm_epsilon: config.rms_norm_eps.unwrap_or(1e-6) as f32,
        rope,
        query_scale,
        names: names(tied)?,
        order: RowOrder::Same,
    })
}

/// GGUF's name for the architecture.
fn architecture(config: &Config) -> Result<&'static str> {
    let no = |reason: String| Err(Error::Unsupported(format!("`config.json`: {reason}")));
    if let Some(other) = config.hidden_act.as_deref().filter(|act| *act != "silu") {
        return no(format!("activation `{}` is not supported; `silu` is", other.escape_debug()));
    }
    if let Some(window) = config.sliding_window {
        return no(format!("attention over a window of {window} positions is not supported"));
    }
    match config.model_type.as_deref() {
        // transformers 5 calls the language model of Ministral 3 `ministral3`, version 4 called it `mistral`.
        Some("ministral3" | "mistral") => Ok("mistral3"),
        Some("llama") => Ok("llama"),
        Some(other) => {
            let other: String = other.escape_debug().take(64).collect();
            no(format!("model type `{other}` is not supported; `mistral3`, `mistral` and `llama` are"))
        }
        None => no("`model_type` is missing".to_owned()),
    }
}

fn tensor_names(tensors: &dyn Tensors, tied: Option<bool>) -> Result<Names> {
    let table = |prefix: &&str| tensors.tensor(&format!("{prefix}embed_tokens.weight")).is_some();
    let prefix = PREFIXES.into_iter().find(table).ok_or_else(|| {
        Error::Unsupported("tensor `model.embed_tokens.weight` is missing, under any prefix".to_owned())
    })?;
    let output = OUTPUTS.into_iter().find(|name| tensors.tensor(name).is_some());
    let mut beside: Vec<String> = BESIDE.map(str::to_owned).into();
    let output = match (tied, output) {
        // Some checkpoints keep the table twice. One that differs is no table: transformers takes it as it is.
        (Some(true), Some(output)) if same(tensors, &format!("{prefix}embed_tokens.weight"), output)? => {
            beside.push(output.to_owned());
            None
        }
        (Some(false), None) => {
            let name = OUTPUTS[0];
            return Err(Error::Unsupported(format!(
                "tensor `{name}` is missing, and `config.json` says that the token table does not serve for it"
            )));
        }
        (_, output) => output.map(str::to_owned),
    };
    Ok(Names {
        table: format!("{prefix}embed_tokens.weight"),
        output,
        final_norm: format!("{prefix}norm.weight"),
        layer: [format!("{prefix}layers."), ".".to_owned()],
        parts: &PARTS,
        beside,
    })
}

/// Whether two tensors hold the same numbers, in the same format.
fn same(tensors: &dyn Tensors, one: &str, other: &str) -> Result<bool> {
    let (Some(a), Some(b)) = (tensors.tensor(one), tensors.tensor(other)) else { return Ok(false) };
    if (a.format, a.rows, a.columns) != (b.format, b.rows, b.columns) {
        return Ok(false);
    }
    let each = (limits::CHUNK_BYTES / a.row_bytes.max(1)).max(1);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for first in (0..a.rows).step_by(each) {
        let count = each.min(a.rows - first);
        tensors.read_rows(a, first, count, &mut left)?;
        tensors.read_rows(b, first, count, &mut right)?;
        if left != right {
            return Ok(false);
        }
    }
    Ok(true)
}

fn rope(config: &Config, head_width: usize, context: usize) -> Result<(Rope, Option<QueryScale>)> {
    let no = |reason: String| Err(Error::Unsupported(format!("`config.json`: {reason}")));
    let parameters = config.rope_parameters.as_ref().or(config.rope_scaling.as_ref());
    let theta = parameters.and_then(|p| p.rope_theta).or(config.rope_theta).unwrap_or(10_000.0);
    if theta.is_nan() || theta <= 1.0 {
        return no(format!("`rope_theta`: {theta} is not above 1"));
    }
    let Some(parameters) = parameters else {
        return Ok((Rope::plain(theta, head_width, 1.0, None), None));
    };
    let kind = parameters.rope_type.as_deref().or(parameters.kind.as_deref()).unwrap_or("default");
    let original = parameters.original_max_position_embeddings.unwrap_or(context);
    let original = count("original_max_position_embeddings", Some(original), limits::CONTEXT_MAX)?;
    let factor = match (kind, parameters.factor, parameters.original_max_position_embeddings) {
        (_, Some(factor), _) => factor,
        ("default", None, _) => 1.0,
        ("yarn", None, Some(original)) => context as f64 / original as f64,
        _ => return no(format!("rotary scaling `{}` has no `factor`", kind.escape_debug())),
    };
    if !factor.is_finite() || factor <= 0.0 {
        return no(format!("rotary scaling `factor`: {factor} is not positive"));
    }
    let scale = parameters.llama_4_scaling_beta.filter(|beta| *beta != 0.0);
    let scale = scale.map(|beta| QueryScale { beta, original });
    let rope = match kind {
        "default" => Rope::plain(theta, head_width, 1.0, None),
        "linear" => Rope::plain(theta, head_width, factor, None),
        "yarn" => yarn(parameters, factor, original).rope(theta, head_width),
        "llama3" => {
            let own = llama3_divisors(parameters, (theta, head_width), (factor, original))?;
            Rope::plain(theta, head_width, 1.0, Some(&own))
        }
        other => return no(format!("rotary scaling `{}` is not supported", other.escape_debug())),
    };
    Ok((rope, scale))
}

/// transformers' `_compute_yarn_parameters`.
fn yarn(parameters: &RopeParameters, factor: f64, original: usize) -> Yarn {
    let given = |x: Option<f64>| x.filter(|x| *x != 0.0);
    let by_scales = || {
        let (mscale, all_dim) = (given(parameters.mscale)?, given(parameters.mscale_all_dim)?);
        Some(Yarn::magnitude_of(factor, mscale, all_dim))
    };
    Yarn {
        factor,
        original,
        beta_fast: given(parameters.beta_fast).unwrap_or(32.0),
        beta_slow: given(parameters.beta_slow).unwrap_or(1.0),
        truncate: parameters.truncate.unwrap_or(true),
        magnitude: parameters.attention_factor.or_else(by_scales),
    }
}

/// Divisors of frequencies after transformers' `_compute_llama3_parameters`.
fn llama3_divisors(
    parameters: &RopeParameters,
    (theta, head_width): (f64, usize),
    (factor, original): (f64, usize),
) -> Result<Vec<f32>> {
    let (low, high) = (parameters.low_freq_factor.unwrap_or(1.0), parameters.high_freq_factor.unwrap_or(4.0));
    if low.is_nan() || high.is_nan() || low <= 0.0 || high <= low {
        return Err(Error::Unsupported(format!(
            "`config.json`: rotary scaling from `low_freq_factor` {low} to `high_freq_factor` {high} is no range"
        )));
    }
    let divisor = |frequency: &f64| {
        let turns = original as f64 * frequency / TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 / (kept + (1.0 - kept) / factor)) as f32
    };
    Ok(Rope::plain(theta, head_width, 1.0, None).frequencies.iter().map(divisor).collect())
}

fn count(key: &str, count: Option<usize>, max: usize) -> Result<usize> {
    match names::positive(key, count) {
        Ok(n) if n > max => {
            Err(Error::Unsupported(format!("`config.json`: `{key}` of {n} is more than the limit of {max}")))
        }
        Ok(n) => Ok(n),
        Err(_) => Err(Error::Unsupported(format!("`config.json`: `{key}` is missing or 0"))),
    }
}
