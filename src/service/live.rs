//! One request between intake and final, and the table of all of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use super::{Input, Reply, Request, away::Away, prepare::Prepared, reply::Frame};
use crate::{
    domain::{BootTime, Deadline, Delta, Outcome, Result},
    engine::{Cancel, CancelFlag},
    scheduler::Ticket,
    store::{RequestKey, StoredFinal},
};

/// What happens to a request when nobody waits for it any more.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Keeping {
    /// It lives as long as its caller, who can never ask for it again.
    Passing,
    /// It lives as long as its callers; its final is kept, for they can ask again by their id.
    Keyed,
    /// It is on disk and ends with its final, whoever waits.
    Durable(Reply),
}

/// What a final looks like on every transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The status number.
    pub status: u16,
    /// A completion or an error, as JSON.
    pub body: Vec<u8>,
}

impl From<StoredFinal> for Shown {
    fn from(stored: StoredFinal) -> Self {
        Self { status: stored.status, body: stored.body }
    }
}

/// The one terminal answer, in every form that somebody may want.
#[derive(Debug)]
pub struct Final {
    /// The completion, or why there is none.
    pub result: Result<Outcome>,
    /// What everybody gets to see.
    pub shown: Shown,
    /// What the pieces of a stream repeat; `None` when no model was asked.
    pub frame: Option<Frame>,
    /// It is kept: whoever asks again gets the same.
    pub on_disk: bool,
}

/// Where a request is in its life.
#[derive(Clone, Debug, Default)]
pub enum Progress {
    /// On its way to the disk.
    #[default]
    Arriving,
    /// Waiting for a slot.
    Queued,
    /// Being answered.
    Running,
    /// Done.
    Ended(Arc<Final>),
}

impl Progress {
    /// One word for status and events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Arriving => "arriving",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ended(_) => "finished",
        }
    }
}

/// A request that has no final yet.
pub(super) struct Live {
    pub(super) request: Request,
    pub(super) keeping: Keeping,
    pub(super) deadline: Option<Deadline>,
    pub(super) accepted: BootTime,
    /// Tokens of the prompt, when a model was at hand at intake.
    pub(super) prepared: Mutex<Option<Prepared>>,
    /// Where it stands in the queue.
    pub(super) ticket: Mutex<Option<Ticket>>,
    pub(super) cancel: CancelFlag,
    /// Somebody looks at `cancel` who does not look all the time.
    stopped: Notify,
    /// What the pieces of its answer repeat, once it is being answered.
    pub(super) frame: watch::Sender<Option<Frame>>,
    /// Whether it may be answered elsewhere, and how that stands.
    pub(super) away: Mutex<Away>,
    /// Where pieces of the answer go while it is written.
    pub(super) deltas: Mutex<Option<mpsc::Sender<Delta>>>,
    pub(super) progress: watch::Sender<Progress>,
    /// Callers that wait for it now.
    pub(super) callers: AtomicU32,
    /// Its final is on its way: whoever sets this writes it, nobody else.
    settling: AtomicBool,
    ran_again: AtomicBool,
    /// This run of the daemon has counted a start of it.
    begun: AtomicBool,
    /// What is asked the second time, when the first answer was not what a task needs.
    second: OnceLock<(Input, Bytes)>,
}

impl Live {
    pub(super) fn new(
        request: Request,
        keeping: Keeping,
        deadline: Option<Deadline>,
        accepted: BootTime,
        prepared: Option<Prepared>,
    ) -> Self {
        Self {
            request,
            keeping,
            deadline,
            accepted,
            prepared: Mutex::new(prepared),
            ticket: Mutex::default(),
            cancel: CancelFlag::default(),
            stopped: Notify::new(),
            frame: watch::Sender::default(),
            away: Mutex::default(),
            deltas: Mutex::default(),
            progress: watch::Sender::default(),
            callers: AtomicU32::new(0),
            settling: AtomicBool::new(false),
            ran_again: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            second: OnceLock::new(),
        }
    }

    pub(super) fn key(&self) -> &RequestKey {
        &self.request.key
    }

