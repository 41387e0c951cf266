//! The caller's end of one request. Dropping it cancels the request within one step.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{reply::Frame, shared::Shared};
use crate::{
    domain::{ClientId, Deadline, Delta, Error, ErrorKind, Outcome, Result},
    engine::{Cancel, CancelFlag, Job},
    scheduler::Ticket,
};

/// An accepted request on its way to its final.
pub struct Answer {
    /// What every part of the answer repeats.
    pub frame: Frame,
    deltas: Option<mpsc::Receiver<Delta>>,
    done: oneshot::Receiver<Result<Outcome>>,
    deadline: Option<Deadline>,
    hold: Hold,
}

/// The request's place in the service; leaving it is what cancels.
pub(super) struct Hold {
    pub(super) shared: Arc<Shared>,
    pub(super) client: ClientId,
    pub(super) number: u64,
    pub(super) ticket: Ticket,
    pub(super) cancel: CancelFlag,
    pub(super) ended: bool,
}

impl Answer {
    pub(super) fn new(
        frame: Frame,
        deltas: Option<mpsc::Receiver<Delta>>,
        done: oneshot::Receiver<Result<Outcome>>,
        deadline: Option<Deadline>,
        hold: Hold,
    ) -> Self {
        Self { frame, deltas, done, deadline, hold }
    }

    /// The next piece, in order; `None` when only the end is left. For requests without
    /// streaming that is at once.
    pub async fn next(&mut self) -> Result<Option<Delta>> {
        let left = self.time_left()?;
        let Some(deltas) = &mut self.deltas else { return Ok(None) };
        match tokio::time::timeout(left, deltas.recv()).await {
            Ok(delta) => Ok(delta),
            Err(_) => Err(self.expire()),
        }
    }

    /// Waits for the end.
    pub async fn finish(&mut self) -> Result<Outcome> {
        let left = self.time_left()?;
        let outcome = match tokio::time::timeout(left, &mut self.done).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::internal("the engine died while it wrote this answer")),
            Err(_) => return Err(self.expire()),
        };
        self.hold.ended = true;
        self.hold.shared.metrics.ended(&outcome);
        if let Ok(done) = &outcome {
            tracing::info!(
                id = %self.frame.id,
                client = %self.hold.client,
                prompt_tokens = done.usage.prompt_tokens,
                completion_tokens = done.usage.completion_tokens,
                first_token_ms = done.time_to_first_token.as_millis() as u64,
                decode_ms = done.decode_time.as_millis() as u64,
                finish = done.finish.name(),
                "answered"
            );
        }
        outcome
    }

    /// Time until the deadline; without one, longer than any request can take.
    fn time_left(&mut self) -> Result<Duration> {
        let Some(deadline) = self.deadline else { return Ok(crate::domain::limits::DEADLINE_MAX) };
        deadline.remaining(self.hold.shared.clock.boot()).ok_or_else(|| self.expire())
    }

    fn expire(&mut self) -> Error {
        let error =
            Error::new(ErrorKind::DeadlineExceeded, "the deadline passed before the answer was complete");
        self.hold.ended = true;
        self.hold.cancel.cancel(Cancel::Caller);
        self.hold.shared.metrics.ended(&Err(error.clone()));
        error
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.cancel.cancel(Cancel::Caller);
        let waiting = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).remove(self.ticket);
        drop::<Option<Job>>(waiting);
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        self.shared.one_ended.notify_waiters();
        if !self.ended {
            self.shared.metrics.ended(&Err(Error::new(ErrorKind::Cancelled, "the caller is gone")));
        }
    }
}
