//! The queue's way to the engine, and the end of the daemon's day.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::sync::mpsc;

use super::Service;
use crate::{
    domain::limits,
    engine::{Cancel, Command},
};

impl Service {
    /// Hands queued jobs to the engine, one at a time, in the order of the queue. Ends with the engine.
    pub async fn dispatch(self, commands: mpsc::Sender<Command>) {
        while let Ok(place) = commands.reserve().await {
            let job = loop {
                let queued = self.shared.queued.notified();
                let next = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                match next {
                    Some(job) => break job,
                    None => queued.await,
                }
            };
            place.send(Command::Run(Box::new(job)));
        }
    }

    /// Stops intake, gives what runs `grace` to finish, then ends it with `draining`.
    pub async fn drain(&self, grace: Duration) {
        let s = &self.shared;
        s.draining.store(true, Ordering::Relaxed);
        let waiting = s.queue.lock().unwrap_or_else(PoisonError::into_inner).drain();
        for job in waiting {
            job.cancel.cancel(Cancel::Drain);
            if let Some(error) = job.cancel.error() {
                let _ = job.done.send(Err(error));
            }
        }
        if tokio::time::timeout(grace, self.idle()).await.is_err() {
            for flag in s.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
                flag.cancel(Cancel::Drain);
            }
            // One step of the engine and one write to a socket; no answer is worth more.
            let _ = tokio::time::timeout(limits::DRAIN_DELIVERY, self.idle()).await;
        }
    }

    /// Waits until no admitted request is left.
    async fn idle(&self) {
        loop {
            let ended = self.shared.one_ended.notified();
            tokio::pin!(ended);
            // Registered before the look, so that an end in between is not missed.
            ended.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }
}
