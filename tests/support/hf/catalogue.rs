//! Twelve providers of two models, with prices, speeds and flags.

use serde_json::{Value, json};

/// A provider of `org/small` and `org/large`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provider {
    pub(crate) name: &'static str,
    /// US dollars per million tokens of prompt and of answer; `None`: it does not say.
    pub(crate) price: Option<(f64, f64)>,
    pub(crate) context: Option<u64>,
    pub(crate) tools: Option<bool>,
    pub(crate) schema: Option<bool>,
    pub(crate) first_token_ms: f64,
    pub(crate) throughput: f64,
    pub(crate) live: bool,
    /// Where it puts the usage: chunk, finish, choice, `estimated_cost`, none.
    pub(crate) usage: &'static str,
}

const fn provider(
    name: &'static str,
    price: Option<(f64, f64)>,
    first_token_ms: f64,
    throughput: f64,
    usage: &'static str,
) -> Provider {
    Provider {
        name,
        price,
        context: Some(32_768),
        tools: Some(true),
        schema: Some(true),
        first_token_ms,
        throughput,
        live: true,
        usage,
    }
}

pub(crate) const PROVIDERS: [Provider; 12] = [
    Provider { schema: Some(false), ..provider("novita", Some((0.04, 0.10)), 760.0, 39.0, "none") },
    provider("scaleway", Some((0.10, 0.20)), 310.0, 95.0, "chunk"),
    provider("ovhcloud", Some((0.12, 0.22)), 350.0, 80.0, "chunk"),
    provider("nscale", Some((0.06, 0.18)), 420.0, 70.0, "chunk"),
    provider("together", Some((0.18, 0.18)), 280.0, 110.0, "finish"),
    provider("groq", Some((0.11, 0.34)), 120.0, 420.0, "chunk"),
    Provider { context: Some(8_192), ..provider("cerebras", Some((0.25, 0.60)), 190.0, 1_650.0, "chunk") },
    provider("deepinfra", Some((0.05, 0.12)), 640.0, 48.0, "estimated_cost"),
    provider("cohere", Some((0.30, 0.60)), 330.0, 60.0, "choice"),
    provider("fireworks-ai", None, 260.0, 130.0, "finish"),
    Provider {
        context: None,
        tools: None,
        schema: None,
        ..provider("featherless-ai", None, 2_400.0, 18.0, "chunk")
    },
    Provider { live: false, ..provider("baseten", Some((0.01, 0.01)), 90.0, 500.0, "chunk") },
];

pub(crate) fn named(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

/// The router's own `:fastest`: the highest throughput of those that are live.
pub(crate) fn fastest() -> &'static str {
    best(|provider| -provider.throughput)
}

/// The router's own `:cheapest`: the lowest price of an answer.
pub(crate) fn cheapest() -> &'static str {
    best(|provider| provider.price.map_or(f64::INFINITY, |(_, output)| output))
}

fn best(cost: impl Fn(&Provider) -> f64) -> &'static str {
    let live = PROVIDERS.iter().filter(|provider| provider.live);
    live.min_by(|a, b| cost(a).total_cmp(&cost(b))).map_or("", |provider| provider.name)
}

/// What `/v1/models` says.
pub(crate) fn document() -> Value {
    json!({"object": "list", "data": [model("org/small", 1.0, &["text"]), model("org/large", 8.0, &["text", "image"])]})
}

fn model(id: &str, factor: f64, inputs: &[&str]) -> Value {
    let providers: Vec<Value> = PROVIDERS
        .iter()
        .map(|p| {
            let mut entry = json!({
                "provider": p.name, "status": if p.live { "live" } else { "error" }, "is_free": false,
                "is_model_author": false, "first_token_latency_ms": p.first_token_ms, "throughput": p.throughput,
            });
            for (key, value) in [
                ("context_length", p.context.map(Value::from)),
                ("supports_tools", p.tools.map(Value::from)),
                ("supports_structured_output", p.schema.map(Value::from)),
                ("pricing", p.price.map(|(i, o)| json!({"input": i * factor, "output": o * factor}))),
            ] {
                if let Some(value) = value {
                    entry[key] = value;
                }
            }
            entry
        })
        .collect();
    json!({
        "id": id, "object": "model", "created": 1_785_918_179, "owned_by": "org",
        "architecture": {"input_modalities": inputs, "output_modalities": ["text"]}, "providers": providers,
    })
}
