//! Intake: validate, authorise, de-duplicate, admit, persist, acknowledge.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Answer, Keeping, Reply, Request, Same, Service,
    away::Route,
    egress::denied,
    keeper::Keep,
    live::{Live, Progress, Shown},
    prepare::prepare,
    refusal::{conflict, hopeless, queue_full},
    shared::lock,
};
use crate::{
    cloud::Target,
    domain::{Deadline, Error, ErrorKind, Result, limits},
    engine::EngineState,
    scheduler::{Full, Place, TooLate, in_time},
    store::{Digest, Health, Stored},
};

/// What a synchronous caller gets.
pub enum Asked {
    /// Its own answer, from the first word on.
    Fresh(Answer),
    /// The answer to the same request, asked before.
    Same(Same),
}

/// What the sender of an accepted request gets.
pub enum Receipt {
    /// It is on disk and will have its final.
    Accepted(Same),
    /// It was accepted before and has no final yet.
    Known(Same),
    /// It has its final.
    Done(Shown),
    /// The write failed in a way that leaves open whether the request is on disk. Asked again it
    /// will be known; nobody may be told that it is refused.
    Uncertain(Error),
}

impl Service {
    /// A caller waits for the answer and its leaving ends the request.
    pub async fn ask(&self, request: Request) -> Result<Asked> {
        let asked = self.try_ask(request).await;
        asked.inspect_err(|error| self.shared.metrics.refused(error.kind))
    }

    async fn try_ask(&self, mut request: Request) -> Result<Asked> {
        self.refuse_when_draining()?;
        if request.keyed {
            if let Some(same) = self.known(&request)? {
                return Ok(Asked::Same(same));
            }
            if let Some(stored) =
                self.shared.store.find(request.key.client.clone(), request.key.id.clone()).await?
            {
                return Ok(Asked::Same(Same::stored(self.finished(request.digest, stored)?)));
            }
            self.writable()?;
        }
        self.authorise(&mut request)?;
        let keeping = if request.keyed { Keeping::Keyed } else { Keeping::Passing };
        let deadline = request.deadline;
        let live = self.live(request, keeping, deadline)?;
        self.refuse_on_the_device(&live)?;
        self.prepare_for_device(&live, self.model()).await?;
        let place = self.admit(&live)?;
        if let Err(there) = self.shared.lives.insert(&live) {
            // Asked twice at the same moment: the one who came first runs.
            self.shared.queue().release(place);
            return Ok(Asked::Same(self.attach(&live.request, there)?));
        }
        let (sender, deltas) =
            live.request.stream.then(|| mpsc::channel(limits::DELTAS_IN_FLIGHT_MAX)).unzip();
        *lock(&live.deltas) = sender;
        live.callers.fetch_add(1, Ordering::AcqRel);
        let answer = Answer::new(self.clone(), Arc::clone(&live), deltas);
        self.enqueue(&live, place);
        Ok(Asked::Fresh(answer))
    }

    /// The request is answered whoever waits; once this returns it is on disk.
    pub async fn accept(&self, request: Request, reply: Reply) -> Result<Receipt> {
        let receipt = self.try_accept(request, reply).await;
        receipt.inspect_err(|error| self.shared.metrics.refused(error.kind))
    }

    async fn try_accept(&self, request: Request, reply: Reply) -> Result<Receipt> {
        loop {
            self.refuse_when_draining()?;
            let Some(there) = self.shared.lives.get(&request.key) else { break };
            if let Some(receipt) = self.join(&request, &reply, there).await? {
                return Ok(receipt);
            }
        }
        let (key, digest) = (request.key.clone(), request.digest);
        match self.accept_new(request, reply).await {
            // What has its final gets it, even when nothing new is taken in.
            Err(refused) => match self.shared.store.find(key.client.clone(), key.id.clone()).await {
                Ok(Some(stored)) if stored.finished.is_some() => {
                    Ok(Receipt::Done(self.finished(digest, stored)?))
                }
                // An earlier try of its write reached the disk although it failed: it is accepted, and its
                // final is for whoever takes it up to say, not for the door.
                Ok(Some(stored)) if stored.digest == digest => {
                    self.take_up(stored);
                    match self.shared.lives.get(&key) {
                        Some(live) => Ok(Receipt::Known(Same::running(self.clone(), &live))),
                        None => Ok(Receipt::Uncertain(refused)),
                    }
                }
                Ok(_) => Err(refused),
                // Refused or done long ago? Nobody can say now.
                Err(error) => Ok(Receipt::Uncertain(error)),
            },
            receipt => receipt,
        }
    }

