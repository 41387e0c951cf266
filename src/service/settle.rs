//! The end of a request: its one final, in the form in which everybody gets it.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Progress, Reply, Service,
    keeper::Keep,
    live::{Final, Keeping, Live, Shown},
    reply::{Frame, error_body},
    shared::lock,
};
use crate::{
    domain::{Error, ErrorKind, Outcome, Result, Zone, limits},
    store::{NewMessage, Stored, UsageEntry},
};

impl Final {
    /// An answer; `whole` is all of it, `outcome` what a stream has not yet sent.
    pub(super) fn answer(frame: Frame, outcome: Outcome, whole: &Outcome) -> Self {
        let body = frame.completion(whole).to_string().into_bytes();
        Self { result: Ok(outcome), shown: Shown { status: 200, body }, frame: Some(frame), on_disk: false }
    }

    /// The final of an earlier run, for somebody who asked again.
    pub(super) fn kept_before(live: &Live, stored: &Stored) -> Self {
        let lost = || Self::refusal(live, Error::internal("a request is on disk that nobody runs"));
        let Some(ending) = &stored.finished else { return lost() };
        Self { shown: ending.clone().into(), on_disk: true, ..lost() }
    }

    /// No answer, and why.
    pub(super) fn refusal(live: &Live, error: Error) -> Self {
        let body = error_body(&error, Some(&live.key().id)).to_string().into_bytes();
        Self {
            shown: Shown { status: error.kind.status(), body },
            result: Err(error),
            frame: None,
            on_disk: false,
        }
    }
}

impl Service {
    /// Ends a request with an error. False when it has its final already, or that is on its way.
    pub(super) fn settle(&self, live: &Arc<Live>, error: Result<Outcome>, frame: Option<Frame>) -> bool {
        let ending = match (error, frame) {
            (Ok(outcome), Some(frame)) => {
                let whole = outcome.clone();
                Final::answer(frame, outcome, &whole)
            }
            (Ok(_), None) => Final::refusal(live, Error::internal("an answer without a frame")),
            (Err(error), _) => Final::refusal(live, error),
        };
        self.settle_with(live, ending, None)
    }

    /// Ends a request. False when it has its final already, or that is on its way. `payload`: what
    /// a task publishes of it.
    pub(super) fn settle_with(&self, live: &Arc<Live>, ending: Final, payload: Option<Vec<u8>>) -> bool {
        if !live.claim_final() {
            return false;
        }
        self.write_final(live, ending, payload);
        true
    }

    fn write_final(&self, live: &Arc<Live>, ending: Final, payload: Option<Vec<u8>>) {
        let (ending, payload) = within_bounds(live, ending, payload);
        let keep = match &live.keeping {
            Keeping::Passing => false,
            // A failure may go away with the next try, and the next try is the caller's right.
            Keeping::Keyed => ending.result.is_ok(),
            Keeping::Durable(_) => true,
        };
        if !keep {
            return self.ended(live, ending);
        }
        let message = self.message(live, &ending, payload);
        match self.finish_of(live, &ending, message) {
            Ok(finish) => {
                let order = Keep::Final { live: Arc::clone(live), ending, finish: Box::new(finish) };
                if self.shared.keeper.try_send(order).is_err() {
                    // There is room for every live request; a closed channel means that the daemon is
                    // at its end, and what is on disk is answered by the next one.
                    self.shelve(live);
                }
            }
            Err(error) => self.ended(live, Final::refusal(live, error)),
        }
    }

    /// What goes to the outbox with the final.
    fn message(&self, live: &Live, ending: &Final, payload: Option<Vec<u8>>) -> Option<NewMessage> {
        let Keeping::Durable(reply) = &live.keeping else { return None };
        match reply {
            Reply::Kept => None,
            Reply::Topic(to) => Some(NewMessage {
                topic: to.topic.clone(),
                payload: None,
                properties: to.properties.clone(),
                retain: false,
                expires: None,
            }),
            Reply::Task(to) => Some(self.task_message(live, to, ending, payload)),
        }
    }

