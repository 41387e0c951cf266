//! The queue's way to the engine, and each running request's way to its end.

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Progress, Reply, Service,
    away::Route,
    board,
    heard::Heard,
    live::{Final, Keeping, Live},
    notice::News,
    prepare::{Prepared, prepare},
    reply::Frame,
    shared::lock,
};
use crate::{
    cloud::Target,
    domain::{Deadline, Delta, Error, ErrorKind, Lane, Outcome, Result, Zone, limits},
    engine::{Cancel, Command, EngineState, Job, Model},
    scheduler::Pace,
};

/// A job that the engine has.
struct Run {
    frame: Frame,
    done: oneshot::Receiver<Result<Outcome>>,
    /// The engine's pieces, when they are heard on the way to the caller.
    pieces: Option<mpsc::Receiver<Delta>>,
}

/// How one run ended.
enum RunEnd {
    Outcome(Result<Outcome>),
    /// The engine died under it.
    Died,
}

impl Service {
    /// Hands queued requests to the engine, one at a time, in the order of the queue as far as the
    /// board's pressure lets them start, and sees each to its end. Ends with the engine.
    pub async fn dispatch(self, commands: mpsc::Sender<Command>) {
        let mut running = FuturesUnordered::new();
        let (mut engine, mut board) = (self.shared.engine.clone(), self.shared.board.clone());
        let mut pace = Pace::default();
        let mut reload = false;
        loop {
            let place = tokio::select! {
                biased;
                () = self.shared.reload.notified() => {
                    // Where there is no room there is a model, and then a place comes.
                    reload = commands.try_send(Command::Reload).is_err();
                    continue;
                }
                place = place(&commands, &mut engine), if running.len() < limits::RUNNING_MAX => match place {
                    Some(place) => place,
                    None => return,
                },
                Some(ended) = running.next() => {
                    self.note_end(&mut pace, ended);
                    continue;
                }
            };
            if std::mem::take(&mut reload) {
                place.send(Command::Reload);
                continue;
            }
            let found = loop {
                if let Some(found) = self.next(&pace) {
                    break Some(found);
                }
                let rest = pace.rest(self.pressure(), self.shared.clock.boot());
                tokio::select! {
                    biased;
                    Some(ended) = running.next() => self.note_end(&mut pace, ended),
                    () = self.shared.reload.notified() => {
                        reload = true;
                        break None;
                    }
                    () = self.shared.queued.notified() => {}
                    () = board::changed(&mut board) => {}
                    () = sleep(rest) => {}
                    _ = engine.wait_for(|state| state.model().is_none()) => break None,
                }
            };
            let Some((live, model)) = found else { continue };
            if let Some((job, run)) = self.start(&live, &model) {
                pace.started(live.request.lane);
                place.send(Command::Run(Box::new(job)));
                running.push(self.run(live, run));
            }
        }
    }

    /// The next request that may start, when there is one and a model to answer it.
    fn next(&self, pace: &Pace) -> Option<(Arc<Live>, Arc<Model>)> {
        let s = &self.shared;
        // A model that dies in between takes nothing with it: the run ends as `Died`.
        let EngineState::Ready(model) = s.engine.borrow().clone() else { return None };
        let (pressure, now) = (self.pressure(), s.clock.boot());
        let live = s.queue().pop_of(|lane| pace.may_start(lane, pressure, model.slots, now))?;
        lock(&live.ticket).take();
        Some((live, model))
    }

    /// Sees a request to its end, and how long that took.
    async fn run(&self, live: Arc<Live>, run: Run) -> (Lane, Duration) {
        let (lane, start) = (live.request.lane, self.shared.clock.boot());
        self.follow(live, run).await;
        (lane, self.shared.clock.boot().since(start))
    }

    /// The package that is activated is loaded as soon as what runs has ended, if it is not loaded.
    pub fn reload_model(&self) {
        self.shared.reload.notify_one();
    }

    fn is_model_coming(&self) -> bool {
        !matches!(&*self.shared.engine.borrow(), EngineState::Absent | EngineState::Failed(_))
    }

    fn note_end(&self, pace: &mut Pace, (lane, took): (Lane, Duration)) {
        pace.ended(lane, took, self.shared.clock.boot());
    }

    /// Makes a job of a request; `None` when it ended instead.
    fn start(&self, live: &Arc<Live>, model: &Arc<Model>) -> Option<(Job, Run)> {
        let s = &self.shared;
        if let Some(error) = live.cancel.error() {
            self.dismiss(live, error);
            return None;
        }
        if live.deadline.is_some_and(|d| d.remaining(s.clock.boot()).is_none()) {
            self.settle(live, Err(too_late()), None);
            return None;
        }
        let fits = lock(&live.prepared).take().filter(|p| Arc::ptr_eq(&p.model, model));
        let prepared = match fits.map_or_else(|| prepare(&live.request, live.input(), model, &*s.clock), Ok) {
            Ok(prepared) => prepared,
            Err(error) if error.kind == ErrorKind::ContextLengthExceeded && self.may_overflow(live) => {
                // As at intake, for what was not held against a model there.
                self.set_route(live, Route::Away(Target::Any));
                self.requeue(live);
                return None;
            }
            Err(error) => {
                self.settle(live, Err(error), None);
                return None;
            }
        };
        if live.is_durable() && live.claim_begin() {
            // Not waited for: it counts deaths of the daemon, and a death in this moment is
            // no fault of the request.
            s.store.note_begin(live.key().clone());
        }
        live.advance(Progress::Running);
        self.tell(live, News::Running { place: Zone::Device.name().into() });
        let frame = prepared.frame(&live.request, s.clock.wall());
        live.frame.send_replace(Some(frame.clone()));
        let (job, run) = Self::job(live, prepared, frame);
        Some((job, run))
    }

