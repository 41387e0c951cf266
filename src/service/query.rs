//! What one may ask about a request later: where it is, what its final was, to end it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Progress, Service, Shown};
use crate::{
    domain::{Error, ErrorKind, Lane, Result},
    engine::EngineState,
    observe::Metrics,
    store::{RequestKey, Stored},
};

/// A request that was asked about.
pub enum Known {
    /// It has no final yet; the document says where it is.
    Waiting(Value),
    /// Its final.
    Done(Shown),
}

impl Service {
    /// Where a request is, or its final.
    pub async fn look_up(&self, key: &RequestKey) -> Result<Known> {
        if let Some(document) = self.describe(key) {
            return Ok(Known::Waiting(document));
        }
        match self.shared.store.find(key.client.clone(), key.id.clone()).await? {
            Some(Stored { finished: Some(ending), .. }) => Ok(Known::Done(ending.into())),
            // Left on disk for the next run of the daemon.
            Some(stored) => Ok(Known::Waiting(json!({
                "id": key.id.as_str(),
                "object": "request",
                "state": Progress::Queued.name(),
                "lane": stored.lane.name(),
            }))),
            None => Err(unknown(key)),
        }
    }

    /// The document of a request without a final.
    pub fn describe(&self, key: &RequestKey) -> Option<Value> {
        let live = self.shared.lives.get(key)?;
        let (position, eta) = self.outlook(&live);
        let state = live.progress.borrow().name();
        let ms = |d: Duration| d.as_millis() as u64;
        let now = self.shared.clock.boot();
        let queued = matches!(*live.progress.borrow(), Progress::Queued);
        Some(json!({
            "id": key.id.as_str(),
            "object": "request",
            "state": state,
            "lane": live.request.lane.name(),
            "position": queued.then_some(position),
            "eta_ms": eta.map(ms),
            "age_ms": ms(now.since(live.accepted)),
            "deadline_ms": live.deadline.map(|d| d.remaining(now).map_or(0, ms)),
        }))
    }

    /// Ends a request. Ending what has its final is no mistake and changes nothing.
    pub async fn cancel(&self, key: &RequestKey) -> Result<&'static str> {
        if let Some(live) = self.shared.lives.get(key) {
            return Ok(if self.cancel_live(&live) { "cancelled" } else { "finished" });
        }
        match self.shared.store.find(key.client.clone(), key.id.clone()).await? {
            Some(stored) => {
                let unfinished = stored.finished.is_none();
                Ok(if unfinished && self.cancel_shelved(stored) { "cancelled" } else { "finished" })
            }
            None => Err(unknown(key)),
        }
    }

    /// Admitted requests that have no final.
    pub fn in_flight(&self) -> usize {
        self.shared.lives.len()
    }

    /// Requests that wait for a slot, by lane.
    pub fn depths(&self) -> [(Lane, usize); 3] {
        let queue = self.shared.queue();
        Lane::ALL.map(|lane| (lane, queue.depth(lane)))
    }

    /// Places that are free in the queue.
    pub fn free_places(&self) -> usize {
        self.shared.queue().free()
    }

    /// Whether intake is closed.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Where the engine is in its life.
    pub fn engine_state(&self) -> EngineState {
        self.shared.engine.borrow().clone()
    }

    /// What holds when a request does not say.
    pub fn defaults(&self) -> super::Defaults {
        self.shared.defaults
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The client that a local process is.
    pub fn client_of_uid(&self, uid: u32) -> crate::domain::ClientId {
        self.shared.clients.of_uid(uid)
    }

    /// The durable memory: the outbox is the transport's to empty.
    pub fn store(&self) -> &crate::store::Store {
        &self.shared.store
    }

    /// Waits until something new is in the outbox.
    pub async fn outbox_changed(&self) {
        self.shared.outbox.notified().await;
    }

    /// What sensors may ask.
    pub fn tasks(&self) -> &crate::task::Tasks {
        &self.shared.tasks
    }
}

fn unknown(key: &RequestKey) -> Error {
    let why = format!("there is no request `{}` of yours; finals are kept for a limited time", key.id);
    Error::new(ErrorKind::RequestNotFound, why)
}
