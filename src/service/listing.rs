//! What models there are off the device.

use serde_json::{Value, json};

use super::Service;
use crate::{
    cloud::Listing,
    domain::{Error, ErrorKind, Result, Zone},
};

impl Service {
    /// The models of the sites, as entries of OpenAI's list.
    pub fn site_models(&self) -> Vec<Value> {
        let sites = self.shared.remotes.sites();
        let entry = |(name, model): (&str, &str)| {
            json!({
                "id": name, "object": "model", "created": 0, "owned_by": "site", "zone": "site", "model": model,
            })
        };
        sites.map(entry).collect()
    }

    /// The cloud's catalogue with its prices, asked for if it is old. Nobody is asked while the policy
    /// lets nothing go to the cloud.
    pub async fn cloud_models(&self) -> Result<Vec<Value>> {
        let s = &self.shared;
        let [_, _, (_, state, why)] = self.zones();
        match state {
            "off" => {
                let why =
                    "there is no cloud: set `cloud.token_file`, and a policy that lets something go there";
                return Err(Error::new(ErrorKind::ModelNotFound, why));
            }
            "blocked" => return Err(Error::new(ErrorKind::PolicyDenied, why.unwrap_or_default())),
            _ => {}
        }
        if s.remotes.is_stale(s.clock.boot()) {
            s.remotes.refresh(s.clock.boot()).await;
        }
        let catalogue =
            s.remotes.catalogue(s.clock.boot()).map_err(|why| Error::new(ErrorKind::ProviderError, why))?;
        let policy = self.policy();
        let entries = catalogue.models().map(|(name, _)| {
            let offers = s.remotes.offers(&catalogue, name);
            let providers: Vec<Value> = offers
                .iter()
                .map(|listing| {
                    let known = policy.facts(&listing.provider).is_some();
                    provider(listing, known)
                })
                .collect();
            json!({
                "id": name, "object": "model", "created": 0, "owned_by": name.split('/').next(),
                "zone": Zone::Cloud.name(), "providers": providers,
            })
        });
        Ok(entries.collect())
    }
}

fn provider(listing: &Listing, in_policy: bool) -> Value {
    json!({
        "provider": listing.provider,
        "live": listing.live,
        "context_length": listing.context,
        "usd_per_million": listing.price.map(|price| json!({"input": price.input, "output": price.output})),
        "tools": listing.tools,
        "structured_output": listing.schema,
        "images": listing.images,
        "first_token_ms": listing.first_token.map(|d| d.as_millis() as u64),
        "tokens_per_s": listing.throughput,
        "in_policy": in_policy,
    })
}
