//! What sensors send: from a reading to a request, and from an answer to a result.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    Envelope, Own, Receipt, Reply, Request, Service, TaskReply,
    live::{Final, Live},
    reply::Frame,
    shared::lock,
};
use crate::{
    domain::{BootTime, Error, ErrorKind, Lane, Outcome, RequestId, Result, limits},
    store::{Digest, NewMessage, RequestKey},
    task::{Decision, Rendered, Task, TaskError},
};

/// A message on a topic that tasks listen to.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Where it came.
    pub topic: &'a str,
    /// What it says.
    pub payload: &'a [u8],
    /// The broker says that it may have sent it before.
    pub again: bool,
    /// The broker kept it from before we listened.
    pub retained: bool,
}

impl Service {
    /// Takes a reading to every task that listens to its topic. An error means that it is
    /// not certain to be kept: the broker is to send it again. A reading that comes too soon
    /// (`every_ms`) is held in memory until a newer one takes its place or its time comes: an
    /// orderly end of the daemon runs it, a power cut loses it. What is returned is to be published
    /// before the reading is acknowledged: why no request was made of it, which the store has no room for.
    pub async fn reading(&self, reading: Reading<'_>) -> Result<Option<Box<NewMessage>>> {
        let s = &self.shared;
        if s.readings_closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Draining, "Outpost is stopping; the broker keeps the reading"));
        }
        let mut unkept = None;
        let tasks: Vec<Arc<Task>> = s.tasks.matching(reading.topic).cloned().collect();
        for task in tasks {
            if reading.retained && !task.options().accept_retained {
                s.metrics.reading_skipped("retained");
                continue;
            }
            if reading.again
                && self.was_taken_in(&task, reading_digest(reading.topic, reading.payload)).await?
            {
                s.metrics.duplicate();
                continue;
            }
            let decision = {
                let mut gate = lock(&s.gate);
                let decision = gate.decide(&task, reading.topic, reading.payload, s.clock.boot());
                if let Decision::Later { at } = decision {
                    gate.hold(&task, reading.topic, reading.payload, at);
                }
                decision
            };
            match decision {
                Decision::Run => {
                    let words = self.run_task(&task, reading.topic, reading.payload).await?;
                    unkept = words.map(Box::new).or(unkept);
                }
                Decision::Later { .. } => s.held.notify_one(),
                Decision::Skip(why) => {
                    s.metrics.reading_skipped(why.name());
                }
            }
        }
        Ok(unkept)
    }

    /// Runs readings that were held back, when their time comes.
    pub async fn release_readings(self) {
        let s = &self.shared;
        loop {
            let held = s.held.notified();
            self.release_until(s.clock.boot()).await;
            let next = lock(&s.gate).next_due().map(|at| at.since(s.clock.boot()));
            tokio::select! {
                biased;
                () = held => {}
                () = tokio::time::sleep(next.unwrap_or(limits::EXPIRY_SWEEP).max(Duration::from_millis(1))) => {}
            }
        }
    }

    /// Takes no more readings, and runs those that are held: they would be gone with the daemon.
    pub(super) async fn close_readings(&self) {
        self.shared.readings_closed.store(true, Ordering::Release);
        self.release_until(self.shared.clock.boot().after(limits::TASK_EVERY_MAX)).await;
    }

    /// Runs the readings that are held until `moment` at most.
    async fn release_until(&self, moment: BootTime) {
        let due = lock(&self.shared.gate).due(moment);
        for reading in due {
            let task = reading.task;
            if let Err(error) = self.run_task(&task, &reading.topic, &reading.payload).await {
                tracing::warn!(task = task.name(), topic = reading.topic, %error, "a reading was not taken in");
            }
        }
    }

    async fn run_task(&self, task: &Arc<Task>, topic: &str, payload: &[u8]) -> Result<Option<NewMessage>> {
        let done = self.try_run_task(task, topic, payload).await;
        // It is sent again: it must not be taken for one that was run.
        done.inspect_err(|_| lock(&self.shared.gate).forget(task, topic))
    }

    /// Makes a request of a reading, or puts the reason into the outbox; that reason when the store
    /// has no room for it.
    async fn try_run_task(
        &self,
        task: &Arc<Task>,
        topic: &str,
        payload: &[u8],
    ) -> Result<Option<NewMessage>> {
        let digest = reading_digest(topic, payload);
        let refused = match task.render(topic, payload) {
            Ok(rendered) => {
                let to = task_reply(task, topic, &rendered);
                match self.task_request(task, rendered, digest) {
                    Ok(request) => match self.accept(request, Reply::Task(to)).await {
                        Ok(Receipt::Accepted(_) | Receipt::Known(_) | Receipt::Done(_)) => return Ok(None),
                        Ok(Receipt::Uncertain(error)) => return Err(error),
                        Err(error) if error.kind == ErrorKind::Draining => return Err(error),
                        Err(error) => error,
                    },
                    Err(error) => error,
                }
            }
            Err(error) => {
                self.shared.metrics.refused(error.kind());
                Error::from(&error)
            }
        };
        tracing::info!(task = task.name(), topic, error = %refused, "no request was made of this reading");
        // The next one like it is not to be taken for one that was answered.
        lock(&self.shared.gate).forget(task, topic);
        let payload = task.error_payload(topic, &refused, None, None);
        let message = message(task.error_topic(topic), payload.to_string().into_bytes(), false);
        match self.shared.store.publish(message.clone()).await {
            Ok(_) => self.shared.outbox.notify_one(),
            Err(error) => {
                tracing::warn!(task = task.name(), %error, "the reason cannot be kept");
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Whether this very reading became a request before its PUBACK was lost.
    async fn was_taken_in(&self, task: &Task, digest: Digest) -> Result<bool> {
        let found = self.shared.store.find_by_digest(task.client(), digest).await?;
        let now = self.shared.clock.stamp();
        Ok(found.is_some_and(|stored| stored.accepted.elapsed(&now) < limits::READING_AGAIN))
    }

    fn task_request(&self, task: &Task, rendered: Rendered, digest: Digest) -> Result<Request> {
        let own = Own {
            lane: Some(rendered.lane),
            deadline_ms: rendered.deadline.map(|d| d.as_millis() as u64),
            data_class: task.options().data_class.clone(),
            supersedes: rendered.supersedes,
            ..Own::default()
        };
        let key = RequestKey { client: task.client(), id: RequestId::generate() };
        let defaults = self.shared.defaults;
        let envelope = Envelope { client: key.client.clone(), uid: None, own, lane: Lane::Normal, defaults };
        let request = Request::chat(rendered.body.to_string().into(), envelope)?;
        // The digest is of the reading: the prompt may be the same for different readings.
        Ok(Request { digest, ..request })
    }

    /// An answer for a task: held against its schema, asked for once more if it fails.
    pub(super) fn conclude_task(&self, live: &Arc<Live>, to: &TaskReply, frame: Frame, whole: Outcome) {
        let Some(task) = self.shared.tasks.get(&to.task).cloned() else {
            let why = format!("task `{}` is no longer configured", to.task);
            self.settle(live, Err(Error::new(ErrorKind::Cancelled, why)), None);
            return;
        };
        match task.check(&whole.rest.text) {
            Ok(value) => {
                let payload = task.result_payload(&value);
                self.settle_with(live, Final::answer(frame, whole.clone(), &whole), Some(payload));
            }
            Err(error) => {
                tracing::info!(task = task.name(), id = %live.key().id, error = error.reason(), "the answer fails its schema");
                if task.options().retries > 0 && self.ask_once_more(live, &task, &whole, &error) {
                    return;
                }
                let error = Error::from(&error);
                let payload =
                    task.error_payload(&to.source, &error, Some(&live.key().id), Some(&whole.rest.text));
                self.settle_with(live, Final::refusal(live, error), Some(payload.to_string().into_bytes()));
            }
        }
    }

    /// Puts the request into the queue again, with what was wrong. False when it was asked twice already.
    fn ask_once_more(&self, live: &Arc<Live>, task: &Task, whole: &Outcome, error: &TaskError) -> bool {
        let Ok(body) = serde_json::from_slice::<Value>(&live.request.body) else { return false };
        let body = task.retry_body(&body, &whole.rest.text, error);
        let envelope = Envelope {
            client: live.key().client.clone(),
            uid: live.request.uid,
            own: live.request.own.clone(),
            lane: live.request.lane,
            defaults: self.shared.defaults,
        };
        match Request::chat(body.to_string().into(), envelope) {
            Ok(second) => {
                let first_time = live.ask_again(second.input, second.body);
                if first_time {
                    self.requeue(live);
                }
                first_time
            }
            Err(_) => false,
        }
    }

    /// What a task publishes at the end of its request.
    pub(super) fn task_message(
        &self,
        live: &Live,
        to: &TaskReply,
        ending: &Final,
        payload: Option<Vec<u8>>,
    ) -> NewMessage {
        let Err(error) = &ending.result else {
            return message(to.result.clone(), payload.unwrap_or_default(), to.retain);
        };
        let payload = payload.unwrap_or_else(|| {
            let id = Some(&live.key().id);
            let task = self.shared.tasks.get(&to.task);
            let document = task
                .map_or_else(|| error.to_json(id), |task| task.error_payload(&to.source, error, id, None));
            document.to_string().into_bytes()
        });
        message(to.error.clone(), payload, false)
    }
}

fn task_reply(task: &Task, topic: &str, rendered: &Rendered) -> TaskReply {
    TaskReply {
        task: task.name().to_owned(),
        source: topic.to_owned(),
        result: rendered.result_topic.clone(),
        error: rendered.error_topic.clone(),
        retain: task.options().result_retained,
    }
}

fn message(topic: String, payload: Vec<u8>, retain: bool) -> NewMessage {
    NewMessage { topic, payload: Some(payload), properties: Vec::new(), retain, expires: None }
}

fn reading_digest(topic: &str, payload: &[u8]) -> Digest {
    let hash = Sha256::new().chain_update(topic).chain_update([0]).chain_update(payload);
    Digest(hash.finalize().into())
}
