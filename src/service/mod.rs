//! The one door: every request, whatever its transport, comes in through [`Service::submit`].
//!
//! ```text
//! body → Request → admit → queue → dispatch → engine → Answer → transport
//! ```
//! Promises: what is refused is refused before it takes room; what is admitted ends with
//! exactly one outcome; a caller that goes away frees its place within one engine step.

mod answer;
mod body;
pub mod reply;
mod request;
pub mod status;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use answer::Answer;
use reply::{Frame, Kind};
pub use request::{Envelope, Input, Request};

use crate::{
    domain::{Clock, Deadline, Error, ErrorKind, Lane, Result, limits},
    engine::{Cancel, CancelFlag, Command, EngineState, Job, Model},
    observe::Metrics,
    scheduler::{FairQueue, Full},
};

/// Handle of the service; clones are the same service.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    engine: watch::Receiver<EngineState>,
    /// Held for moments only, never across an await.
    queue: Mutex<FairQueue<Job>>,
    queued: Notify,
    /// Every admitted request that has not ended; the flag reaches it wherever it is.
    running: Mutex<HashMap<u64, CancelFlag>>,
    one_ended: Notify,
    next_number: AtomicU64,
    draining: AtomicBool,
    answer_tokens: usize,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Service {
    /// `answer_tokens`: length of an answer when the request does not say.
    pub fn new(
        engine: watch::Receiver<EngineState>,
        answer_tokens: usize,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine,
                queue: Mutex::default(),
                queued: Notify::new(),
                running: Mutex::default(),
                one_ended: Notify::new(),
                next_number: AtomicU64::new(0),
                draining: AtomicBool::new(false),
                answer_tokens,
                metrics,
                clock,
            }),
        }
    }

    /// Admits a request, or says at once why not.
    pub fn submit(&self, request: Request) -> Result<Answer> {
        let outcome = self.admit(request);
        if let Err(error) = &outcome {
            self.shared.metrics.refused(error.kind);
        }
        outcome
    }

    fn admit(&self, request: Request) -> Result<Answer> {
        let s = &self.shared;
        if s.draining.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Draining, "Outpost is stopping; send the request again later")
                .with_retry_after(Duration::from_secs(5)));
        }
        let deadline = request.deadline.map(|budget| Deadline::after(s.clock.boot(), budget));
        let model = self.model()?;
        if let Some(wanted) = request.model.as_deref().filter(|m| *m != model.manifest.name) {
            let why =
                format!("model `{wanted}` is not loaded here; ask for `{}` or `auto`", model.manifest.name);
            return Err(Error { param: Some("model".into()), ..Error::new(ErrorKind::ModelNotFound, why) });
        }
        let prompt = self.encode(&request, &model)?;
        check_bias(&request, &model)?;
        self.enqueue(request, &model, prompt, deadline)
    }

    /// The model, or why there is none.
    pub fn model(&self) -> Result<Arc<Model>> {
        match &*self.shared.engine.borrow() {
            EngineState::Ready(model) => Ok(Arc::clone(model)),
            EngineState::Loading(stage) => {
                Err(Error::new(ErrorKind::ModelLoading, format!("the model is not ready yet: {stage}"))
                    .with_retry_after(Duration::from_secs(1)))
            }
            EngineState::Absent => {
                let why = "no model is configured; set `model.package` to the directory of a model package";
                Err(Error::new(ErrorKind::ModelNotFound, why))
            }
            EngineState::Failed(reason) => Err(Error::new(
                ErrorKind::ModelLoading,
                "the model could not be loaded; `outpost status` says why",
            )
            .with_detail(reason)
            .with_retry_after(Duration::from_secs(30))),
        }
    }

    fn encode(&self, request: &Request, model: &Model) -> Result<Vec<u32>> {
        let mut prompt = match &request.input {
            Input::Chat(messages) => {
                let template = model.template.as_ref().ok_or_else(|| {
                    Error::invalid("messages", "this model has no chat template; use /v1/completions")
                })?;
                let rendered = template.render(messages, None, true, self.shared.clock.wall())?;
                model.tokenizer.encode_prompt(&rendered)?
            }
            Input::Text(text) => model.tokenizer.encode_text(text)?,
            Input::Tokens(ids) => {
                if let Some(id) = ids.iter().find(|id| **id as usize >= model.manifest.vocabulary) {
                    return Err(Error::invalid("prompt", format!("{id} is not a token of this model")));
                }
                ids.clone()
            }
        };
        if prompt.is_empty() {
            // A model needs one token to go on from: the one that begins a text.
            prompt.extend(model.manifest.bos.or(model.manifest.eos.first().copied()));
        }
        Ok(prompt)
    }

    fn enqueue(
        &self,
        request: Request,
        model: &Model,
        prompt: Vec<u32>,
        deadline: Option<Deadline>,
    ) -> Result<Answer> {
        let s = &self.shared;
        let room = model.context.saturating_sub(prompt.len());
        if room == 0 || prompt.is_empty() {
            let (tokens, context) = (prompt.len(), model.context);
            let why = format!(
                "the prompt has {tokens} tokens, the context holds {context} with the answer; shorten it"
            );
            let field = if matches!(request.input, Input::Chat(_)) { "messages" } else { "prompt" };
            return Err(Error {
                param: Some(field.into()),
                ..Error::new(ErrorKind::ContextLengthExceeded, why)
            });
        }
        let mut options = request.options;
        options.tokens_max = Some(options.tokens_max.unwrap_or(s.answer_tokens).min(room));
        let cost = (prompt.len() + options.tokens_max.unwrap_or(room)) as u64;

        let cancel = CancelFlag::default();
        let (done, done_receiver) = oneshot::channel();
        let (deltas, delta_receiver) = if request.stream {
            let (sender, receiver) = mpsc::channel(limits::DELTAS_IN_FLIGHT_MAX);
            (Some(sender), Some(receiver))
        } else {
            (None, None)
        };
        let job = Job { prompt, options, cancel: cancel.clone(), deltas, done };
        let pushed = s.queue.lock().unwrap_or_else(PoisonError::into_inner).push(
            &request.client,
            request.lane,
            cost,
            job,
        );
        let ticket = pushed.map_err(|full| queue_full(full))?;
        let number = s.next_number.fetch_add(1, Ordering::Relaxed);
        s.running.lock().unwrap_or_else(PoisonError::into_inner).insert(number, cancel.clone());
        s.queued.notify_one();

        let frame = Frame {
            id: request.id,
            created: s.clock.wall(),
            model: model.manifest.name.clone(),
            fingerprint: model.fingerprint(),
            kind: if matches!(request.input, Input::Chat(_)) { Kind::Chat } else { Kind::Text },
        };
        let channels = (delta_receiver, done_receiver);
        Ok(Answer::new(Arc::clone(s), frame, (number, ticket), cancel, channels, deadline))
    }

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

    /// Admitted requests that have not ended.
    pub fn in_flight(&self) -> usize {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Requests that wait for a slot, by lane.
    pub fn depths(&self) -> [(Lane, usize); 3] {
        let queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        Lane::ALL.map(|lane| (lane, queue.depth(lane)))
    }

    /// Whether intake is closed.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Where the engine is in its life.
    pub fn engine_state(&self) -> EngineState {
        self.shared.engine.borrow().clone()
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }
}

fn queue_full(full: Full) -> Error {
    let why = match full {
        Full::Queue => "too many requests are waiting; try again later",
        Full::Client => "too many requests of this client are waiting; wait for some to end",
    };
    Error::new(ErrorKind::QueueFull, why).with_retry_after(Duration::from_secs(1))
}

fn check_bias(request: &Request, model: &Model) -> Result<()> {
    let beyond =
        request.options.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= model.manifest.vocabulary);
    match beyond {
        Some((id, _)) => {
            Err(Error::invalid(format!("logit_bias.{id}"), format!("{id} is not a token of this model")))
        }
        None => Ok(()),
    }
}