    /// Makes the final known. Nothing of it is shown before: what is kept is on disk by now.
    pub(super) fn ended(&self, live: &Arc<Live>, ending: Final) {
        let s = &self.shared;
        if let Ok(outcome) = &ending.result {
            s.answered(outcome.usage.completion_tokens);
            if let Some(usage) = usage(&ending, outcome).filter(|_| !ending.on_disk) {
                s.tally.add(&live.key().client, usage);
            }
            log_answer(live, outcome);
        } else if let Err(error) = &ending.result {
            tracing::info!(id = %live.key().id, client = %live.key().client, %error, "ended without an answer");
        }
        // A caller that went away before anybody said so is counted as what it is.
        s.metrics.ended(&ending.result);
        s.lives.remove(live.key());
        lock(&live.deltas).take();
        live.progress.send_replace(Progress::Ended(Arc::new(ending)));
        s.one_ended.notify_waiters();
    }

    /// Ends a request that does not run to its end; what is accepted outlives the end of the daemon.
    pub(super) fn dismiss(&self, live: &Arc<Live>, error: Error) {
        if error.kind == ErrorKind::Draining && live.is_durable() {
            self.shelve(live);
        } else {
            self.settle(live, Err(error), None);
        }
    }

    /// Leaves a request on disk for the next run of the daemon; who waits for it here hears so.
    pub(super) fn shelve(&self, live: &Arc<Live>) {
        if live.claim_spare() {
            // An orderly end is no death of the daemon.
            self.shared.store.note_spared(live.key().clone());
        }
        self.shared.lives.remove(live.key());
        lock(&live.deltas).take();
        let error = Error::new(
            ErrorKind::Draining,
            "Outpost is stopping; it answers this request when it runs again",
        );
        live.progress.send_replace(Progress::Ended(Arc::new(Final::refusal(live, error))));
        self.shared.one_ended.notify_waiters();
    }

    /// Takes a request out of where it waits; false when it does not wait.
    pub(super) fn take_from_queue(&self, live: &Live) -> bool {
        let place = lock(&live.away).place.take();
        if let Some(place) = place {
            self.shared.queue().release(place);
            return true;
        }
        let Some(ticket) = lock(&live.ticket).take() else { return false };
        self.shared.queue().remove(ticket).is_some()
    }

    /// One caller of a synchronous request is gone.
    pub(super) fn leave(&self, live: &Arc<Live>) {
        if live.callers.fetch_sub(1, Ordering::AcqRel) != 1 || live.is_durable() {
            return;
        }
        self.end_early(live, Error::new(ErrorKind::Cancelled, "the caller is gone"));
    }

    /// Ends a request wherever it is; the engine drops it within a step, nobody waits for that.
    /// False when another final comes first.
    pub(super) fn end_early(&self, live: &Arc<Live>, error: Error) -> bool {
        live.stop(crate::engine::Cancel::Caller);
        if matches!(*live.progress.borrow(), Progress::Arriving) {
            // Its final cannot be written before it is; the keeper looks at the flag.
            return true;
        }
        self.take_from_queue(live);
        self.settle(live, Err(error), None)
    }
}

/// A final that is accepted on any transport must fit into one message of any broker.
fn within_bounds(live: &Live, ending: Final, payload: Option<Vec<u8>>) -> (Final, Option<Vec<u8>>) {
    let bytes = payload.as_ref().map_or(0, Vec::len).max(ending.shown.body.len());
    if !live.is_durable() || bytes <= limits::RESPONSE_BYTES_MAX {
        return (ending, payload);
    }
    let why = format!(
        "the answer has {bytes} bytes, at most {} are kept; ask for fewer tokens or without `logprobs`",
        limits::RESPONSE_BYTES_MAX
    );
    (Final::refusal(live, Error::new(ErrorKind::TooLarge, why)), None)
}

fn log_answer(live: &Live, done: &Outcome) {
    tracing::info!(
        id = %live.key().id,
        client = %live.key().client,
        prompt_tokens = done.usage.prompt_tokens,
        completion_tokens = done.usage.completion_tokens,
        first_token_ms = done.time_to_first_token.as_millis() as u64,
        decode_ms = done.decode_time.as_millis() as u64,
        finish = done.finish.name(),
        "answered"
    );
}

/// One line of the ledger; `None` for what was booked call by call.
pub(super) fn usage(ending: &Final, outcome: &Outcome) -> Option<UsageEntry> {
    let at_home = ending.frame.as_ref().is_none_or(|frame| frame.zone == Zone::Device);
    at_home.then(|| UsageEntry {
        zone: Zone::Device.name().into(),
        provider: String::new(),
        model: ending.frame.as_ref().map(|f| f.model.clone()).unwrap_or_default(),
        prompt_tokens: outcome.usage.prompt_tokens as u64,
        completion_tokens: outcome.usage.completion_tokens as u64,
        bytes_out: 0,
        cost_micro_usd: 0,
    })
}
