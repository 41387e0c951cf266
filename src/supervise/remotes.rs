//! From the configuration to everybody off the device, and to the policy that says what may go there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{StartError, tokens::Tokens};
use crate::{
    cloud::{
        Budget, Cap, Credential, Http, HttpOptions, Hub, Listing, Price, RemoteOptions, Remotes, Router,
        Scope, Site, Timers,
    },
    config::{self, Config},
    domain::{ClientId, MicroUsd, Secret, limits},
    policy::Policy,
    task::Tasks,
};

/// Makes them; nothing is sent yet. And the tokens that they use.
pub(super) fn remotes(config: &Config, tasks: &Tasks) -> Result<(Arc<Remotes>, Tokens), StartError> {
    let c = &config.cloud;
    let mut tokens = Tokens::default();
    let router = match cloud_token(c, &mut tokens)? {
        None => None,
        Some(credential) => {
            let way = way(c, &c.base_url, credential)?;
            let options = HttpOptions { bill_to: c.bill_to.clone(), names_provider: true, ..way };
            Some(Router {
                model: c.model.clone(),
                prices: config.price.iter().map(price).collect(),
                carrier: Box::new(Http::new(&options).map_err(|e| wrong("cloud", &e))?),
                calls_max: c.calls_max,
            })
        }
    };
    let billing = tokens.read("cloud.billing_token_file", c.billing_token_file.as_deref())?;
    let hub = match billing.filter(|_| router.is_some()) {
        None => None,
        Some(credential) => {
            let hub = Hub::new(&way(c, &c.hub_url, credential)?, c.bill_to.as_deref());
            Some(hub.map_err(|e| wrong("cloud", &e))?)
        }
    };
    let sites: Result<_, _> = config.site.iter().map(|site| self::site(c, site, &mut tokens)).collect();
    let timers = Timers {
        first_byte: seconds(c.first_byte_timeout_s),
        gap: seconds(c.gap_timeout_s),
        total: limits::CALL_TOTAL_MAX,
    };
    let options = RemoteOptions { prefer: c.prefer, attempts: c.attempts, timers };
    let remotes = Remotes::new(router, sites?, options, budget(config, tasks)).with_hub(hub);
    Ok((Arc::new(remotes), tokens))
}

/// The way to a server of the cloud.
fn way(c: &config::Cloud, base_url: &str, credential: Credential) -> Result<HttpOptions, StartError> {
    let read = |path: &PathBuf| Secret::read("cloud.proxy_credentials_file", path);
    let proxy_credentials =
        c.proxy_credentials_file.as_ref().map(read).transpose().map_err(StartError::Configuration)?;
    Ok(HttpOptions {
        base_url: base_url.into(),
        credential,
        proxy: c.proxy.clone(),
        proxy_credentials,
        ca: c.ca.clone(),
        connect_timeout: seconds(c.connect_timeout_s),
        ..HttpOptions::default()
    })
}

/// The policy of the file; one that cannot be read lets nothing go.
pub(super) fn policy(config: &Config) -> Result<Policy, String> {
    let Some(path) = &config.policy.file else { return Ok(Policy::default()) };
    Policy::load(path).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("the policy is wrong, and nothing leaves the device: {}", lines.join("; "))
    })
}

/// The token of a file, or else of systemd's credential.
fn cloud_token(c: &config::Cloud, tokens: &mut Tokens) -> Result<Option<Credential>, StartError> {
    if c.token_file.is_some() {
        return tokens.read("cloud.token_file", c.token_file.as_deref());
    }
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = PathBuf::from(dir).join("hf-token");
    tokens.read("the credential hf-token", path.exists().then_some(path.as_path()))
}

fn seconds(n: usize) -> Duration {
    Duration::from_secs(n as u64)
}

fn wrong(section: &str, why: &str) -> StartError {
    StartError::Configuration(format!("[{section}] {why}"))
}

fn site(c: &config::Cloud, site: &config::Site, tokens: &mut Tokens) -> Result<Site, StartError> {
    let options = HttpOptions {
        base_url: site.base_url.clone(),
        credential: tokens.read("site.token_file", site.token_file.as_deref())?.unwrap_or_default(),
        ca: site.ca.clone(),
        connect_timeout: seconds(c.connect_timeout_s),
        ..HttpOptions::default()
    };
    let http = Http::new(&options).map_err(|e| wrong(&format!("site {}", site.name), &e))?;
    Ok(Site {
        model: site.model.clone(),
        listing: Listing {
            provider: site.name.clone(),
            live: true,
            context: site.context.map(|tokens| tokens as u64),
            price: Some(Price::FREE),
            tools: Some(site.tools),
            schema: Some(site.structured_output),
            images: Some(site.images),
            first_token: None,
            throughput: None,
        },
        carrier: Box::new(http),
        calls_max: site.calls_max,
    })
}

fn price(price: &config::Price) -> (String, String, Price) {
    (price.model.clone(), price.provider.clone(), Price { input: price.input, output: price.output })
}

fn budget(config: &Config, tasks: &Tasks) -> Budget {
    let c = &config.cloud;
    let mut caps = vec![Cap {
        scope: Scope::All,
        per_request: Some(MicroUsd::of_usd(c.usd_per_request)),
        per_day: Some(MicroUsd::of_usd(c.usd_per_day)),
        per_month: Some(MicroUsd::of_usd(c.usd_per_month)),
    }];
    for budget in &config.budget {
        let client = budget.client.as_deref().and_then(ClientId::new);
        let task = budget.task.as_deref().and_then(|name| tasks.get(name)).map(|task| task.client());
        let scope = match (client.or(task), &budget.provider) {
            (Some(client), _) => Scope::Client(client),
            (None, Some(provider)) => Scope::Provider(provider.clone()),
            (None, None) => continue,
        };
        caps.push(Cap {
            scope,
            per_request: budget.usd_per_request.map(MicroUsd::of_usd),
            per_day: budget.usd_per_day.map(MicroUsd::of_usd),
            per_month: budget.usd_per_month.map(MicroUsd::of_usd),
        });
    }
    Budget::new(caps)
}