    pub(super) fn is_durable(&self) -> bool {
        matches!(self.keeping, Keeping::Durable(_))
    }

    /// Whether the one who asks is to write the final; true once.
    pub(super) fn claim_final(&self) -> bool {
        !self.settling.swap(true, Ordering::AcqRel)
    }

    /// What is to be answered.
    pub(super) fn input(&self) -> &Input {
        self.second.get().map_or(&self.request.input, |(input, _)| input)
    }

    /// The same as the body of a chat.
    pub(super) fn body(&self) -> &Bytes {
        self.second.get().map_or(&self.request.body, |(_, body)| body)
    }

    /// Asks whoever answers it to end.
    pub(super) fn stop(&self, reason: Cancel) {
        self.cancel.cancel(reason);
        self.stopped.notify_waiters();
    }

    /// Waits until somebody wants it to end.
    pub(super) async fn stopped(&self) {
        loop {
            let stopped = self.stopped.notified();
            tokio::pin!(stopped);
            // Registered before the look, so that nothing in between is missed.
            stopped.as_mut().enable();
            if self.cancel.error().is_some() {
                return;
            }
            stopped.await;
        }
    }

    /// Asks something else the next time; true once.
    pub(super) fn ask_again(&self, input: Input, body: Bytes) -> bool {
        self.second.set((input, body)).is_ok()
    }

    /// Whether its start is still to be counted; true once.
    pub(super) fn claim_begin(&self) -> bool {
        !self.begun.swap(true, Ordering::AcqRel)
    }

    /// Whether its start was counted and is to be taken back; true once.
    pub(super) fn claim_spare(&self) -> bool {
        self.begun.swap(false, Ordering::AcqRel)
    }

    /// Goes on to the next state; nothing comes after the end, however late it is said.
    pub(super) fn advance(&self, next: Progress) {
        self.progress.send_if_modified(|progress| {
            let goes = !matches!(progress, Progress::Ended(_));
            if goes {
                *progress = next;
            }
            goes
        });
    }

    /// Whether whoever may answer the one may answer the other, as far as that can be seen.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let who = |live: &Self| {
            let own = &live.request.own;
            (live.key().client.clone(), live.request.needs.clone(), own.zone_max, own.data_class.clone())
        };
        who(self) == who(other)
    }

    /// Whether it may run once more after the engine died under it; true once.
    pub(super) fn claim_second_run(&self) -> bool {
        !self.ran_again.swap(true, Ordering::AcqRel)
    }
}

/// Every request that has no final yet, by its key.
#[derive(Default)]
pub(super) struct Lives(Mutex<BTreeMap<RequestKey, Arc<Live>>>);

impl Lives {
    pub(super) fn get(&self, key: &RequestKey) -> Option<Arc<Live>> {
        self.lock().get(key).cloned()
    }

    /// Puts a request in, or returns the one that has its key already.
    pub(super) fn insert(&self, live: &Arc<Live>) -> Result<(), Arc<Live>> {
        match self.lock().entry(live.key().clone()) {
            std::collections::btree_map::Entry::Occupied(there) => Err(Arc::clone(there.get())),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(Arc::clone(live));
                Ok(())
            }
        }
    }

    pub(super) fn remove(&self, key: &RequestKey) {
        self.lock().remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RequestKey, Arc<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{ClientId, Error, Lane, RequestId},
        service::spec,
        store::Digest,
    };

    #[test]
    fn nothing_comes_after_the_end() {
        let key = RequestKey { client: ClientId::new("c").unwrap(), id: RequestId::new("r").unwrap() };
        let request = spec::stub(key, Digest([0; 32]), Lane::Normal);
        let now = BootTime::new(std::time::Duration::ZERO);
        let live = Live::new(request, Keeping::Passing, None, now, None);
        live.advance(Progress::Queued);
        live.advance(Progress::Running);
        assert_eq!(live.progress.borrow().name(), "running");
        let ending = Final::refusal(&live, Error::internal("over"));
        live.progress.send_replace(Progress::Ended(Arc::new(ending)));
        live.advance(Progress::Running);
        assert_eq!(live.progress.borrow().name(), "finished", "however late it is said");
    }
}
