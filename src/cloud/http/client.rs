//! How a server is reached: TLS, proxy, authorities.

use std::fs;

use reqwest::{
    Certificate, Client, Proxy,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tokio_rustls::rustls::crypto::ring;

use super::{HttpOptions, failure::causes};
use crate::domain::{Secret, limits};

/// Who pays.
const BILL_TO: HeaderName = HeaderName::from_static("x-hf-bill-to");

/// A client that takes nothing from the environment and follows no redirect. The error is for whoever
/// wrote the configuration.
pub fn client(options: &HttpOptions) -> Result<Client, String> {
    // All of TLS here is ring's; who was first has installed the same.
    let _ = ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers(options)?)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true);
    if let Some(url) = &options.proxy {
        builder = builder.proxy(proxy(url, options.proxy_credentials.as_ref())?);
    }
    if let Some(path) = &options.ca {
        let say = |why: String| format!("`ca` {}: {why}", path.display());
        let meta = fs::metadata(path).map_err(|e| say(e.to_string()))?;
        if meta.len() > limits::TLS_FILE_BYTES_MAX {
            return Err(say(format!("has more than {} bytes", limits::TLS_FILE_BYTES_MAX)));
        }
        let pem = fs::read(path).map_err(|e| say(e.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| say(e.to_string()))?;
        if certificates.is_empty() {
            return Err(say("holds no certificate".into()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|e| format!("no HTTP client can be made: {}", causes(&e)))
}

fn headers(options: &HttpOptions) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if let Some(organisation) = &options.bill_to {
        let value = HeaderValue::from_str(organisation)
            .map_err(|_| "`bill_to` holds characters that no name has".to_owned())?;
        headers.insert(BILL_TO, value);
    }
    Ok(headers)
}

fn proxy(url: &str, credentials: Option<&Secret>) -> Result<Proxy, String> {
    let proxy = Proxy::all(url).map_err(|e| format!("`proxy` {url}: {}", causes(&e)))?;
    let Some(credentials) = credentials else { return Ok(proxy) };
    let text = String::from_utf8_lossy(credentials.reveal()).into_owned();
    let (user, password) =
        text.split_once(':').ok_or("`proxy_credentials_file` does not hold user:password")?;
    Ok(proxy.basic_auth(user, password))
}
