//! Intake: from a well-formed request to a place in the queue, or to the reason why not.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Answer, Defaults, Input, Request,
    answer::Hold,
    reply::{Frame, Kind},
    shared::Shared,
};
use crate::{
    domain::{Clock, Deadline, Error, ErrorKind, Lane, Result, limits},
    engine::{CancelFlag, EngineState, Job, Model},
    observe::Metrics,
    scheduler::Full,
};

/// Handle of the service; clones are the same service.
#[derive(Clone)]
pub struct Service {
    pub(super) shared: Arc<Shared>,
}

impl Service {
    /// `defaults`: what holds when a request does not say.
    pub fn new(
        engine: watch::Receiver<EngineState>,
        defaults: Defaults,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(engine, defaults, metrics, clock)) }
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
                let rendered = model.template.render(messages, None, true, self.shared.clock.wall())?;
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
        let mut options = request.options;
        let answer_tokens = model
            .answer_room(prompt.len(), options.tokens_max)
            .map_err(|e| Error { param: Some(request.input.field().into()), ..e })?;
        options.tokens_max = answer_tokens;
        let cost = (prompt.len() + answer_tokens) as u64;

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
        let ticket = pushed.map_err(queue_full)?;
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
        let hold =
            Hold { shared: Arc::clone(s), client: request.client, number, ticket, cancel, ended: false };
        Ok(Answer::new(frame, delta_receiver, done_receiver, deadline, hold))
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

    /// What holds when a request does not say.
    pub fn defaults(&self) -> Defaults {
        self.shared.defaults
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
