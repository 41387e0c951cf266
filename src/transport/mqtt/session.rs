//! One connection at work: requests in, finals and news out.
//!
//! Nothing here waits for anything while it holds up anything else: the loop hears the link,
//! the intake of up to sixteen messages, the outbox, news and reports in turn.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Ack, AckReason, Connected, Event, Incoming, Link, Lost, Outgoing, Qos, Receipt, Unsent, codec,
    intake::{Handled, Intake},
    outbox::{Fate, Outbox, fate_of, fate_unsent},
    report::Reports,
};
use crate::{
    domain::{Result, limits},
    service::Notice,
    store::Message,
};

/// How a session ended.
pub(super) enum End {
    /// The daemon stops.
    Stopped,
    /// Certificates or passwords may be new: connect again at once.
    Renew,
    /// The connection is gone, or worth no more.
    Lost(Lost),
}

/// What was sent under a token.
enum Sent {
    /// A row of the outbox.
    Row,
    /// The final of a message that is acknowledged after it.
    Direct(Outgoing, Owed),
    /// A report or an event: nobody waits for it.
    Free,
}

/// The PUBACK of a message, once its final is with the broker.
struct Owed {
    topic: String,
    receipt: Receipt,
    reason: AckReason,
}

/// One connection and what is under way on it.
pub(super) struct Session<'a, L> {
    link: L,
    intake: &'a Arc<Intake>,
    reports: &'a mut Reports,
    notices: &'a mut mpsc::Receiver<Notice>,
    outbox: Outbox,
    tokens: HashMap<u64, Sent>,
    next_token: u64,
    /// Finals of refused or repeated requests, before their PUBACK; as many as unacknowledged messages at most.
    direct: Vec<(Outgoing, Owed)>,
    handling: FuturesUnordered<BoxFuture<'static, (String, Handled)>>,
    /// Messages that wait for the one before them on the same topic: a request that comes twice
    /// is not refused and accepted at once, and readings keep their order.
    behind: HashMap<String, VecDeque<Incoming>>,
    reading: Option<BoxFuture<'static, Result<Vec<Message>>>>,
    writing: FuturesUnordered<BoxFuture<'static, Result<()>>>,
    /// When a row that the broker would not take now is tried again.
    retry: Option<Instant>,
    /// The broker has answered the subscriptions: we hear, and say that we are here.
    hears: bool,
}

impl<'a, L: Link> Session<'a, L> {
    pub(super) fn new(
        link: L,
        intake: &'a Arc<Intake>,
        reports: &'a mut Reports,
        notices: &'a mut mpsc::Receiver<Notice>,
    ) -> Self {
        Self {
            link,
            intake,
            reports,
            notices,
            outbox: Outbox::new(),
            tokens: HashMap::new(),
            next_token: 0,
            direct: Vec::new(),
            handling: FuturesUnordered::new(),
            behind: HashMap::new(),
            reading: None,
            writing: FuturesUnordered::new(),
            retry: None,
            hears: false,
        }
    }

    /// Works until the connection or the daemon ends.
    pub(super) async fn run(mut self, connected: &Connected, stop: &CancellationToken) -> End {
        let end = match self.greet(connected) {
            Ok(()) => self.work(stop).await,
            Err(lost) => End::Lost(lost),
        };
        // What the broker has acknowledged leaves the store, whatever happened to the connection.
        while self.writing.next().await.is_some() {}
        if !matches!(end, End::Lost(_)) {
            let last_words = self.reports.offline();
            let _ = self.link.publish(self.next_token, last_words);
            self.link.close(false).await;
        }
        end
    }

    fn greet(&mut self, connected: &Connected) -> Result<(), Lost> {
        // What was new while nobody could be told is old by now.
        while self.notices.try_recv().is_ok() {}
        // Also when the broker still has our session: tasks or pools may be new.
        let filters = self.intake.filters();
        self.link.subscribe(&filters).map_err(|e| Lost::permanent(format!("cannot subscribe: {e}")))?;
        tracing::info!(
            session_present = connected.session_present,
            filters = filters.len(),
            "connected to the broker"
        );
        Ok(())
    }

