//! A broker in memory, as MQTT 5 describes it for `QoS` 1, on a line that drops, doubles, reorders.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use outpost::transport::mqtt::{
    Ack, AckReason, BrokerLimits, Connected, Connector, Event, Incoming, Link, Lost, Outgoing, Properties,
    Qos, Receipt, Subscription, Unsent,
};
use tokio::{sync::Notify, time::Instant};

use crate::{dice::Dice, world::Plan};

/// The broker, which outlives the daemon.
#[derive(Clone)]
pub(crate) struct Broker {
    core: Arc<Mutex<Core>>,
    news: Arc<Notify>,
    /// Somebody got a message.
    pub(crate) delivered: Arc<Notify>,
}

#[derive(Clone)]
struct Waiting {
    topic: String,
    payload: Bytes,
    properties: Properties,
    dup: bool,
}

struct Core {
    /// For the daemon, not yet given to it.
    waiting: VecDeque<Waiting>,
    /// Given to it and not acknowledged.
    given: BTreeMap<u16, Waiting>,
    next_packet: u16,
    connection: u64,
    receive_maximum: usize,
    dice: Dice,
    faulty: bool,
    plan: Plan,
    /// Everything that the daemon published and the broker took, in its order.
    published: Vec<(String, Bytes)>,
    /// Topics of requests that the daemon acknowledged as taken, with the number of messages
    /// that were published before.
    accepted: BTreeMap<String, usize>,
}

/// `QoS` 1 messages that the broker takes at once.
const WINDOW: usize = 8;

impl Broker {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let core = Core {
            waiting: VecDeque::new(),
            given: BTreeMap::new(),
            next_packet: 0,
            connection: 0,
            receive_maximum: 16,
            dice: Dice::new(seed, "broker"),
            faulty: true,
            plan,
            published: Vec::new(),
            accepted: BTreeMap::new(),
        };
        Self { core: Arc::new(Mutex::new(core)), news: Arc::default(), delivered: Arc::default() }
    }

    /// A client publishes; what it publishes is in the broker.
    pub(crate) fn publish(&self, topic: &str, payload: impl Into<Bytes>, properties: Properties) {
        let mut core = self.core.lock().unwrap();
        let message = Waiting { topic: topic.into(), payload: payload.into(), properties, dup: false };
        if core.faulty && core.dice.once_in(8) {
            core.waiting.push_back(message.clone());
        }
        core.waiting.push_back(message);
        drop(core);
        self.news.notify_waiters();
    }

    /// Messages to `topic` so far, with their places among all.
    pub(crate) fn received(&self, topic: &str) -> Vec<(usize, Bytes)> {
        let core = self.core.lock().unwrap();
        let all = core.published.iter().enumerate();
        all.filter(|(_, (t, _))| t == topic).map(|(n, (_, payload))| (n, payload.clone())).collect()
    }

    /// Requests that the daemon acknowledged as taken, and when.
    pub(crate) fn accepted(&self) -> BTreeMap<String, usize> {
        self.core.lock().unwrap().accepted.clone()
    }

    /// Whether nothing is left for the daemon.
    pub(crate) fn is_idle(&self) -> bool {
        let core = self.core.lock().unwrap();
        core.waiting.is_empty() && core.given.is_empty()
    }

    pub(crate) fn heal(&self) {
        self.core.lock().unwrap().faulty = false;
    }

    /// The line is cut.
    pub(crate) fn cut(&self) {
        self.core.lock().unwrap().connection += 1;
        self.news.notify_waiters();
    }

    pub(crate) fn connector(&self) -> SimConnector {
        SimConnector(self.clone())
    }
}

pub(crate) struct SimConnector(Broker);

impl Connector for SimConnector {
    type Link = SimLink;

    async fn connect(&mut self, _will: Outgoing, receive_maximum: u16) -> Result<(SimLink, Connected), Lost> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let broker = self.0.clone();
        let mut core = broker.core.lock().unwrap();
        if core.faulty && core.dice.once_in(4) {
            return Err(Lost::passing("nobody answers"));
        }
        core.connection += 1;
        core.receive_maximum = usize::from(receive_maximum);
        // What was not acknowledged comes again, before everything else.
        let again: Vec<Waiting> = std::mem::take(&mut core.given).into_values().collect();
        for message in again.into_iter().rev() {
            core.waiting.push_front(Waiting { dup: true, ..message });
        }
        let limits = BrokerLimits {
            receive_maximum: WINDOW as u16,
            send_window: WINDOW as u16,
            packet_bytes_max: 1 << 20,
            qos_max: 1,
            retain: true,
            shared_subscriptions: true,
            keep_alive_s: 30,
        };
        let link = SimLink {
            connection: core.connection,
            acks: VecDeque::new(),
            doomed: false,
            broker: broker.clone(),
        };
        Ok((link, Connected { session_present: true, limits }))
    }
}

