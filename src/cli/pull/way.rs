//! Which Hub, and with which token.

use std::{path::Path, time::Duration};

use super::{Exit, Failure};
use crate::{cloud, config::Config, domain::Secret, hub::Way};

/// The way, and what the person has to know of it.
pub(super) fn way(config: &Config, endpoint: Option<&str>) -> Result<(Way, Option<String>), Failure> {
    let wrong = |why: String| Failure::new(Exit::Configuration, why);
    let c = &config.cloud;
    let from_environment = variable("HF_ENDPOINT");
    let endpoint = endpoint.or(from_environment.as_deref()).unwrap_or(&c.hub_url);
    let seconds = |n: usize| Duration::from_secs(n as u64);
    let credentials = c.proxy_credentials_file.as_deref();
    let options = cloud::HttpOptions {
        proxy: c.proxy.clone(),
        proxy_credentials: credentials
            .map(|path| Secret::read("cloud.proxy_credentials_file", path))
            .transpose()
            .map_err(wrong)?,
        ca: c.ca.clone(),
        connect_timeout: seconds(c.connect_timeout_s),
        ..cloud::HttpOptions::default()
    };
    let client = cloud::client(&options).map_err(|why| wrong(format!("[cloud] {why}")))?;
    let token = token(config).map_err(wrong)?;
    let waits = [c.first_byte_timeout_s, c.gap_timeout_s].map(seconds);
    let way = Way::new(client, endpoint, token.as_ref(), waits).map_err(wrong)?;
    let note = way.withholds_token().then(|| {
        format!("The token is not sent to {endpoint}: without https:// anybody on the way could read it.")
    });
    Ok((way, note))
}

/// `HF_TOKEN`, else the file of `HF_TOKEN_PATH`, else `cloud.token_file`, else the systemd credential.
fn token(config: &Config) -> Result<Option<Secret>, String> {
    if let Some(token) = variable("HF_TOKEN") {
        return Ok(Some(Secret::new(token.trim())));
    }
    if let Some(path) = variable("HF_TOKEN_PATH") {
        return Secret::read("HF_TOKEN_PATH", Path::new(&path)).map(Some);
    }
    if let Some(path) = &config.cloud.token_file {
        return Secret::read("cloud.token_file", path).map(Some);
    }
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join("hf-token"));
    credential
        .filter(|path| path.exists())
        .map(|path| Secret::read("the credential hf-token", &path))
        .transpose()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}
