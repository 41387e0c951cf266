//! The way over HTTP: one client for one server, with its token, its proxy, its authorities.
//!
//! Nothing is taken from the environment, and no redirect is followed: what a permit lets go to one
//! server goes there and nowhere else.

use std::{fmt, fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use reqwest::{
    Certificate, Client, Proxy, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_rustls::rustls::crypto::ring;

use super::{
    carrier::{Carried, Carrier, Failed, Served, Timers},
    catalogue::Catalogue,
    fault::{Class, Fault},
    reply::Reader,
    sse::Events,
};
use crate::{
    domain::{BootTime, Delta, Secret, limits},
    policy::Permit,
};

/// How to reach one server.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// Where its interface begins, such as `https://host/v1`.
    pub base_url: String,
    /// What it knows us by.
    pub token: Option<Secret>,
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
/// Who answered.
const SERVED_BY: &str = "x-inference-provider";

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
        Ok(Self { client, base_url, names_provider: options.names_provider })
    }

    async fn call(
        &self,
        permit: Permit,
        session: &str,
        timers: Timers,
        now: BootTime,
        pieces: mpsc::Sender<Delta>,
    ) -> Result<Served, Failed> {
        if !permit.holds_at(now) {
            return Err(Failed::early(Fault::new(Class::TimedOut, "the permit ended before it was sent")));
        }
        let began = Instant::now();
        let url = format!("{}/chat/completions", self.base_url);
        let provider = permit.provider().to_owned();
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(permit.into_bytes()));
        if let Ok(session) = HeaderValue::from_str(session) {
            request = request.header(SESSION, session);
        }
        let first = timers.first_byte.min(timers.total);
        let response = match timeout(first, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failed::early(lost(&error))),
            Err(_) => return Err(Failed::early(silent(first, "an answer"))),
        };
        if !response.status().is_success() {
            return Err(Failed::early(refused(response, timers.gap).await));
        }
        let mut body = Body::new(response, pieces, began);
        if self.names_provider && body.served_by() != Some(&provider) {
            let who = body.served_by().unwrap_or("nobody by name").to_owned();
            let fault = Fault::new(Class::WrongProvider, format!("{provider} was asked and {who} answered"));
            return Err(body.failed(fault));
        }
        match timeout(timers.total.saturating_sub(began.elapsed()), body.read(first, timers.gap)).await {
            Ok(Ok(())) => body.served(),
            Ok(Err(fault)) => Err(body.failed(fault)),
            Err(_) => {
                let fault = Fault::new(Class::TimedOut, "the deadline passed in the middle of the answer");
                Err(body.failed(fault))
            }
        }
    }

    async fn models(&self) -> Result<Catalogue, Fault> {
        let url = format!("{}/models", self.base_url);
        let ask = async {
            let response = self.client.get(url).send().await.map_err(|e| lost(&e))?;
            if !response.status().is_success() {
                return Err(refused(response, limits::CATALOGUE_TIMEOUT).await);
            }
            let (body, whole) = bounded(response, limits::CATALOGUE_BYTES_MAX).await;
            if !whole {
                return Err(Fault::new(Class::Broken, "the catalogue broke off or is too large"));
            }
            Catalogue::parse(&body).map_err(|why| Fault::new(Class::Broken, why))
        };
        let silence = || silent(limits::CATALOGUE_TIMEOUT, "the catalogue");
        timeout(limits::CATALOGUE_TIMEOUT, ask).await.unwrap_or_else(|_| Err(silence()))
    }
}

impl Carrier for Http {
    fn send<'a>(
        &'a self,
        permit: Permit,
        session: &'a str,
        timers: Timers,
        now: BootTime,
        pieces: mpsc::Sender<Delta>,
    ) -> Carried<'a, Result<Served, Failed>> {
        Box::pin(self.call(permit, session, timers, now, pieces))
    }

    fn catalogue(&self) -> Carried<'_, Result<Catalogue, Fault>> {
        Box::pin(self.models())
    }
}

