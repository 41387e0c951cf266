//! The way over HTTP: one client for one server, with its token, its proxy, its authorities.
//!
//! Nothing is taken from the environment, and no redirect is followed: what a permit lets go to one
//! server goes there and nowhere else.

mod answer;
mod credential;
mod failure;
mod hub;

use std::{fmt, fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use reqwest::{
    Certificate, Client, Proxy,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::crypto::ring;

use super::{
    carrier::{Carried, Carrier, Failed, Sending, Served},
    catalogue::Catalogue,
    fault::{Class, Fault},
};
use crate::domain::{Secret, limits};
pub use credential::Credential;
pub use hub::Hub;

use answer::Answer;
use failure::{bounded, causes, lost, refused, silent};

/// How to reach one server.
#[derive(Clone, Default)]
pub struct HttpOptions {
    /// Where its interface begins, such as `https://host/v1`.
    pub base_url: String,
    /// What it knows us by.
    pub credential: Credential,
    /// The HTTP proxy on the way, such as `http://proxy:3128`.
    pub proxy: Option<String>,
    /// `user:password` for it.
    pub proxy_credentials: Option<Secret>,
    /// File with the certificates of further authorities, PEM.
    pub ca: Option<PathBuf>,
    /// For address, proxy, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Who pays, when that is an organisation (`X-HF-Bill-To`).
    pub bill_to: Option<String>,
    /// Whether the answer must name the provider that was asked for (`x-inference-provider`).
    pub names_provider: bool,
}

/// A server.
pub struct Http {
    client: Client,
    credential: Credential,
    base_url: String,
    names_provider: bool,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// Names a call in the provider's bill.
const SESSION: HeaderName = HeaderName::from_static("x-hf-session-id");
/// Who pays.
const BILL_TO: HeaderName = HeaderName::from_static("x-hf-bill-to");

impl Http {
    /// Makes the client; nothing is sent yet. The error is for whoever wrote the configuration.
    pub fn new(options: &HttpOptions) -> Result<Self, String> {
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
        let client = builder.build().map_err(|e| format!("no HTTP client can be made: {}", causes(&e)))?;
        let base_url = options.base_url.trim_end_matches('/').to_owned();
        Ok(Self {
            client,
            credential: options.credential.clone(),
            base_url,
            names_provider: options.names_provider,
        })
    }

    async fn call(&self, sending: Sending) -> Result<Served, Failed> {
        let Sending { permit, session, timers, now, pieces } = sending;
        if !permit.holds_at(now) {
            return Err(Failed::early(Fault::new(Class::TimedOut, "the permit ended before it was sent")));
        }
        let began = Instant::now();
        let url = format!("{}/chat/completions", self.base_url);
        let provider = permit.provider().to_owned();
        let mut request = self
            .credential
            .sign(self.client.post(url))
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(permit.into_bytes()));
        if let Ok(session) = HeaderValue::from_str(&session) {
            request = request.header(SESSION, session);
        }
        let first = timers.first_byte.min(timers.total);
        let response = match timeout(first, request.send()).await {
            Ok(Ok(response)) => response,
            // Once it has left, nobody knows that nobody will write a bill for it.
            Ok(Err(error)) => {
                return Err(Failed { billed: !error.is_connect(), ..Failed::early(lost(&error)) });
            }
            Err(_) => return Err(Failed { billed: true, ..Failed::early(silent(first, "an answer")) }),
        };
        if !response.status().is_success() {
            return Err(Failed::early(refused(response, timers.gap).await));
        }
        let mut answer = Answer::new(response, pieces, began);
        if self.names_provider && answer.served_by() != Some(&provider) {
            let who = answer.served_by().unwrap_or("nobody by name").to_owned();
            let fault = Fault::new(Class::WrongProvider, format!("{provider} was asked and {who} answered"));
            return Err(answer.failed(fault));
        }
        match timeout(timers.total.saturating_sub(began.elapsed()), answer.read(first, timers.gap)).await {
            Ok(Ok(())) => answer.served(),
            Ok(Err(fault)) => Err(answer.failed(fault)),
            Err(_) => {
                let fault = Fault::new(Class::TimedOut, "the deadline passed in the middle of the answer");
                Err(answer.failed(fault))
            }
        }
    }

    async fn models(&self) -> Result<Catalogue, Fault> {
        let url = format!("{}/models", self.base_url);
        let body = self.get(&url, limits::CATALOGUE_BYTES_MAX, "the catalogue").await?;
        Catalogue::parse(&body).map_err(|why| Fault::new(Class::Broken, why))
    }

    /// Reads a document; `what` it is called in an error.
    async fn get(&self, url: &str, bytes_max: usize, what: &str) -> Result<Vec<u8>, Fault> {
        let ask = async {
            let response = self.credential.sign(self.client.get(url)).send().await.map_err(|e| lost(&e))?;
            if !response.status().is_success() {
                return Err(refused(response, limits::DOCUMENT_TIMEOUT).await);
            }
            match bounded(response, bytes_max).await {
                (body, true) => Ok(body),
                (_, false) => Err(Fault::new(Class::Broken, format!("{what} broke off or is too large"))),
            }
        };
        let silence = || silent(limits::DOCUMENT_TIMEOUT, what);
        timeout(limits::DOCUMENT_TIMEOUT, ask).await.unwrap_or_else(|_| Err(silence()))
    }
}

impl Carrier for Http {
    fn send(&self, sending: Sending) -> Carried<'_, Result<Served, Failed>> {
        Box::pin(self.call(sending))
    }

    fn catalogue(&self) -> Carried<'_, Result<Catalogue, Fault>> {
        Box::pin(self.models())
    }
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
