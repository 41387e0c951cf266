//! `genai_config.json` of onnxruntime-genai.

use serde::Deserialize;

use super::{Sizes, config::Ids};
use crate::model::CacheShape;

#[derive(Deserialize)]
struct File {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    bos_token_id: Option<u32>,
    eos_token_id: Ids,
    context_length: usize,
    vocab_size: usize,
    decoder: Decoder,
}

#[derive(Deserialize)]
struct Decoder {
    /// Absent where the decoder is a pipeline of several graphs.
    #[serde(default)]
    filename: Option<String>,
    head_size: usize,
    num_hidden_layers: usize,
    num_key_value_heads: usize,
}

/// Positions up to which the builder's graphs of Ministral 3 are exact: beyond them the model scales its queries,
/// and the graphs do not.
const MINISTRAL_CONTEXT_MAX: usize = 16_384;

/// Sizes, and the file of the graph.
pub(super) fn read(text: &str) -> Result<(Sizes, String), String> {
    let File { model } = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let graph = model
        .decoder
        .filename
        .ok_or("its decoder is a pipeline of several graphs, which Outpost does not run")?;
    let graph = graph.parse::<crate::model::RelPath>()?.to_string();
    let ministral = ["mistral3", "ministral3"].iter().any(|kind| model.kind.starts_with(kind));
    let sizes = Sizes {
        context: if ministral {
            model.context_length.min(MINISTRAL_CONTEXT_MAX)
        } else {
            model.context_length
        },
        architecture: model.kind,
        vocabulary: model.vocab_size,
        eos: model.eos_token_id.into(),
        bos: model.bos_token_id,
        cache: CacheShape {
            layers: model.decoder.num_hidden_layers,
            heads: model.decoder.num_key_value_heads,
            head_width: model.decoder.head_size,
        },
    };
    Ok((sizes, graph))
}