    async fn accept_new(&self, mut request: Request, reply: Reply) -> Result<Receipt> {
        self.authorise(&mut request)?;
        let budget = request.deadline.unwrap_or(self.shared.defaults.deadline);
        let live = self.live(request, Keeping::Durable(reply), Some(budget))?;
        self.refuse_on_the_device(&live)?;
        match self.model() {
            // It waits on disk until the model is there, and is held against it then. What is to be answered
            // elsewhere is held against the policy, which is here: a second sending hears the same.
            Err(_) if self.comes_later() && !goes_away(&live) => {}
            model => self.prepare_for_device(&live, model).await?,
        }
        let place = self.admit(&live)?;
        if let Err(there) = self.shared.lives.insert(&live) {
            self.shared.queue().release(place);
            let Keeping::Durable(reply) = &live.keeping else { return Err(conflict()) };
            let receipt = self.join(&live.request, reply, there).await?;
            let gone = || Error::internal("the same request was there a moment ago; ask again");
            return Ok(receipt.unwrap_or_else(|| Receipt::Uncertain(gone())));
        }
        let same = Same::running(self.clone(), &live);
        match self.persist(&live, place).await {
            Ok(None) => Ok(Receipt::Accepted(same)),
            Ok(Some(stored)) => Ok(Receipt::Done(self.finished(live.request.digest, stored)?)),
            Err(error) if error.kind == ErrorKind::Internal => Ok(Receipt::Uncertain(error)),
            Err(error) => Err(error),
        }
    }

