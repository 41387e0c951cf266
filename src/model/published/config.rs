//! `config.json` and `generation_config.json` of transformers.

use serde::Deserialize;

use super::Sizes;
use crate::model::CacheShape;

pub(super) const FILE: &str = "config.json";
pub(super) const GENERATION_FILE: &str = "generation_config.json";

/// A token id or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl From<Ids> for Vec<u32> {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::One(id) => vec![id],
            Ids::Many(ids) => ids,
        }
    }
}

/// The whole, or the part of it that is about text.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    model_type: String,
    #[serde(default, rename = "text_config")]
    text: Option<Box<Config>>,
    #[serde(default)]
    num_hidden_layers: Option<usize>,
    #[serde(default)]
    num_attention_heads: Option<usize>,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
    #[serde(default)]
    hidden_size: Option<usize>,
    #[serde(default)]
    vocab_size: Option<usize>,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    eos_token_id: Option<Ids>,
    #[serde(default)]
    bos_token_id: Option<u32>,
    #[serde(default)]
    rope_parameters: Option<Rope>,
    /// What transformers before 5 calls it; files for both have both.
    #[serde(default)]
    rope_scaling: Option<Rope>,
}

#[derive(Deserialize)]
struct Rope {
    #[serde(default)]
    llama_4_scaling_beta: Option<f64>,
    #[serde(default)]
    original_max_position_embeddings: Option<usize>,
}

/// `generation_config.json`, as far as it matters.
#[derive(Deserialize, Default)]
struct Generation {
    #[serde(default)]
    eos_token_id: Option<Ids>,
    #[serde(default)]
    bos_token_id: Option<u32>,
}

pub(super) fn read(config: &str, generation: Option<&str>) -> Result<Sizes, String> {
    let mut whole: Config = serde_json::from_str(config).map_err(|e| e.to_string())?;
    let generation: Generation = match generation {
        Some(text) => {
            serde_json::from_str(text).map_err(|e| format!("and {GENERATION_FILE} beside it: {e}"))?
        }
        None => Generation::default(),
    };
    let (outer_eos, outer_bos) = (whole.eos_token_id.clone(), whole.bos_token_id);
    let text = match whole.text.take() {
        Some(text) => *text,
        None => whole,
    };
    let need = |value: Option<usize>, name: &str| value.ok_or(format!("it does not say `{name}`"));
    let heads = need(text.num_attention_heads, "num_attention_heads")?;
    let head_width = match (text.head_dim, text.hidden_size) {
        (Some(width), _) => width,
        (None, Some(hidden)) if heads > 0 => hidden / heads,
        _ => return Err("it says neither `head_dim` nor `hidden_size`".into()),
    };
    let context = need(text.max_position_embeddings, "max_position_embeddings")?;
    // Published graphs do not scale queries beyond the original context, as Ministral 3 wants it.
    let exact = text
        .rope_parameters
        .or(text.rope_scaling)
        .filter(|rope| rope.llama_4_scaling_beta.is_some_and(|b| b != 0.0));
    let exact = exact.and_then(|rope| rope.original_max_position_embeddings);
    let eos = generation.eos_token_id.or(outer_eos).or(text.eos_token_id);
    Ok(Sizes {
        architecture: text.model_type,
        context: exact.map_or(context, |exact| exact.min(context)),
        vocabulary: need(text.vocab_size, "vocab_size")?,
        eos: eos.ok_or("it does not say `eos_token_id`, which ends an answer")?.into(),
        bos: generation.bos_token_id.or(outer_bos).or(text.bos_token_id),
        cache: CacheShape {
            layers: need(text.num_hidden_layers, "num_hidden_layers")?,
            heads: text.num_key_value_heads.unwrap_or(heads),
            head_width,
        },
    })
}
