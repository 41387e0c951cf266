//! What a request's sender may learn while it waits. Best effort: a notice that finds no room is dropped.

use std::{sync::Arc, time::Duration};

use super::{Keeping, Reply, Service, TopicReply, live::Live};
use crate::store::RequestKey;

/// News of one request that answers to a topic.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Which request.
    pub key: RequestKey,
    /// Where its final will go.
    pub reply: TopicReply,
    /// What is new.
    pub news: News,
}

/// What is new.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// It waits.
    Queued {
        /// Requests before it.
        position: usize,
        /// Until its answer is complete, as far as one can tell.
        eta: Option<Duration>,
    },
    /// It waits, and why it is not answered elsewhere either.
    Deferred {
        /// Why.
        why: String,
    },
    /// It is being answered.
    Running {
        /// Where.
        place: String,
    },
    /// A piece of the answer.
    Delta {
        /// Counted from 0.
        seq: u64,
        /// The text.
        text: String,
        /// Tokens that it stands for.
        tokens: usize,
    },
}

impl Service {
    /// Tells the transport, if it listens and the request answers to a topic.
    pub(super) fn tell(&self, live: &Arc<Live>, news: News) {
        if let Keeping::Durable(Reply::Topic(reply)) = &live.keeping {
            let notice = Notice { key: live.key().clone(), reply: reply.clone(), news };
            if self.shared.notices.try_send(notice).is_err() {
                self.shared.metrics.notice_dropped();
            }
        }
    }

    /// What [`outlook`](Self::outlook) will say of a request that is about to be put into the queue.
    pub(super) fn prospect(&self, live: &Live) -> (usize, Option<Duration>) {
        let s = &self.shared;
        let (position, ahead) = s.queue().ahead_of_new(&live.key().client, live.request.lane);
        (position, s.speed().time_for(ahead + self.work(live)))
    }

    /// Requests before this one, and until when it will be answered.
    pub(super) fn outlook(&self, live: &Live) -> (usize, Option<Duration>) {
        let s = &self.shared;
        let Some(ticket) = *super::shared::lock(&live.ticket) else { return (0, None) };
        let (position, ahead) = s.queue().ahead_of(ticket);
        let own = super::shared::lock(&live.prepared).as_ref().map(|p| p.work(s.answer_mean()));
        (position, own.and_then(|own| s.speed().time_for(ahead + own)))
    }
}
