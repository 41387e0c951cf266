//! Which models Hugging Face's router offers, by whom and for how much (`GET /v1/models`).
//!
//! Every field may be absent, and absent is not false: what is not known is decided where it
//! matters. Listings that make no sense are passed over one by one; the rest stays usable.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{MicroUsd, limits};

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

impl Price {
    /// Nothing: a server on the premises.
    pub const FREE: Self = Self { input: 0.0, output: 0.0 };

    /// What so many tokens cost, rounded up to a millionth.
    pub fn of(self, prompt_tokens: u64, answer_tokens: u64) -> MicroUsd {
        // Dollars per million tokens are millionths of a dollar per token.
        let micro = self.input * prompt_tokens as f64 + self.output * answer_tokens as f64;
        MicroUsd::of_usd(micro / 1e6)
    }
}

/// One provider's offer of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The provider's name.
    pub provider: String,
    /// Whether it answers, as of the router's last look.
    pub live: bool,
    /// Tokens of prompt and answer together.
    pub context: Option<u64>,
    /// What it costs.
    pub price: Option<Price>,
    /// Whether it calls tools.
    pub tools: Option<bool>,
    /// Whether it keeps to a JSON Schema.
    pub schema: Option<bool>,
    /// Whether it reads images.
    pub images: Option<bool>,
    /// Time to the first token, as the router measured it.
    pub first_token: Option<Duration>,
    /// Tokens per second, as the router measured it.
    pub throughput: Option<f64>,
}

/// The offers by model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    models: BTreeMap<String, Vec<Listing>>,
}

#[derive(Deserialize)]
struct Envelope {
    data: Vec<Value>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    architecture: Option<Value>,
    #[serde(default)]
    providers: Vec<Value>,
}

impl Catalogue {
    /// Reads an answer of the router.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(|e| format!("no catalogue: {e}"))?;
        let mut models = BTreeMap::new();
        for entry in envelope.data.into_iter().take(limits::CATALOGUE_MODELS_MAX) {
            let Ok(entry) = serde_json::from_value::<ModelEntry>(entry) else { continue };
            let images = modalities(entry.architecture.as_ref());
            let mut listings: Vec<Listing> = Vec::new();
            for provider in entry.providers.iter().take(limits::CATALOGUE_PROVIDERS_MAX) {
                let Some(listing) = listing(provider, images) else { continue };
                // The first of two with one name counts.
                if listings.iter().all(|known| known.provider != listing.provider) {
                    listings.push(listing);
                }
            }
            models.entry(entry.id).or_insert(listings);
        }
        Ok(Self { models })
    }

    /// The offers of one model; empty when there is none.
    pub fn of(&self, model: &str) -> &[Listing] {
        self.models.get(model).map_or(&[], Vec::as_slice)
    }

    /// Every model with its offers, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &[Listing])> {
        self.models.iter().map(|(name, listings)| (name.as_str(), listings.as_slice()))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

fn modalities(architecture: Option<&Value>) -> Option<bool> {
    let inputs = architecture?.get("input_modalities")?.as_array()?;
    Some(inputs.iter().any(|kind| kind == "image"))
}

fn listing(entry: &Value, images: Option<bool>) -> Option<Listing> {
    let provider = entry["provider"].as_str()?;
    if provider.is_empty() || provider.len() > limits::PROVIDER_NAME_BYTES_MAX {
        return None;
    }
    let positive = |value: &Value| value.as_f64().filter(|x| x.is_finite() && *x >= 0.0);
    let price = match (positive(&entry["pricing"]["input"]), positive(&entry["pricing"]["output"])) {
        (Some(input), Some(output)) => Some(Price { input, output }),
        _ => None,
    };
    let first_token = positive(&entry["first_token_latency_ms"]);
    Some(Listing {
        provider: provider.into(),
        live: entry["status"] == "live",
        context: entry["context_length"].as_u64(),
        price: if entry["is_free"] == true { Some(Price::FREE) } else { price },
        tools: entry["supports_tools"].as_bool(),
        schema: entry["supports_structured_output"].as_bool(),
        images,
        first_token: first_token.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()),
        throughput: positive(&entry["throughput"]).filter(|x| *x > 0.0),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(providers: &Value) -> Vec<Listing> {
        let body = json!({"object": "list", "data": [
            {"id": "org/m", "architecture": {"input_modalities": ["text", "image"]}, "providers": providers}
        ]});
        Catalogue::parse(body.to_string().as_bytes()).unwrap().of("org/m").to_vec()
    }

    #[test]
    fn every_field_but_the_name_may_be_absent() {
        let listings = parse(&json!([
            {"provider": "novita", "status": "live", "context_length": 1_000_000,
             "pricing": {"input": 0.42, "output": 3.0}, "supports_tools": true,
             "supports_structured_output": false, "first_token_latency_ms": 762.6, "throughput": 39.32},
            {"provider": "featherless-ai", "status": "live"},
            {"provider": "deepinfra", "status": "error", "is_free": true},
            {"provider": "new", "status": "staging"},
        ]));
        let novita = &listings[0];
        assert_eq!(novita.price, Some(Price { input: 0.42, output: 3.0 }));
        assert_eq!((novita.tools, novita.schema, novita.images), (Some(true), Some(false), Some(true)));
        assert_eq!((novita.context, novita.throughput), (Some(1_000_000), Some(39.32)));
        assert_eq!(novita.first_token, Some(Duration::from_micros(762_600)));
        let featherless = &listings[1];
        assert!(featherless.live);
        assert_eq!((featherless.price, featherless.tools, featherless.context), (None, None, None));
        assert_eq!((listings[2].live, listings[2].price), (false, Some(Price::FREE)));
        assert!(!listings[3].live, "a status that is not known is not live");
    }

    #[test]
    fn what_makes_no_sense_is_unknown_and_the_rest_stays() {
        let listings = parse(&json!([
            5, {}, {"provider": ""}, {"provider": "x".repeat(500)},
            {"provider": "a", "status": 1, "pricing": {"input": -1, "output": 2}, "context_length": -5,
             "supports_tools": "yes", "throughput": 0, "first_token_latency_ms": 1e300},
            {"provider": "a", "status": "live"},
        ]));
        assert_eq!(listings, [Listing { provider: "a".into(), images: Some(true), ..Listing::default() }]);
        for bad in ["", "[]", "{}", "{\"data\": 5}", "<html>"] {
            assert!(Catalogue::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let odd = Catalogue::parse(br#"{"data": [5, {"id": 5}, {"id": "x"}]}"#).unwrap();
        assert_eq!(odd.models().count(), 1);
    }

    #[test]
    fn a_price_is_rounded_up() {
        let price = Price { input: 0.42, output: 3.0 };
        assert_eq!(price.of(1_000, 100), MicroUsd(720));
        assert_eq!(price.of(1, 0), MicroUsd(1));
        assert_eq!(Price::FREE.of(u64::MAX, u64::MAX), MicroUsd(0));
    }
}
