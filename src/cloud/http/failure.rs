//! Answers that are none, and calls that got none.

use std::time::Duration;

use reqwest::{Response, header::RETRY_AFTER};
use tokio::time::timeout;

use crate::{
    cloud::fault::{Class, Fault},
    domain::limits,
};

/// Reads an answer that is no success.
pub(super) async fn refused(response: Response, patience: Duration) -> Fault {
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
pub(super) async fn bounded(mut response: Response, max: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) if body.len() + bytes.len() <= max => body.extend_from_slice(&bytes),
            Ok(None) => return (body, true),
            Ok(Some(_)) | Err(_) => return (body, false),
        }
    }
}

pub(super) fn silent(patience: Duration, what: &str) -> Fault {
    Fault::new(Class::TimedOut, format!("waited {:.0} s for {what}", patience.as_secs_f64()))
}

/// A request that got no answer: nobody is there, or he went away.
pub(super) fn lost(error: &reqwest::Error) -> Fault {
    let class = if error.is_connect() || error.is_timeout() { Class::Unreachable } else { Class::Down };
    Fault::new(class, causes(error))
}

/// What went wrong down to its cause; addresses stay out of it, they are in the configuration.
pub fn causes(error: &reqwest::Error) -> String {
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
