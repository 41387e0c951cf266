//! From the configuration to everybody off the device, and to the policy that says what may go there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::StartError;
use crate::{
    cloud::{
        Budget, Cap, Http, HttpOptions, Listing, Price, RemoteOptions, Remotes, Router, Scope, Site, Timers,
    },
    config::{self, Config},
    domain::{ClientId, MicroUsd, Secret, limits},
    policy::Policy,
    task::Tasks,
};

/// Makes them; nothing is sent yet.
pub(super) fn remotes(config: &Config, tasks: &Tasks) -> Result<Arc<Remotes>, StartError> {
    let c = &config.cloud;
    let seconds = |n: usize| Duration::from_secs(n as u64);
    let token = token(c.token_file.as_deref())?;
    let mut secrets = token.is_some();
    let router = match token {
        None => None,
        Some(token) => {
            let options = HttpOptions {
                base_url: c.base_url.clone(),
                token: Some(token),
                proxy: c.proxy.clone(),
                proxy_credentials: secret(
                    "cloud.proxy_credentials_file",
                    c.proxy_credentials_file.as_deref(),
                )?,
                ca: c.ca.clone(),
                connect_timeout: seconds(c.connect_timeout_s),
                bill_to: c.bill_to.clone(),
                names_provider: true,
            };
            let http = Http::new(&options).map_err(|e| wrong("cloud", &e))?;
            Some(Router {
                model: c.model.clone(),
                prices: config.price.iter().map(price).collect(),
                carrier: Box::new(http),
                calls_max: c.calls_max,
            })
        }
    };
    let mut sites = Vec::new();
    for site in &config.site {
        secrets |= site.token_file.is_some();
        sites.push(self::site(site, seconds(c.connect_timeout_s))?);
    }
    if secrets {
        // A core dump would hold the token.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
    let timers = Timers {
        first_byte: seconds(c.first_byte_timeout_s),
        gap: seconds(c.gap_timeout_s),
        total: limits::CALL_TOTAL_MAX,
    };
    let options = RemoteOptions { prefer: c.prefer, attempts: c.attempts, timers };
    Ok(Arc::new(Remotes::new(router, sites, options, budget(config, tasks))))
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
fn token(file: Option<&Path>) -> Result<Option<Secret>, StartError> {
    if file.is_some() {
        return secret("cloud.token_file", file);
    }
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = PathBuf::from(dir).join("hf-token");
    if !path.exists() {
        return Ok(None);
    }
    secret("the credential hf-token", Some(&path))
}

fn secret(key: &str, file: Option<&Path>) -> Result<Option<Secret>, StartError> {
    file.map(|path| Secret::read(key, path)).transpose().map_err(StartError::Configuration)
}

fn wrong(section: &str, why: &str) -> StartError {
    StartError::Configuration(format!("[{section}] {why}"))
}

fn site(site: &config::Site, connect_timeout: Duration) -> Result<Site, StartError> {
    let options = HttpOptions {
        base_url: site.base_url.clone(),
        token: secret("site.token_file", site.token_file.as_deref())?,
        ca: site.ca.clone(),
        connect_timeout,
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
            images: None,
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
