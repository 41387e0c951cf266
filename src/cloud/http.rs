//! The way over HTTP: one client for one server, with its token, its proxy, its authorities.
//!
//! Nothing is taken from the environment, and no redirect is followed: what a permit lets go to one
//! server goes there and nowhere else.

mod answer;
mod client;
mod credential;
mod failure;
mod hub;

use std::{fmt, path::PathBuf, time::Duration};

use bytes::Bytes;
use reqwest::{
    Client,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use tokio::time::{Instant, timeout};

use super::{
    carrier::{Carried, Carrier, Failed, Sending, Served},
    catalogue::Catalogue,
    fault::{Class, Fault},
};
use crate::domain::{Secret, limits};
pub use client::client;
pub use credential::Credential;
pub use failure::causes;
pub use hub::Hub;

use answer::Answer;
use failure::{bounded, lost, refused, silent};

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

impl Http {
    /// Makes the client; nothing is sent yet. The error is for whoever wrote the configuration.
    pub fn new(options: &HttpOptions) -> Result<Self, String> {
        let client = client(options)?;
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
