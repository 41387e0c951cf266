//! The caller's end of a synchronous request.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{
    Receipt, Service,
    live::{Final, Live, Progress, Shown},
    reply::Frame,
};
use crate::domain::{Deadline, Delta, Error, ErrorKind, Outcome, Result};

/// A request on its way to its final. Dropping it cancels the request within one step of
/// the engine, unless others wait for it, too.
pub struct Answer {
    deltas: Option<mpsc::Receiver<Delta>>,
    progress: watch::Receiver<Progress>,
    hold: Hold,
}

/// One caller's part in a request; leaving it is what cancels.
struct Hold {
    service: Service,
    live: Arc<Live>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.service.leave(&self.live);
    }
}

impl Answer {
    /// For a request that counts this caller already.
    pub(super) fn new(service: Service, live: Arc<Live>, deltas: Option<mpsc::Receiver<Delta>>) -> Self {
        let progress = live.progress.subscribe();
        Self { deltas, progress, hold: Hold { service, live } }
    }

    /// Waits until somebody answers it: what every part of the answer repeats, or why nobody does.
    pub async fn begun(&mut self) -> Result<Frame> {
        let mut frame = self.hold.live.frame.subscribe();
        tokio::select! {
            biased;
            begun = frame.wait_for(Option::is_some) => {
                let begun = begun.ok().and_then(|frame| frame.clone());
                begun.ok_or_else(|| Error::internal("the request was lost on its way"))
            }
            ending = ended(&mut self.progress) => match ending {
                Some(ending) => match (&ending.result, &ending.frame) {
                    (Err(error), _) => Err(error.clone()),
                    (Ok(_), Some(frame)) => Ok(frame.clone()),
                    (Ok(_), None) => Err(Error::internal("an answer without a frame")),
                },
                None => Err(Error::internal("the request was lost on its way")),
            },
        }
    }

    /// The next piece, in order; `None` when only the end is left. For requests without
    /// streaming that is at once.
    pub async fn next(&mut self) -> Result<Option<Delta>> {
        let Some(deltas) = &mut self.deltas else { return Ok(None) };
        let mut progress = self.progress.clone();
        let failed = async {
            match ended(&mut progress).await {
                Some(ending) if ending.result.is_err() => ending,
                // The pieces of a good answer are all heard before its end.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            piece = deltas.recv() => Ok(piece),
            ending = failed => ending.result.as_ref().map(|_| None).map_err(Clone::clone),
        }
    }

    /// Waits for the end, in the form in which whoever asks again will get it.
    pub async fn shown(&mut self) -> Result<Shown> {
        match ended(&mut self.progress).await {
            Some(ending) => ending.result.as_ref().map(|_| ending.shown.clone()).map_err(Clone::clone),
            None => Err(Error::internal("the request was lost on its way")),
        }
    }

    /// Waits for the end.
    pub async fn finish(&mut self) -> Result<Outcome> {
        match ended(&mut self.progress).await {
            Some(ending) => ending.result.clone(),
            None => Err(Error::internal("the request was lost on its way")),
        }
    }
}

/// The same request, asked again: its final, when it is there.
pub struct Same(From);

enum From {
    Stored(Shown),
    Running { live: Arc<Live>, progress: watch::Receiver<Progress>, service: Service },
}

impl Same {
    pub(super) fn stored(ending: Shown) -> Self {
        Self(From::Stored(ending))
    }

    pub(super) fn running(service: Service, live: &Arc<Live>) -> Self {
        let progress = live.progress.subscribe();
        Self(From::Running { live: Arc::clone(live), progress, service })
    }

    /// Where it is.
    pub fn progress(&self) -> Progress {
        match &self.0 {
            From::Stored(_) => Progress::Running,
            From::Running { progress, .. } => progress.borrow().clone(),
        }
    }

    /// Requests before it in the queue.
    pub fn position(&self) -> usize {
        match &self.0 {
            From::Stored(_) => 0,
            From::Running { live, service, .. } => service.outlook(live).0,
        }
    }

    /// Until when it is worth an answer.
    pub fn deadline(&self) -> Option<Deadline> {
        match &self.0 {
            From::Stored(_) => None,
            From::Running { live, .. } => live.deadline,
        }
    }

    /// Waits until the request is safe: nobody may be told before that it is accepted.
    pub(super) async fn once_on_disk(mut self) -> Result<Receipt> {
        let From::Running { progress, .. } = &mut self.0 else { return Ok(Receipt::Known(self)) };
        let arrived = progress.wait_for(|p| !matches!(p, Progress::Arriving)).await;
        let refused = match arrived.as_deref() {
            Ok(Progress::Ended(ending)) => ending.result.as_ref().err().filter(|_| !ending.on_disk).cloned(),
            Ok(_) => None,
            Err(_) => Some(Error::internal("the request was lost on its way to the disk")),
        };
        drop(arrived);
        match refused {
            None => Ok(Receipt::Known(self)),
            Some(error) if error.kind == ErrorKind::Internal => Ok(Receipt::Uncertain(error)),
            Some(error) => Err(error),
        }
    }

    /// Waits for the end without holding the request; `None` when its final is not kept.
    pub(super) async fn kept(self) -> Option<Shown> {
        let From::Running { mut progress, live, service } = self.0 else { return None };
        // Nothing of it may be held: a caller that leaves ends it all the same.
        drop((live, service));
        let ending = ended(&mut progress).await?;
        ending.on_disk.then(|| ending.shown.clone())
    }

    /// Waits for the final. For as long as somebody waits, a synchronous request goes on.
    pub async fn finish(self) -> Result<Shown> {
        match self.0 {
            From::Stored(ending) => Ok(ending),
            From::Running { live, mut progress, service } => {
                live.callers.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                let _hold = Hold { service, live };
                match ended(&mut progress).await {
                    Some(ending) => Ok(ending.shown.clone()),
                    None => Err(Error::internal("the request was lost on its way")),
                }
            }
        }
    }
}

/// The final, once there is one.
async fn ended(progress: &mut watch::Receiver<Progress>) -> Option<Arc<Final>> {
    match &*progress.wait_for(|p| matches!(p, Progress::Ended(_))).await.ok()? {
        Progress::Ended(ending) => Some(Arc::clone(ending)),
        _ => None,
    }
}
