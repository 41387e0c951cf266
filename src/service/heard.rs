//! The pieces of an answer on their way: gathered for the final, passed on to the caller,
//! and told over topics in larger pieces.

use std::{future::pending, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use super::{Service, live::Live, notice::News, run::wants_news};
use crate::domain::{Delta, Outcome, limits};

/// What was heard of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    all: Delta,
    told: u64,
    untold: Delta,
    /// What the caller was too slow to take.
    unsent: Delta,
}

impl Heard {
    /// Whether nobody has heard anything yet.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tokens of it, as they were counted on the way.
    pub(super) fn tokens(&self) -> usize {
        self.all.tokens
    }

    /// Hears until there are no more pieces. A caller who is slow to read holds nobody up: what it does
    /// not take is gathered, up to the end.
    pub(super) async fn hear(
        &mut self,
        service: &Service,
        live: &Arc<Live>,
        pieces: &mut mpsc::Receiver<Delta>,
        caller: Option<&mpsc::Sender<Delta>>,
    ) {
        let (mut due, mut gone) = (None, false);
        loop {
            tokio::select! {
                biased;
                room = room(caller), if !self.unsent.is_empty() && !gone => match room {
                    Some(room) => room.send(std::mem::take(&mut self.unsent)),
                    // It misses nothing that it could still read.
                    None => gone = true,
                },
                piece = pieces.recv() => {
                    let Some(piece) = piece else { break };
                    self.all.append(&piece);
                    if caller.is_some() {
                        self.unsent.append(&piece);
                        continue;
                    }
                    self.untold.append(&piece);
                    due.get_or_insert_with(|| Instant::now() + limits::DELTA_COALESCE);
                    if self.untold.tokens >= limits::DELTA_COALESCE_TOKENS {
                        due = None;
                        self.tell(service, live);
                    }
                }
                () = sleep_until(due) => {
                    due = None;
                    self.tell(service, live);
                }
            }
        }
        self.tell(service, live);
    }

    /// Tells what came with the end: the pieces are to make up the whole answer.
    pub(super) fn tell_rest(&mut self, service: &Service, live: &Arc<Live>, rest: &Delta) {
        self.untold.append(rest);
        self.tell(service, live);
    }

    fn tell(&mut self, service: &Service, live: &Arc<Live>) {
        let piece = std::mem::take(&mut self.untold);
        if !piece.text.is_empty() && wants_news(live) {
            service.tell(live, News::Delta { seq: self.told, text: piece.text, tokens: piece.tokens });
            self.told += 1;
        }
    }

    /// What the caller has still to get, with `rest` behind it.
    pub(super) fn unsent_and(&mut self, rest: &Delta) -> Delta {
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.append(rest);
        unsent
    }

    /// The whole answer, when `rest` is what came at its end.
    pub(super) fn whole(self, outcome: &Outcome) -> Outcome {
        let mut all = self.all;
        all.append(&outcome.rest);
        Outcome { rest: all, ..outcome.clone() }
    }
}

/// Room for one piece; `None` when the caller is gone.
async fn room(caller: Option<&mpsc::Sender<Delta>>) -> Option<mpsc::Permit<'_, Delta>> {
    caller?.reserve().await.ok()
}

/// Waits until then; for ever when there is nothing to wait for.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
