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
    Ack, AckReason, Connected, Event, Incoming, Link, Lost, Outgoing, Receipt, Subscribed,
    intake::{Handled, Intake},
    outbox::{Fate, Outbox, fate_of},
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
pub(super) enum Sent {
    /// A row of the outbox.
    Row,
    /// The final of a message that is acknowledged after it.
    Direct(Box<(Outgoing, Owed)>),
}

/// The PUBACK of a message, once its final is with the broker.
pub(super) struct Owed {
    pub(super) topic: String,
    pub(super) receipt: Receipt,
    pub(super) reason: AckReason,
    /// The final was too large for the broker, and a small one went in its place.
    pub(super) replaced: bool,
}

/// One connection and what is under way on it.
pub(super) struct Session<'a, L> {
    pub(super) link: L,
    pub(super) intake: &'a Arc<Intake>,
    pub(super) reports: &'a mut Reports,
    pub(super) notices: &'a mut mpsc::Receiver<Notice>,
    pub(super) outbox: Outbox,
    pub(super) tokens: HashMap<u64, Sent>,
    pub(super) next_token: u64,
    /// Finals of refused or repeated requests, before their PUBACK; as many as unacknowledged messages at most.
    pub(super) direct: Vec<(Outgoing, Owed)>,
    pub(super) handling: FuturesUnordered<BoxFuture<'static, (String, Handled)>>,
    /// Messages that wait for the one before them on the same topic: a request that comes twice
    /// is not refused and accepted at once, and readings keep their order.
    pub(super) behind: HashMap<String, VecDeque<Incoming>>,
    pub(super) reading: Option<BoxFuture<'static, Result<Vec<Message>>>>,
    pub(super) writing: FuturesUnordered<BoxFuture<'static, Result<()>>>,
    /// When a row that the broker would not take now is tried again.
    pub(super) retry: Option<Instant>,
    /// The broker has answered the subscriptions: we hear, and say that we are here.
    hears: bool,
    /// Messages at `QoS` 0 that are not dealt with.
    loose: usize,
    /// The filters that the broker has once it answers, when those are others than before.
    unnoted: Option<Vec<String>>,
    /// Reports that wait for room; one for each of their topics at most.
    pub(super) waiting: VecDeque<Outgoing>,
    /// Places of the window when nothing is under way.
    pub(super) send_window: u16,
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
            loose: 0,
            unnoted: None,
            waiting: VecDeque::new(),
            send_window: 1,
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
            // Without room for them the last will says it.
            let unsaid = self.link.publish(self.next_token, last_words).is_err();
            self.link.close(unsaid).await;
        }
        end
    }

    fn greet(&mut self, connected: &Connected) -> Result<(), Lost> {
        self.send_window = connected.limits.send_window;
        // What was new while nobody could be told is old by now.
        while self.notices.try_recv().is_ok() {}
        // Also when the broker still has our session: tasks or pools may be new.
        let (may, cannot): (Vec<_>, Vec<_>) = self
            .intake
            .subscriptions()
            .into_iter()
            .partition(|s| connected.limits.shared_subscriptions || !s.filter.starts_with("$share/"));
        self.reports.begin();
        for subscription in cannot {
            self.reports.subscription_refused(&subscription.filter, "it has no shared subscriptions");
        }
        let wanted: Vec<String> = may.iter().map(|s| s.filter.clone()).collect();
        let had = self.intake.remembered.load();
        let gone: Vec<String> = had.iter().filter(|filter| !wanted.contains(filter)).cloned().collect();
        if had != wanted {
            // Until the broker has answered it may have any of them.
            self.intake.remembered.save(&[&wanted[..], &gone].concat());
            self.unnoted = Some(wanted);
        }
        let cannot = |e| Lost::permanent(format!("cannot subscribe: {e}"));
        self.link.unsubscribe(&gone).map_err(cannot)?;
        self.link.subscribe(&may).map_err(cannot)?;
        tracing::info!(
            session_present = connected.session_present,
            filters = may.len(),
            taken_back = gone.len(),
            "connected to the broker"
        );
        Ok(())
    }

    /// The broker has answered the subscriptions: we hear.
    fn subscribed(&mut self, answers: Vec<Subscribed>) {
        for answer in answers {
            if let Err(why) = answer.granted {
                tracing::error!(filter = answer.filter, why, "the broker refuses a subscription");
                self.reports.subscription_refused(&answer.filter, &why);
            }
        }
        // Not before: who sees `online` may ask at once, and is to be heard.
        if !std::mem::replace(&mut self.hears, true) {
            if let Some(filters) = self.unnoted.take() {
                self.intake.remembered.save(&filters);
            }
            for message in self.reports.on_connect() {
                self.report(message);
            }
        }
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
                        self.report(message);
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

    fn heard(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.message(message),
            Event::Acked { token, outcome } => self.acked(token, &outcome),
            Event::Subscribed(answers) => self.subscribed(answers),
        }
    }

    fn message(&mut self, message: Incoming) {
        // At QoS 1 as many as the broker may send before we acknowledge one: that bounds both. At
        // QoS 0 it sends without end.
        if !message.receipt.is_awaited() {
            if self.loose >= limits::MQTT_LOOSE_MAX {
                self.intake.service.metrics().reading_skipped("qos_0");
                return;
            }
            self.loose += 1;
        }
        if let Some(behind) = self.behind.get_mut(&message.topic) {
            behind.push_back(message);
        } else {
            self.behind.insert(message.topic.clone(), VecDeque::new());
            self.handle(message);
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
                self.direct.push((*message, Owed { topic, receipt, reason, replaced: false }));
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
    pub(super) fn done(&mut self, topic: &str, receipt: Receipt, reason: AckReason) {
        self.loose -= usize::from(!receipt.is_awaited());
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
                    Fate::Refused(why) if self.outbox.refused(row) >= limits::OUTBOX_REFUSALS_MAX => {
                        self.park(row, &why);
                    }
                    Fate::Later | Fate::Refused(_) => self.pause(),
                    Fate::Parked(why) => self.park(row, &why),
                    Fate::Hopeless => {}
                }
            }
            Some(Sent::Direct(direct)) => {
                self.reports.acknowledged(outcome);
                self.direct_acked(*direct, fate_of(outcome));
            }
            None => {}
        }
    }

    fn direct_acked(&mut self, (message, owed): (Outgoing, Owed), fate: Fate) {
        match fate {
            Fate::Later | Fate::Refused(_) => {
                self.direct.push((message, owed));
                return self.pause();
            }
            Fate::Parked(why) => {
                tracing::error!(
                    topic = message.topic,
                    why,
                    "the broker does not take the final of a refused request"
                );
                self.reports.outbox_alert(format!("the broker does not take a final: {why}"));
            }
            Fate::Delivered | Fate::Hopeless => {}
        }
        self.done(&owed.topic, owed.receipt, owed.reason);
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