pub(crate) struct SimLink {
    broker: Broker,
    connection: u64,
    /// Answers on their way back.
    acks: VecDeque<(Instant, u64, Ack)>,
    /// The line is about to break: nothing arrives any more in either direction.
    doomed: bool,
}

impl SimLink {
    fn take(&mut self) -> Result<Option<Event>, Lost> {
        let mut core = self.broker.core.lock().unwrap();
        if core.connection != self.connection || self.doomed {
            return Err(Lost::passing("the line is cut"));
        }
        if self.acks.front().is_some_and(|(due, _, _)| *due <= Instant::now()) {
            let (_, token, outcome) = self.acks.pop_front().expect("just seen");
            return Ok(Some(Event::Acked { token, outcome }));
        }
        if core.given.len() >= core.receive_maximum || core.waiting.is_empty() {
            return Ok(None);
        }
        if core.faulty && core.dice.once_in(40) {
            self.doomed = true;
            return Err(Lost::passing("the line broke"));
        }
        let reach = if core.faulty { core.waiting.len().min(3) as u64 } else { 1 };
        let which = core.dice.below(reach) as usize;
        let message = core.waiting.remove(which).expect("within its length");
        core.next_packet = core.next_packet.wrapping_add(1).max(1);
        let packet = core.next_packet;
        core.given.insert(packet, message.clone());
        Ok(Some(Event::Message(Incoming {
            topic: message.topic,
            payload: message.payload,
            qos: 1,
            retain: false,
            dup: message.dup,
            properties: message.properties,
            receipt: Receipt::new(self.connection, packet, 1),
        })))
    }
}

impl Link for SimLink {
    async fn next(&mut self) -> Result<Event, Lost> {
        loop {
            let news = Arc::clone(&self.broker.news);
            let notified = news.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            let due = self.acks.front().map(|(due, _, _)| *due);
            tokio::select! {
                biased;
                () = notified => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn publish(&mut self, token: u64, message: Outgoing) -> Result<(), Unsent> {
        let mut core = self.broker.core.lock().unwrap();
        if core.connection != self.connection || self.doomed {
            return Err(Unsent::Ended);
        }
        if message.qos == Qos::AtMostOnce {
            core.published.push((message.topic, message.payload));
            return Ok(());
        }
        if self.acks.len() >= WINDOW {
            return Err(Unsent::Full);
        }
        let due = Instant::now() + core.dice.millis(1, 50);
        let fate = if core.faulty { core.dice.below(20) } else { 19 };
        match fate {
            // Sent and lost with the line.
            0 => self.doomed = true,
            // Arrived, and the word of it lost with the line.
            1 => {
                core.published.push((message.topic, message.payload));
                self.doomed = true;
            }
            2 => self.acks.push_back((due, token, Ack::Refused(0x97, "quota exceeded".into()))),
            // The planted bug: an answer without a delivery.
            3 if core.plan.puback_too_early => self.acks.push_back((due, token, Ack::Delivered)),
            _ => {
                core.published.push((message.topic, message.payload));
                self.acks.push_back((due, token, Ack::Delivered));
            }
        }
        drop(core);
        if self.doomed {
            self.broker.news.notify_waiters();
        }
        self.broker.delivered.notify_waiters();
        Ok(())
    }

    fn window(&self) -> usize {
        WINDOW - self.acks.len()
    }

    fn acknowledge(&mut self, receipt: Receipt, reason: AckReason) {
        let mut core = self.broker.core.lock().unwrap();
        // A PUBACK may be lost with its line, too.
        if core.connection != receipt.connection() || self.doomed || (core.faulty && core.dice.once_in(30)) {
            return;
        }
        if let Some(message) = core.given.remove(&receipt.packet())
            && reason == AckReason::Accepted
        {
            let before = core.published.len();
            core.accepted.entry(message.topic).or_insert(before);
        }
        drop(core);
        self.broker.news.notify_waiters();
    }

    fn subscribe(&mut self, _subscriptions: &[Subscription]) -> Result<(), Unsent> {
        Ok(())
    }

    fn unsubscribe(&mut self, _filters: &[String]) -> Result<(), Unsent> {
        Ok(())
    }

    async fn close(self, _will: bool) {}
}
