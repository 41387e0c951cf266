//! A session's way out: which message is sent when, and what is done with one that cannot be.

use super::{
    Link, Outgoing, Qos, Unsent, codec,
    outbox::{Fate, fate_unsent},
    session::{Owed, Sent, Session},
};
use crate::{domain::limits, service::Notice, store::Message};

impl<L: Link> Session<'_, L> {
    /// Uses the window: first reports, of which there are few, then finals that a PUBACK waits for,
    /// then the outbox.
    pub(super) fn fill(&mut self) {
        if self.retry.is_some() {
            return;
        }
        self.send_reports();
        while self.link.window() > 0 {
            let Some((message, owed)) = self.direct.pop() else { break };
            if !self.send_direct(message, owed) {
                return;
            }
        }
        while self.link.window() > 0 && self.direct.is_empty() {
            let Some(row) = self.outbox.next() else { break };
            if !self.send_row(row) {
                return;
            }
        }
        if self.reading.is_none()
            && let Some(after) = self.outbox.begin_read()
        {
            let store = self.intake.service.store().clone();
            self.reading =
                Some(Box::pin(async move { store.undelivered(after, limits::OUTBOX_PORTION).await }));
        }
    }

    /// For what nobody waits for.
    fn free_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// False when nothing more can be sent now.
    fn send_direct(&mut self, message: Outgoing, owed: Owed) -> bool {
        self.next_token += 1;
        match self.link.publish(self.next_token, message.clone()) {
            Ok(()) => {
                self.tokens.insert(self.next_token, Sent::Direct(Box::new((message, owed))));
            }
            Err(Unsent::Full) => {
                self.direct.push((message, owed));
                return false;
            }
            // The connection is over: the broker sends the request again.
            Err(Unsent::Ended) => return false,
            // As with the outbox; once more only, for even that may be too large.
            Err(Unsent::TooLarge { bytes, max }) if !owed.replaced => {
                tracing::error!(
                    topic = message.topic,
                    bytes,
                    max,
                    "a final was replaced: it is too large for the broker"
                );
                let small = codec::too_large_in_place(self.intake.topics(), message, &owed.topic, bytes, max);
                return self.send_direct(small, Owed { replaced: true, ..owed });
            }
            Err(unsent) => {
                tracing::error!(%unsent, topic = message.topic, "a final cannot be sent");
                self.done(&owed.topic, owed.receipt, owed.reason);
            }
        }
        true
    }

    /// False when nothing more can be sent now.
    fn send_row(&mut self, row: Message) -> bool {
        let mut unsent = match self.publish_row(&row, codec::of_outbox(&row)) {
            Ok(()) => return true,
            Err(unsent) => unsent,
        };
        if let Unsent::TooLarge { bytes, max } = unsent {
            tracing::error!(
                topic = row.topic,
                bytes,
                max,
                "a final was replaced: it is too large for the broker"
            );
            match self.publish_row(&row, codec::too_large_for_broker(&row, bytes, max)) {
                Ok(()) => return true,
                Err(even_so) => unsent = even_so,
            }
        }
        match fate_unsent(&unsent) {
            Fate::Later => {
                self.outbox.put_back(row);
                return false;
            }
            Fate::Hopeless => {
                tracing::error!(topic = row.topic, %unsent, "a final can never be sent and is given up");
                self.reports.outbox_alert(format!("a final for `{}` was given up: {unsent}", row.topic));
                self.delivered(row.seq);
            }
            Fate::Parked(why) | Fate::Refused(why) => self.park(row.seq, &why),
            Fate::Delivered => {}
        }
        true
    }

    fn publish_row(&mut self, row: &Message, message: Outgoing) -> Result<(), Unsent> {
        self.next_token += 1;
        let sent = match self.link.publish(self.next_token, message.clone()) {
            // A broker without retained messages still delivers to those who listen now.
            Err(Unsent::NoRetain) => {
                self.link.publish(self.next_token, Outgoing { retain: false, ..message })
            }
            sent => sent,
        };
        sent.map(|()| {
            self.tokens.insert(self.next_token, Sent::Row);
            self.outbox.sent(self.next_token, row.seq);
        })
    }

    pub(super) fn park(&mut self, row: u64, why: &str) {
        tracing::error!(
            row,
            why,
            "the broker does not take a final; it stays in the outbox until the next connection"
        );
        self.reports.outbox_alert(format!("the broker does not take a final: {why}"));
        self.outbox.park(row);
    }

    pub(super) fn delivered(&mut self, row: u64) {
        let store = self.intake.service.store().clone();
        self.writing.push(Box::pin(async move { store.delivered(row).await }));
    }

    /// A report: one that finds no room waits for it, in place of an older one on its topic.
    pub(super) fn report(&mut self, message: Outgoing) {
        self.waiting.retain(|older| older.topic != message.topic);
        self.waiting.push_back(message);
        self.send_reports();
    }

    fn send_reports(&mut self) {
        // Where there is more than one place, one stays free for finals.
        let spare = usize::from(self.send_window > 1);
        while self.link.window() > spare
            && let Some(message) = self.waiting.pop_front()
        {
            let token = self.free_token();
            if let Err(unsent) = self.link.publish(token, message.clone()) {
                if unsent == Unsent::Full {
                    return self.waiting.push_front(message);
                }
                tracing::warn!(%unsent, topic = message.topic, "a report cannot be sent");
            }
        }
    }

    pub(super) fn tell(&mut self, notice: &Notice) {
        let news = codec::news(self.intake.topics(), &notice.key, &notice.reply.properties, &notice.news);
        // Finals have the right of way: half of the window is theirs.
        if news.qos == Qos::AtMostOnce || self.link.window() > 2 {
            let token = self.free_token();
            // Best effort: what finds no room is not said.
            let _ = self.link.publish(token, news);
        }
    }
}