    async fn work(&mut self, stop: &CancellationToken) -> End {
        let intake = Arc::clone(self.intake);
        let mut ticks = tokio::time::interval(limits::STATUS_INTERVAL_MIN);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.fill();
            let retry = self.retry;
            tokio::select! {
                // What frees room comes before what takes it. None of the first ones can be ready for ever.
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = intake.renew.notified() => return End::Renew,
                _ = ticks.tick(), if self.hears => {
                    for message in self.reports.due() {
                        self.send_free(message);
                    }
                }
                () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {
                    self.retry = None;
                    self.outbox.again();
                }
                rows = async { self.reading.as_mut().expect("guarded").await }, if self.reading.is_some() => {
                    self.reading = None;
                    self.rows(rows);
                }
                Some(written) = self.writing.next() => {
                    if let Err(error) = written {
                        // It goes out again after a restart; the same final twice is no harm.
                        tracing::warn!(%error, "a delivered final could not be taken out of the outbox");
                    }
                }
                Some((topic, handled)) = self.handling.next() => {
                    if let Some(end) = self.handled(topic, handled) { return end }
                }
                () = intake.service.outbox_changed() => self.outbox.changed(),
                event = self.link.next() => match event {
                    Ok(event) => self.heard(event),
                    Err(lost) => return End::Lost(lost),
                },
                Some(notice) = self.notices.recv() => self.tell(&notice),
            }
        }
    }

    /// Uses the window: first finals that a PUBACK waits for, then the outbox.
    fn fill(&mut self) {
        if self.retry.is_some() {
            return;
        }
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
        if let (None, Some(after)) = (&self.reading, self.outbox.wants()) {
            let store = self.intake.service.store().clone();
            self.reading =
                Some(Box::pin(async move { store.undelivered(after, limits::OUTBOX_PORTION).await }));
        }
    }

    fn token(&mut self, sent: Sent) -> u64 {
        self.next_token += 1;
        self.tokens.insert(self.next_token, sent);
        self.next_token
    }

    /// False when nothing more can be sent now.
    fn send_direct(&mut self, message: Outgoing, owed: Owed) -> bool {
        self.next_token += 1;
        match self.link.publish(self.next_token, message.clone()) {
            Ok(()) => {
                self.tokens.insert(self.next_token, Sent::Direct(message, owed));
            }
            Err(Unsent::Full) => {
                self.direct.push((message, owed));
                return false;
            }
            // The connection is over: the broker sends the request again.
            Err(Unsent::Ended) => return false,
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
            self.reports
                .outbox_alert(format!("a final of {bytes} bytes was replaced: the broker takes {max}"));
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
            Fate::Parked(why) => self.park(row.seq, &why),
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

    fn park(&mut self, row: u64, why: &str) {
        tracing::error!(
            row,
            why,
            "the broker does not take a final; it stays in the outbox until the next connection"
        );
        self.reports.outbox_alert(format!("the broker does not take a final: {why}"));
        self.outbox.park(row);
    }

    fn delivered(&mut self, row: u64) {
        let store = self.intake.service.store().clone();
        self.writing.push(Box::pin(async move { store.delivered(row).await }));
    }

    /// For reports and events: dropped when there is no room.
    fn send_free(&mut self, message: Outgoing) {
        let free = if message.qos == Qos::AtLeastOnce { self.link.window() > 1 } else { true };
        if free {
            let token = self.token(Sent::Free);
            let retained = message.retain;
            match self.link.publish(token, message) {
                Ok(()) => return,
                Err(unsent) => tracing::debug!(%unsent, retained, "a report was not sent"),
            }
            self.tokens.remove(&token);
        }
        self.reports.missed();
    }

    fn tell(&mut self, notice: &Notice) {
        let news = codec::news(self.intake.topics(), &notice.key, &notice.reply.properties, &notice.news);
        // Finals have the right of way: half of the window is theirs.
        if news.qos == Qos::AtMostOnce || self.link.window() > 2 {
            let token = self.token(Sent::Free);
            if self.link.publish(token, news).is_err() {
                self.tokens.remove(&token);
            }
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Acked { token, outcome } => self.acked(token, &outcome),
            Event::Subscribed(answers) => {
                // Not before: who sees `online` may ask at once, and is to be heard.
                if !std::mem::replace(&mut self.hears, true) {
                    for message in self.reports.on_connect() {
                        self.send_free(message);
                    }
                }
                for answer in answers {
                    if let Err(why) = answer.granted {
                        tracing::error!(filter = answer.filter, why, "the broker refuses a subscription");
                        self.reports.subscription_refused(&answer.filter, &why);
                    }
                }
            }
        }
    }

    fn message(&mut self, message: Incoming) {
        // As many as the broker may send before we acknowledge one: that bounds both.
        match self.behind.get_mut(&message.topic) {
            Some(behind) => behind.push_back(message),
            None => {
                self.behind.insert(message.topic.clone(), VecDeque::new());
                self.handle(message);
            }
        }
    }

    fn handle(&mut self, message: Incoming) {
        let (intake, topic) = (Arc::clone(self.intake), message.topic.clone());
        self.handling.push(Box::pin(async move { (topic, intake.handle(message).await) }));
    }

    fn handled(&mut self, topic: String, handled: Handled) -> Option<End> {
        match handled {
            Handled::Acknowledge(receipt, reason) => self.done(&topic, receipt, reason),
            Handled::AnswerFirst(message, receipt, reason) => {
                self.direct.push((*message, Owed { topic, receipt, reason }));
            }
            // Left with the broker, which keeps it for the next run of the daemon.
            Handled::Leave(receipt) => drop(receipt),
            Handled::SendAgain(receipt, why) => {
                drop(receipt);
                return Some(End::Lost(Lost::passing(format!("a request was left with the broker: {why}"))));
            }
        }
        None
    }

    /// A message is dealt with: its PUBACK goes out, and the next on its topic has its turn.
    fn done(&mut self, topic: &str, receipt: Receipt, reason: AckReason) {
        self.link.acknowledge(receipt, reason);
        let next = self.behind.get_mut(topic).and_then(VecDeque::pop_front);
        match next {
            Some(message) => self.handle(message),
            None => drop(self.behind.remove(topic)),
        }
    }

    fn acked(&mut self, token: u64, outcome: &Ack) {
        match self.tokens.remove(&token) {
            Some(Sent::Row) => {
                let Some(row) = self.outbox.acknowledged(token) else { return };
                self.reports.acknowledged(outcome);
                match fate_of(outcome) {
                    Fate::Delivered => self.delivered(row),
                    Fate::Later => self.pause(),
                    Fate::Parked(why) => self.park(row, &why),
                    Fate::Hopeless => {}
                }
            }
            Some(Sent::Direct(message, owed)) => match fate_of(outcome) {
                Fate::Later => {
                    self.direct.push((message, owed));
                    self.pause();
                }
                Fate::Parked(why) => {
                    tracing::error!(
                        topic = message.topic,
                        why,
                        "the broker does not take the final of a refused request"
                    );
                    self.reports.outbox_alert(format!("the broker does not take a final: {why}"));
                    self.done(&owed.topic, owed.receipt, owed.reason);
                }
                Fate::Delivered | Fate::Hopeless => self.done(&owed.topic, owed.receipt, owed.reason),
            },
            Some(Sent::Free) | None => {}
        }
    }

    /// The broker is out of breath: nothing goes to it for a while.
    fn pause(&mut self) {
        self.retry.get_or_insert_with(|| Instant::now() + limits::OUTBOX_RETRY);
    }

    fn rows(&mut self, rows: Result<Vec<Message>>) {
        match rows {
            Ok(rows) => self.outbox.read(rows, limits::OUTBOX_PORTION),
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                self.retry = Some(Instant::now() + Duration::from_secs(5));
            }
        }
    }
}
