//! The one who writes to the store: acceptances and finals, each until it is certain.
//!
//! Whoever asks for a write may go away, a closed connection for instance; the write and what
//! follows from it go on here. Writes that come close together share one commit.

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use super::{
    Progress, Service,
    live::{Final, Keeping, Live},
    notice::News,
    shared::lock,
};
use crate::{
    domain::{Error, ErrorKind, Result, limits},
    engine::Cancel,
    scheduler::{Place, Work},
    store::{Accepted, Finish, Finished, NewMessage, NewRequest, Stored},
};

/// Where the orders to the keeper arrive.
pub struct Orders(pub(super) mpsc::Receiver<Keep>);

/// What is to be written.
pub(super) enum Keep {
    /// A request, before anybody is told that it is accepted.
    Accept { live: Arc<Live>, row: NewRequest, place: Place, done: oneshot::Sender<Result<Option<Stored>>> },
    /// A final, before anybody gets to see it.
    Final { live: Arc<Live>, ending: Final, finish: Box<Finish> },
}

impl Service {
    /// Writes what comes, until nobody is left who could send anything.
    pub async fn keep(self, Orders(mut orders): Orders) {
        let mut writes = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Keep::Accept { live, row, place, done }) => {
                        writes.push(futures_util::future::Either::Left(self.keep_request(live, row, place, done)));
                    }
                    Some(Keep::Final { live, ending, finish }) => {
                        writes.push(futures_util::future::Either::Right(self.keep_final(live, ending, finish)));
                    }
                    None => break,
                },
                Some(()) = writes.next() => {}
            }
        }
        while writes.next().await.is_some() {}
    }

    async fn keep_request(
        &self,
        live: Arc<Live>,
        row: NewRequest,
        place: Place,
        done: oneshot::Sender<Result<Option<Stored>>>,
    ) {
        let s = &self.shared;
        let outcome = match s.store.accept(row).await {
            Ok(Accepted::New) => Ok(None),
            // An earlier try of this write may have reached the disk although it failed: it is
            // the same request and nobody runs it, so it is taken as accepted now.
            Ok(Accepted::Known(stored))
                if stored.finished.is_none() && stored.digest == live.request.digest =>
            {
                Ok(None)
            }
            Ok(Accepted::Known(stored)) => Ok(Some(*stored)),
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(None) => {
                self.supersede(&live);
                // Before it can run: `queued` is the first word, `running` the second.
                let (position, eta) = self.prospect(&live);
                self.tell(&live, News::Queued { position, eta });
                self.enqueue(&live, place);
            }
            // Whoever attached to it meanwhile learns it, too.
            Ok(Some(stored)) => self.not_taken(&live, place, Final::kept_before(&live, stored)),
            Err(error) => self.not_taken(&live, place, Final::refusal(&live, error.clone())),
        }
        let _ = done.send(outcome);
    }

    /// A request that is not run: it ends here for those who attached to it.
    fn not_taken(&self, live: &Arc<Live>, place: Place, ending: Final) {
        self.shared.queue().release(place);
        self.shared.lives.remove(live.key());
        live.progress.send_replace(Progress::Ended(Arc::new(ending)));
        self.shared.one_ended.notify_waiters();
    }

    /// Puts an accepted request into the queue.
    pub(super) fn enqueue(&self, live: &Arc<Live>, place: Place) {
        let s = &self.shared;
        let work = self.work(live);
        live.advance(Progress::Queued);
        let mut away = lock(&live.away);
        if away.skips_queue() {
            away.place = Some(place);
            drop(away);
        } else {
            let stood = away.stood.take();
            drop(away);
            let (mut queue, item) = (s.queue(), Arc::clone(live));
            let ticket = match stood {
                Some(was) => queue.put_back(was, place, work, item),
                None => queue.push(place, live.request.lane, work, item),
            };
            *lock(&live.ticket) = Some(ticket);
        }
        if s.is_draining() {
            // The queue may have been emptied before this was in it.
            live.stop(Cancel::Drain);
        }
        if let Some(error) = live.cancel.error() {
            // Cancelled while it was on its way to the disk.
            self.take_from_queue(live);
            self.dismiss(live, error);
        }
        s.queued.notify_one();
        s.waiting_changed.notify_one();
        s.overflow_stirred.notify_one();
    }

    /// What a request takes of the engine.
    pub(super) fn work(&self, live: &Live) -> Work {
        let prepared = lock(&live.prepared);
        prepared.as_ref().map_or_else(|| self.guess(live), |p| p.work(self.shared.answer_mean()))
    }

    /// Before a model is there: about four bytes of text are a token.
    fn guess(&self, live: &Live) -> Work {
        let answer = self.shared.answer_mean().min(live.request.options.tokens_max as u64);
        Work { prompt: live.request.body.len() as u64 / 4, answer }
    }

    /// A newer request takes the place of queued ones that it supersedes.
    fn supersede(&self, newer: &Arc<Live>) {
        let Some(key) = &newer.request.own.supersedes else { return };
        for older in self.shared.lives.all() {
            let same = older.key().client == newer.key().client
                && older.request.own.supersedes.as_ref() == Some(key)
                && !Arc::ptr_eq(&older, newer);
            if same && self.take_from_queue(&older) {
                let why = format!("request {} took its place", newer.key().id);
                self.settle(&older, Err(Error::new(ErrorKind::Superseded, why)), None);
            }
        }
    }

    async fn keep_final(&self, live: Arc<Live>, ending: Final, finish: Box<Finish>) {
        let s = &self.shared;
        let mut tries = 0u32;
        let ending = loop {
            match s.store.finish((*finish).clone()).await {
                Ok(Finished::Stored { .. }) => break Final { on_disk: true, ..ending },
                // The first final stays, whatever a second run would have said.
                Ok(Finished::Already(first)) => break Final { shown: first.into(), on_disk: true, ..ending },
                Err(error) if matches!(live.keeping, Keeping::Keyed) => {
                    // Nobody was promised anything yet: the caller hears why and may ask again.
                    break Final::refusal(&live, error);
                }
                Err(error) => {
                    tries += 1;
                    if tries == 1 {
                        let id = live.key().id.as_str();
                        tracing::error!(%error, id, "a final cannot be written; trying again until it is");
                    }
                    tokio::time::sleep(limits::SETTLE_RETRY).await;
                }
            }
        };
        s.outbox.notify_one();
        self.ended(&live, ending);
    }

    /// What a final looks like on disk.
    pub(super) fn finish_of(
        &self,
        live: &Live,
        ending: &Final,
        message: Option<NewMessage>,
    ) -> Result<Finish> {
        let s = &self.shared;
        let insert = match live.keeping {
            Keeping::Keyed => Some(self.row(live, &super::Reply::Kept)?),
            _ => None,
        };
        Ok(Finish {
            key: live.key().clone(),
            status: ending.shown.status,
            body: ending.shown.body.clone(),
            ended: s.clock.stamp(),
            usage: ending.result.as_ref().ok().and_then(|outcome| super::settle::usage(ending, outcome)),
            message,
            insert: insert.map(Box::new),
        })
    }

    /// What a request looks like on disk.
    pub(super) fn row(&self, live: &Live, reply: &super::Reply) -> Result<NewRequest> {
        let s = &self.shared;
        Ok(NewRequest {
            key: live.key().clone(),
            digest: live.request.digest,
            lane: live.request.lane,
            accepted: s.clock.stamp(),
            budget: live.deadline.and_then(|d| d.remaining(s.clock.boot())),
            spec: super::spec::write(&live.request, reply)?,
        })
    }
}