    fn refuse_when_draining(&self) -> Result<()> {
        if !self.shared.is_draining() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Draining, "Outpost is stopping; send the request again later")
            .with_retry_after(Duration::from_secs(5)))
    }

    /// The lane that the client may have, and whether it may send now.
    fn authorise(&self, request: &mut Request) -> Result<()> {
        let s = &self.shared;
        request.lane = s.clients.lane(&request.key.client, request.lane);
        s.clients.take(&request.key.client, s.clock.boot())
    }

    /// The same request on its way, when there is one.
    fn known(&self, request: &Request) -> Result<Option<Same>> {
        let there = self.shared.lives.get(&request.key);
        there.map(|live| self.attach(request, live)).transpose()
    }

    fn attach(&self, request: &Request, there: Arc<Live>) -> Result<Same> {
        if there.request.digest != request.digest {
            return Err(conflict());
        }
        self.shared.metrics.duplicate();
        Ok(Same::running(self.clone(), &there))
    }

    /// Accepts a request that is on its way already. One that lives only as long as its caller, or
    /// whose final goes elsewhere, is waited for: its final is the final of this one, too. `None`
    /// when it ended without one, and may be accepted anew.
    async fn join(&self, request: &Request, reply: &Reply, there: Arc<Live>) -> Result<Option<Receipt>> {
        let same = self.attach(request, Arc::clone(&there))?;
        match &there.keeping {
            Keeping::Durable(to) if to.serves(reply) => same.once_on_disk().await.map(Some),
            _ => Ok(same.kept().await.map(Receipt::Done)),
        }
    }

    fn finished(&self, digest: Digest, stored: Stored) -> Result<Shown> {
        if stored.digest != digest {
            return Err(conflict());
        }
        self.shared.metrics.duplicate();
        let ending =
            stored.finished.ok_or_else(|| Error::internal("a request is on disk that nobody runs"))?;
        Ok(ending.into())
    }

    /// Whether a model is on its way. Without one nothing is accepted that only it could answer.
    fn comes_later(&self) -> bool {
        matches!(&*self.shared.engine.borrow(), EngineState::Loading(_))
    }

    /// Holds a request against the model here, or against the policy when it is to be answered elsewhere.
    /// What turns out to be too long for the device goes elsewhere, too, where it may.
    async fn prepare_for_device(&self, live: &Live, model: Result<Arc<crate::engine::Model>>) -> Result<()> {
        let target = match &lock(&live.away).route {
            Route::Away(target) => Some(target.clone()),
            _ => None,
        };
        if let Some(target) = target {
            return match self.may_leave(live, &target) {
                Ok(()) => Ok(()),
                Err(denial) => {
                    self.note_denial(live, &denial).await;
                    // What only the device is left for says what the device lacks.
                    let here = self.beyond_device(&live.request).filter(|_| target == Target::Any);
                    Err(here.unwrap_or_else(|| denied(&denial)))
                }
            };
        }
        let model = match model {
            Err(_) if self.may_overflow(live) => {
                // It is not there yet, and whoever asks waits for it.
                self.set_route(live, Route::Away(Target::Any));
                return Ok(());
            }
            model => model?,
        };
        match prepare(&live.request, &live.request.input, &model, &*self.shared.clock) {
            Ok(prepared) => *lock(&live.prepared) = Some(prepared),
            Err(error) if error.kind == ErrorKind::ContextLengthExceeded && self.may_overflow(live) => {
                self.set_route(live, Route::Away(Target::Any));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A board that is too hot takes in what somebody elsewhere may answer, and nothing else.
    fn refuse_on_the_device(&self, live: &Live) -> Result<()> {
        match self.refuse_when_overheated() {
            Err(refusal) if !goes_away(live) && !self.may_overflow(live) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Whether somebody elsewhere may answer what the device cannot.
    pub(super) fn may_overflow(&self, live: &Live) -> bool {
        let may = {
            let away = lock(&live.away);
            away.route == Route::Overflow && !away.kept
        };
        may && self.may_leave(live, &Target::Any).is_ok()
    }

    fn writable(&self) -> Result<()> {
        match &*self.shared.store.health().borrow() {
            Health::Sound => Ok(()),
            Health::Full(reason) | Health::Broken(reason) => {
                let why = format!("answers cannot be kept: {reason}");
                Err(Error::new(ErrorKind::StoreFull, why).with_retry_after(Duration::from_mins(1)))
            }
        }
    }

    fn live(&self, request: Request, keeping: Keeping, budget: Option<Duration>) -> Result<Arc<Live>> {
        let now = self.shared.clock.boot();
        let deadline = budget.map(|budget| Deadline::after(now, budget));
        let route = self.route(&request)?;
        let live = Live::new(request, keeping, deadline, now, None);
        self.set_route(&live, route);
        Ok(Arc::new(live))
    }

    /// A place in the queue, if the request can be answered in time from there.
    fn admit(&self, live: &Live) -> Result<Place> {
        let s = &self.shared;
        if s.lives.len() >= limits::LIVE_REQUESTS_MAX {
            return Err(queue_full(Full::Queue, self.wait_for_room()));
        }
        let (client, lane) = (&live.key().client, live.request.lane);
        if let Some(late) = self.comes_too_late(live).filter(|_| !self.may_overflow(live)) {
            return Err(hopeless(late));
        }
        let mut queue = s.queue();
        let bytes = live.request.body.len();
        if self.replaces_queued(live) {
            // It takes the place of the one that it supersedes.
            return Ok(queue.reserve_anyway(client, bytes));
        }
        let full = queue.reserve(client, lane, bytes, s.clients.queued_max(client));
        drop(queue);
        full.map_err(|full| queue_full(full, self.wait_for_room()))
    }

    /// Why the device would not answer it in time.
    fn comes_too_late(&self, live: &Live) -> Option<TooLate> {
        let s = &self.shared;
        let left = live.deadline?.remaining(s.clock.boot()).unwrap_or_default();
        // One word at least: how long its answer will be nobody knows, and a wrong refusal is worse
        // than a late answer.
        let own = lock(&live.prepared).as_ref()?.work(1);
        let ahead = s.queue().ahead_of_new(&live.key().client, live.request.lane).1;
        in_time(s.speed(), ahead, own, left).err()
    }

    fn replaces_queued(&self, live: &Live) -> bool {
        let Some(key) = &live.request.own.supersedes else { return false };
        self.shared.lives.all().iter().any(|older| {
            older.key().client == live.key().client
                && older.request.own.supersedes.as_ref() == Some(key)
                && matches!(*older.progress.borrow(), Progress::Queued)
        })
    }

    /// Until a place is likely to be free: the time for one answer.
    fn wait_for_room(&self) -> Duration {
        let s = &self.shared;
        let one = crate::scheduler::Work { prompt: 0, answer: s.answer_mean() };
        s.speed().time_for(one).unwrap_or_default().clamp(Duration::from_secs(1), Duration::from_mins(1))
    }

    /// Writes an accepted request; what follows goes on even when the one who asked is gone.
    async fn persist(&self, live: &Arc<Live>, place: Place) -> Result<Option<Stored>> {
        let Keeping::Durable(reply) = &live.keeping else { return Ok(None) };
        let row = match self.row(live, reply) {
            Ok(row) => row,
            Err(error) => {
                self.shared.queue().release(place);
                self.shared.lives.remove(live.key());
                return Err(error);
            }
        };
        let (done, outcome) = oneshot::channel();
        let order = Keep::Accept { live: Arc::clone(live), row, place, done };
        // There is room for every live request.
        if self.shared.keeper.try_send(order).is_err() {
            self.shared.lives.remove(live.key());
            return Err(Error::internal("nobody writes to the store any more"));
        }
        outcome.await.unwrap_or_else(|_| Err(Error::internal("the store's keeper is gone")))
    }

    /// The model, or why there is none.
    pub fn model(&self) -> Result<Arc<crate::engine::Model>> {
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
}

/// Whether somebody elsewhere is to answer it, and nobody here.
fn goes_away(live: &Live) -> bool {
    matches!(lock(&live.away).route, Route::Away(_))
}
