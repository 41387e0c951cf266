//! The pieces of an answer on their way: gathered for the final, passed on to the caller,
//! and told over topics in larger pieces.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Service, live::Live, notice::News, run::wants_news};
use crate::domain::{Delta, Outcome, limits};

/// What was heard of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    all: Delta,
    told: u64,
    untold: Delta,
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

    /// Hears until the engine has no more pieces.
    pub(super) async fn hear(
        &mut self,
        service: &Service,
        live: &Arc<Live>,
        pieces: &mut mpsc::Receiver<Delta>,
        caller: Option<mpsc::Sender<Delta>>,
    ) {
        let mut due = None;
        loop {
            let piece = match due {
                None => pieces.recv().await,
                Some(at) => {
                    let Ok(piece) = tokio::time::timeout_at(at, pieces.recv()).await else {
                        due = None;
                        self.tell(service, live);
                        continue;
                    };
                    piece
                }
            };
            let Some(piece) = piece else { break };
            self.all.append(&piece);
            if let Some(caller) = &caller {
                // A caller that is gone misses nothing that it could still read.
                let _ = caller.send(piece).await;
                continue;
            }
            self.untold.append(&piece);
            due.get_or_insert_with(|| tokio::time::Instant::now() + limits::DELTA_COALESCE);
            if self.untold.tokens >= limits::DELTA_COALESCE_TOKENS {
                due = None;
                self.tell(service, live);
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

    /// The whole answer, when `rest` is what came at its end.
    pub(super) fn whole(self, outcome: &Outcome) -> Outcome {
        let mut all = self.all;
        all.append(&outcome.rest);
        Outcome { rest: all, ..outcome.clone() }
    }
}
