//! What becomes of a message: a request, the end of one, a reading.

use tokio::sync::Notify;

use super::{
    AckReason, Incoming, Outgoing, Receipt, Subscription,
    codec::{self, Letter, Reader},
    remembered::Remembered,
    topics::{Meaning, Topics},
};
use crate::{
    domain::{ErrorKind, Lane},
    service::{Reading, Receipt as Taken, Service},
    store::RequestKey,
};

/// Everything that the handling of a message needs.
pub(super) struct Intake {
    pub(super) service: Service,
    pub(super) topics: Topics,
    /// Lane of requests that name none.
    pub(super) lane: Lane,
    /// Which filters the broker may still have of us.
    pub(super) remembered: Remembered,
    /// Somebody wants a new connection.
    pub(super) renew: Notify,
}

/// What is owed to the broker for a message.
pub(super) enum Handled {
    /// Its PUBACK.
    Acknowledge(Receipt, AckReason),
    /// A final, and then its PUBACK.
    AnswerFirst(Box<Outgoing>, Receipt, AckReason),
    /// Nothing: the daemon is about to end, and the broker keeps the message for the next.
    Leave(Receipt),
    /// Nothing on this connection: it is not certain whether the message is safe here.
    SendAgain(Receipt, String),
}

impl Intake {
    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// What to subscribe to.
    pub(super) fn subscriptions(&self) -> Vec<Subscription> {
        let tasks = self.service.tasks().subscriptions();
        let tasks =
            tasks.into_iter().map(|(filter, kept)| Subscription { filter: filter.as_str().into(), kept });
        self.topics.filters().into_iter().map(Into::into).chain(tasks).collect()
    }

    /// Takes one message in. Ends when it is safe, or when it is certain that it will not be.
    pub(super) async fn handle(&self, message: Incoming) -> Handled {
        match self.topics.meaning(&message.topic) {
            Meaning::Request(key) => self.request(&key, message).await,
            Meaning::Cancel(key) => self.cancel(&key, message.receipt).await,
            Meaning::Malformed => {
                tracing::warn!(
                    topic = message.topic,
                    "a topic of ours without a usable client and id; passed over"
                );
                self.service.metrics().refused(ErrorKind::InvalidRequest);
                Handled::Acknowledge(message.receipt, AckReason::Refused)
            }
            Meaning::Foreign => self.reading(message).await,
        }
    }

    async fn request(&self, key: &RequestKey, message: Incoming) -> Handled {
        let reader = Reader { topics: &self.topics, lane: self.lane, defaults: self.service.defaults() };
        let Letter { reply, request } = reader.read(key, &message);
        let receipt = message.receipt;
        let taken = match request {
            Ok(request) => self.service.accept(request, codec::reply(reply.clone())).await,
            Err(error) => {
                self.service.metrics().refused(error.kind);
                Err(error)
            }
        };
        match taken {
            Ok(Taken::Accepted(_) | Taken::Known(_)) => Handled::Acknowledge(receipt, AckReason::Accepted),
            Ok(Taken::Done(shown)) => {
                let again = codec::final_message(reply.topic, shown.body, &reply.properties, false);
                Handled::AnswerFirst(Box::new(again), receipt, AckReason::Accepted)
            }
            Ok(Taken::Uncertain(error)) => Handled::SendAgain(receipt, error.to_string()),
            Err(error) if error.kind == ErrorKind::Draining => Handled::Leave(receipt),
            Err(error) => {
                tracing::info!(id = %key.id, client = %key.client, %error, "request refused");
                let answer = codec::refusal(&reply, key, &error);
                Handled::AnswerFirst(Box::new(answer), receipt, reason_of(error.kind))
            }
        }
    }

    async fn cancel(&self, key: &RequestKey, receipt: Receipt) -> Handled {
        match self.service.cancel(key).await {
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::RequestNotFound => {
                tracing::debug!(id = %key.id, client = %key.client, "nothing to cancel");
            }
            Err(error) => return Handled::SendAgain(receipt, error.to_string()),
        }
        Handled::Acknowledge(receipt, AckReason::Accepted)
    }

    async fn reading(&self, message: Incoming) -> Handled {
        let reading = Reading {
            topic: &message.topic,
            payload: &message.payload,
            again: message.dup,
            retained: message.retain,
        };
        match self.service.reading(reading).await {
            Ok(None) => Handled::Acknowledge(message.receipt, AckReason::Accepted),
            // It cannot be kept: it goes out before the sender's broker is told that it is done with.
            Ok(Some(words)) => {
                let words = codec::of_task(*words);
                Handled::AnswerFirst(Box::new(words), message.receipt, AckReason::QuotaExceeded)
            }
            Err(error) if error.kind == ErrorKind::Draining => Handled::Leave(message.receipt),
            Err(error) => Handled::SendAgain(message.receipt, error.to_string()),
        }
    }
}

/// What the broker may tell the sender.
fn reason_of(kind: ErrorKind) -> AckReason {
    match kind {
        ErrorKind::QueueFull | ErrorKind::StoreFull | ErrorKind::BudgetExhausted => AckReason::QuotaExceeded,
        ErrorKind::Unauthenticated | ErrorKind::PolicyDenied | ErrorKind::ResponseTopicDenied => {
            AckReason::NotAuthorized
        }
        ErrorKind::InvalidRequest | ErrorKind::TooLarge => AckReason::PayloadInvalid,
        _ => AckReason::Refused,
    }
}