    fn job(live: &Arc<Live>, prepared: Prepared, frame: Frame) -> (Job, Run) {
        let (done, done_receiver) = oneshot::channel();
        let (deltas, pieces) = if lock(&live.deltas).is_some() || wants_news(live) {
            let (sender, receiver) = mpsc::channel(limits::DELTAS_IN_FLIGHT_MAX);
            (Some(sender), Some(receiver))
        } else {
            (None, None)
        };
        let mut options = live.request.options.clone();
        options.tokens_max = prepared.answer_tokens;
        let package = prepared.model.dir.clone();
        let job = Job {
            package,
            prompt: prepared.prompt,
            calling: prepared.calling,
            options,
            cancel: live.cancel.clone(),
            deltas,
            done,
        };
        (job, Run { frame, done: done_receiver, pieces })
    }

    /// Sees a running request to its end.
    async fn follow(&self, live: Arc<Live>, mut run: Run) {
        let mut heard = Heard::default();
        let end = tokio::select! {
            biased;
            end = self.listen(&live, &mut run, &mut heard) => end,
            () = self.until(live.deadline) => {
                live.stop(Cancel::Caller);
                RunEnd::Outcome(Err(too_late()))
            }
        };
        match end {
            RunEnd::Died if heard.is_empty() && live.claim_second_run() => self.run_again(&live),
            RunEnd::Died => {
                let error = Error::internal("the engine died while it wrote this answer");
                self.settle(&live, Err(error), None);
            }
            // The model went before the request had its turn: an accepted one waits for the next.
            // So does any, when the next one is on its way.
            RunEnd::Outcome(Err(error))
                if error.kind == ErrorKind::ModelLoading && (live.is_durable() || self.is_model_coming()) =>
            {
                self.requeue(&live);
            }
            RunEnd::Outcome(Err(error)) => self.dismiss(&live, error),
            RunEnd::Outcome(Ok(outcome)) => self.conclude(&live, run.frame, outcome, heard),
        }
    }

    /// Hears the pieces until the engine is done.
    async fn listen(&self, live: &Arc<Live>, run: &mut Run, heard: &mut Heard) -> RunEnd {
        if let Some(pieces) = &mut run.pieces {
            let caller = lock(&live.deltas).take();
            heard.hear(self, live, pieces, caller.as_ref()).await;
        }
        match (&mut run.done).await {
            Ok(outcome) => RunEnd::Outcome(outcome),
            Err(_) => RunEnd::Died,
        }
    }

    /// An answer is there: a task holds it against its schema, everybody else takes it as it is.
    pub(super) fn conclude(&self, live: &Arc<Live>, frame: Frame, outcome: Outcome, mut heard: Heard) {
        if wants_news(live) {
            heard.tell_rest(self, live, &outcome.rest);
        }
        let rest = heard.unsent_and(&outcome.rest);
        let whole = heard.whole(&outcome);
        if let Keeping::Durable(Reply::Task(to)) = &live.keeping {
            return self.conclude_task(live, to, frame, whole);
        }
        self.settle_with(live, Final::answer(frame, Outcome { rest, ..outcome }, &whole), None);
    }

    /// The engine died before a word was heard: once, that is not the caller's matter.
    fn run_again(&self, live: &Arc<Live>) {
        tracing::warn!(id = %live.key().id, "the engine died under this request; it runs once more");
        self.requeue(live);
    }

    /// Puts a request into the queue a second time.
    pub(super) fn requeue(&self, live: &Arc<Live>) {
        // Whoever answers it says so himself.
        live.frame.send_replace(None);
        if self.shared.is_draining() && live.is_durable() {
            return self.shelve(live);
        }
        let place = self.shared.queue().reserve_anyway(&live.key().client, live.request.body.len());
        self.enqueue(live, place);
    }

    /// Waits for the deadline; for ever when there is none.
    pub(super) async fn until(&self, deadline: Option<Deadline>) {
        let Some(deadline) = deadline else { return pending().await };
        // In pieces: the timer stands still while the board sleeps, the deadline does not.
        while let Some(left) = deadline.remaining(self.shared.clock.boot()) {
            tokio::time::sleep(left.min(limits::EXPIRY_SWEEP)).await;
        }
    }
}

/// Whether pieces of the answer are told over its topic.
pub(super) fn wants_news(live: &Live) -> bool {
    live.request.own.deltas == Some(true) && matches!(live.keeping, Keeping::Durable(Reply::Topic(_)))
}

/// Waits that long; for ever when there is nothing to wait for.
pub(super) async fn sleep(rest: Option<Duration>) {
    match rest {
        Some(rest) => tokio::time::sleep(rest).await,
        None => pending().await,
    }
}

/// The engine's place for one command, while there is a model: without one it is left to the
/// command that loads it. `None` when the engine is gone.
async fn place<'c>(
    commands: &'c mpsc::Sender<Command>,
    engine: &mut watch::Receiver<EngineState>,
) -> Option<mpsc::Permit<'c, Command>> {
    engine.wait_for(|state| state.model().is_some()).await.ok()?;
    commands.reserve().await.ok()
}

/// The one error for all that come too late.
pub(super) fn too_late() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the deadline passed before the answer was complete")
}
