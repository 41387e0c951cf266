//! The providers that can answer, and what they cost: so far apart that the caps of rules lie between them.

use serde_json::{Value, json};

use crate::{asked::Asked, hf::catalogue};

/// Those that the catalogue calls live and knows a price of.
pub(crate) const PROVIDERS: [&str; 9] =
    ["novita", "scaleway", "ovhcloud", "nscale", "together", "groq", "cerebras", "deepinfra", "cohere"];

/// US dollars per million tokens of prompt and of answer.
fn per_million(provider: &str) -> (f64, f64) {
    match provider {
        "novita" | "scaleway" | "ovhcloud" | "nscale" => (0.1, 0.2),
        "together" | "groq" | "deepinfra" => (1.0, 2.0),
        _ => (4.0, 8.0),
    }
}

/// What the stand-in says of itself.
pub(crate) fn catalogue() -> Value {
    let mut document = catalogue::document();
    let providers = document["data"][0]["providers"].as_array_mut().unwrap();
    for entry in providers {
        let name = entry["provider"].as_str().unwrap().to_owned();
        if PROVIDERS.contains(&name.as_str()) {
            let (input, output) = per_million(&name);
            entry["pricing"] = json!({"input": input, "output": output});
        }
    }
    document
}

/// Millionths of a dollar that the worst case costs, between these two: a token has one byte at least, and a
/// template adds 1,024 of them.
pub(crate) fn price(provider: &str, request: &Asked) -> (u64, u64) {
    let (input, output) = per_million(provider);
    let answer = output * request.max_tokens as f64;
    let whole = request.text.len() as f64;
    ((input * 1_024.0 + answer) as u64, (input * (1_024.0 + whole) + answer) as u64 + 1)
}