fn headers(options: &HttpOptions) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &options.token {
        let bearer = [b"Bearer ", token.reveal()].concat();
        let mut value = HeaderValue::from_bytes(&bearer)
            .map_err(|_| "`token_file` holds characters that no token has".to_owned())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
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

/// The body of an answer while it comes.
struct Body {
    response: Response,
    reader: Reader,
    pieces: mpsc::Sender<Delta>,
    began: Instant,
    first: Option<Instant>,
    bytes: u64,
}

impl Body {
    fn new(response: Response, pieces: mpsc::Sender<Delta>, began: Instant) -> Self {
        Self { response, reader: Reader::default(), pieces, began, first: None, bytes: 0 }
    }

    fn served_by(&self) -> Option<&str> {
        self.response.headers().get(SERVED_BY)?.to_str().ok()
    }

    async fn read(&mut self, first: Duration, gap: Duration) -> Result<(), Fault> {
        let kind = self.response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("application/json")) {
            return self.read_whole(first).await;
        }
        let mut events = Events::default();
        loop {
            let patience = if self.bytes == 0 { first.saturating_sub(self.began.elapsed()) } else { gap };
            let Some(bytes) = self.portion(patience).await? else { break };
            let mut data = Vec::new();
            events
                .push(&bytes, |event| data.push(event.to_vec()))
                .map_err(|_| Fault::new(Class::Broken, "a line of the answer has no end"))?;
            for event in data {
                self.event(&event).await?;
            }
            if self.reader.is_done() {
                return Ok(());
            }
        }
        match events.finish() {
            Some(last) => self.event(last).await,
            None => Ok(()),
        }
    }

    /// A server that does not stream although it was asked to.
    async fn read_whole(&mut self, patience: Duration) -> Result<(), Fault> {
        let mut all = Vec::new();
        while let Some(bytes) = self.portion(patience).await? {
            all.extend_from_slice(&bytes);
        }
        let value: Value =
            serde_json::from_slice(&all).map_err(|_| Fault::new(Class::Broken, "the answer is not JSON"))?;
        if let Some(delta) = self.reader.chunk(&value)? {
            self.heard(delta).await;
        }
        Ok(())
    }

    async fn portion(&mut self, patience: Duration) -> Result<Option<Bytes>, Fault> {
        let bytes = match timeout(patience, self.response.chunk()).await {
            Ok(Ok(bytes)) => bytes,
            // A server may cut the connection behind the end of its answer.
            Ok(Err(_)) if self.reader.end().is_ok() => None,
            Ok(Err(error)) => {
                return Err(Fault::new(Class::Broken, format!("the answer broke off: {}", causes(&error))));
            }
            Err(_) => return Err(silent(patience, "the next piece of the answer")),
        };
        self.bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if self.bytes > limits::PROVIDER_ANSWER_BYTES_MAX as u64 {
            return Err(Fault::new(Class::Broken, "the answer has no end"));
        }
        Ok(bytes)
    }

    async fn event(&mut self, event: &[u8]) -> Result<(), Fault> {
        if let Some(delta) = self.reader.event(event)? {
            self.heard(delta).await;
        }
        Ok(())
    }

    async fn heard(&mut self, delta: Delta) {
        self.first.get_or_insert_with(Instant::now);
        // Whoever no longer listens ends the call by dropping it.
        let _ = self.pieces.send(delta).await;
    }

    fn served(self) -> Result<Served, Failed> {
        match self.reader.end() {
            Err(fault) => Err(self.failed(fault)),
            Ok(end) => {
                let first = self.first.unwrap_or_else(Instant::now);
                Ok(Served {
                    end,
                    answer_tokens: self.reader.tokens(),
                    first_token: first.duration_since(self.began),
                    rest: first.elapsed(),
                    bytes_in: self.bytes,
                })
            }
        }
    }

    fn failed(&self, fault: Fault) -> Failed {
        Failed { fault, billed: true, answer_tokens: self.reader.tokens(), bytes_in: self.bytes }
    }
}

/// Reads an answer that is no success.
async fn refused(response: Response, patience: Duration) -> Fault {
    let status = response.status();
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if status.is_redirection() {
        return Fault::new(
            Class::Refused,
            format!("{status}: it wants to be asked elsewhere, which is not done"),
        );
    }
    let reading = bounded(response, limits::PROVIDER_FAILURE_BYTES_MAX);
    let (body, _) = timeout(patience, reading).await.unwrap_or_default();
    Fault::of_answer(status.as_u16(), &body, retry_after.as_deref())
}

/// The body as far as it comes and as far as `max`; whether that is all of it.
async fn bounded(mut response: Response, max: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) if body.len() + bytes.len() <= max => body.extend_from_slice(&bytes),
            Ok(None) => return (body, true),
            Ok(Some(_)) | Err(_) => return (body, false),
        }
    }
}

fn silent(patience: Duration, what: &str) -> Fault {
    Fault::new(Class::TimedOut, format!("waited {:.0} s for {what}", patience.as_secs_f64()))
}

/// A request that got no answer: nobody is there, or he went away.
fn lost(error: &reqwest::Error) -> Fault {
    let class = if error.is_connect() || error.is_timeout() { Class::Unreachable } else { Class::Down };
    Fault::new(class, causes(error))
}

/// What went wrong down to its cause; addresses stay out of it, they are in the configuration.
fn causes(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words.push(inner.to_string());
        cause = inner.source();
    }
    // Each layer repeats the one below; the last two say it.
    let from = words.len().saturating_sub(2);
    if words.is_empty() { "no answer".into() } else { words[from..].join(": ") }
}
