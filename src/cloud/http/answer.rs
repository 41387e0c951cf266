//! The body of an answer while it comes.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{causes, silent};
use crate::{
    cloud::{
        carrier::{Failed, Served},
        fault::{Class, Fault},
        reply::Reader,
        sse::Events,
    },
    domain::{Delta, limits},
};

/// Who answered.
const SERVED_BY: &str = "x-inference-provider";

/// An answer with 200 at its head.
pub(super) struct Answer {
    response: Response,
    reader: Reader,
    pieces: mpsc::Sender<Delta>,
    began: Instant,
    first: Option<Instant>,
    bytes: u64,
}

impl Answer {
    pub(super) fn new(response: Response, pieces: mpsc::Sender<Delta>, began: Instant) -> Self {
        Self { response, reader: Reader::default(), pieces, began, first: None, bytes: 0 }
    }

    pub(super) fn served_by(&self) -> Option<&str> {
        self.response.headers().get(SERVED_BY)?.to_str().ok()
    }

    pub(super) async fn read(&mut self, first: Duration, gap: Duration) -> Result<(), Fault> {
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

    pub(super) fn served(self) -> Result<Served, Failed> {
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

    pub(super) fn failed(&self, fault: Fault) -> Failed {
        Failed { fault, billed: true, answer_tokens: self.reader.tokens(), bytes_in: self.bytes }
    }
}
