//! A connection through `rumqttc`. Nothing outside of this folder names it.
//!
//! One client per connection, thrown away with it. The library would reconnect by itself and
//! carry over what it had under way, but it would do so from memory, unseen by the store that
//! holds the finals, and not across a restart. Here a message that was not confirmed goes back to the
//! store's keeper, who sends it again on the next connection.
//!
//! What the library does, and what is done about it (version 0.34.0, read and tried):
//! - `EventLoop::poll` is not cancel-safe: dropped while it writes, it forgets the packet. So one
//!   task polls it and nothing else, and [`MqttLink`] talks to that task.
//! - A new client that finds its session at the broker is an error, or, if that is allowed, may
//!   publish nothing at `QoS` 1, because packet ids could collide. They cannot: what we had under
//!   way is published anew, under new ids, and `QoS` 2, the one case where the broker
//!   remembers ids of ours, is never sent. `open::EmptySession` tells it so.
//! - A packet larger than the broker takes is discovered while it is written, ends the connection
//!   and would do so for ever. Sizes, and strings that MQTT cannot carry, are checked before.
//! - Its table of packet ids has 65,535 places unless a limit is set: several megabytes.
//! - It pings only after a pause in writing, gives up one ping later, and waits without limit for
//!   a socket that takes nothing. `pump` halves the first and bounds the last.
//! - An incoming packet beyond the size that the broker was told ends the connection, and a
//!   broker that ignores sizes would send it again for ever. The next connection starts a new
//!   session, once.

mod convert;
mod open;
mod pump;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rumqttc::{
    AsyncClient, ClientError, DisconnectProperties, DisconnectReasonCode, EventLoop, ManualAck, Packet,
    PubAck, PubAckReason, PubRec, PubRecReason, Publish, PublishNoticeError, PublishOptions, PublishResult,
    QoS, RetainForwardRule, SubAck, SubscribeFilterInput, SubscribeNoticeError,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use self::pump::Pump;
use super::{
    Ack, AckReason, BrokerLimits, Connected, Connector, Event, Link, LinkOptions, Lost, Outgoing, Receipt,
    Subscribed, Subscription, Unsent,
    dial::dial,
    reason,
    stream::{self, Loan, Stream},
};
use crate::domain::{Secret, limits};

/// Connects to the broker of its options, always as the same client.
#[derive(Debug)]
pub struct MqttConnector {
    options: LinkOptions,
    /// What `options.receive_maximum` was configured to be.
    receive_bound: u16,
    /// Connections so far: tells their receipts apart.
    connections: u64,
    memory: Arc<Memory>,
}

/// What one connection leaves to the next.
#[derive(Debug, Default)]
struct Memory {
    /// It ended over a packet that the broker would send again at once.
    start_anew: AtomicBool,
    /// Connections in a row that were cut before the first keep-alive.
    short: AtomicU32,
}

impl MqttConnector {
    /// Does nothing yet.
    pub fn new(options: LinkOptions) -> Self {
        Self { receive_bound: options.receive_maximum, options, connections: 0, memory: Arc::default() }
    }

    async fn attempt(&self, will: Outgoing) -> Result<Opened, Lost> {
        let (stream, returned) = Loan::new(dial(&self.options).await?);
        let clean = self.memory.start_anew.load(Ordering::Relaxed);
        let (client, mut eventloop) = AsyncClient::builder(open::options(&self.options, will, clean, stream))
            .capacity(QUEUE)
            .try_build()
            .map_err(|e| Lost::permanent(e.to_string()))?;
        let connack = match eventloop.poll().await.map_err(|e| pump::lost(&self.options, e, true))? {
            rumqttc::Event::Incoming(Packet::ConnAck(connack)) => connack,
            other => {
                return Err(Lost::passing(format!("the broker began with {other:?} instead of CONNACK")));
            }
        };
        self.memory.start_anew.store(false, Ordering::Relaxed);
        let connected = open::connected(&self.options, &connack);
        if connected.limits.qos_max == 0 {
            return Err(reason::refused(0x9b));
        }
        // Its one task, to say that we know our session, is done; left in place it would be handed a
        // copy of every message under way with every packet.
        eventloop.options.clear_session_store();
        eventloop.options.set_keep_alive((connected.limits.keep_alive_s / 2).max(1));
        Ok(Opened { client, eventloop: Box::new(eventloop), connected, returned })
    }
}

struct Opened {
    client: AsyncClient,
    /// Boxed: it is many kilobytes.
    eventloop: Box<EventLoop>,
    connected: Connected,
    returned: oneshot::Receiver<Box<dyn Stream>>,
}

impl Connector for MqttConnector {
    type Link = MqttLink;

    async fn connect(&mut self, will: Outgoing, receive_maximum: u16) -> Result<(MqttLink, Connected), Lost> {
        self.options.receive_maximum = receive_maximum.min(self.receive_bound);
        if let Some(file) = &self.options.password_file {
            self.options.password = Some(Secret::read("mqtt.password_file", file).map_err(Lost::permanent)?);
        }
        self.connections += 1;
        let patience = self.options.connect_timeout;
        let attempt = timeout(patience, Box::pin(self.attempt(will))).await.unwrap_or_else(|_| {
            Err(Lost::passing(format!("{}: no answer within {patience:?}", self.options.url)))
        });
        if attempt.is_err() {
            // Cuts then are of the broker's or the network's making, not another client's.
            self.memory.short.store(0, Ordering::Relaxed);
        }
        let Opened { client, eventloop, connected, returned } = attempt?;
        let (tx, events) = mpsc::channel(limits::MQTT_EVENTS_WAITING_MAX);
        let pump = Pump {
            eventloop,
            events: tx,
            connection: self.connections,
            patience: Duration::from_secs(connected.limits.keep_alive_s.into()) * 3 / 2,
            options: self.options.clone(),
            memory: Arc::clone(&self.memory),
        };
        let link = MqttLink {
            client,
            limits: connected.limits.clone(),
            connection: self.connections,
            events,
            answers: FuturesUnordered::new(),
            under_way: 0,
            at_most_once: 0,
            lost: None,
            returned,
            pump: AbortOnDropHandle::new(tokio::spawn(pump.run())),
        };
        Ok((link, connected))
    }
}

/// Every message in one of the client's queues is one in `MqttLink::answers`, or a receipt that
/// the broker's receive window bounds, or one of a few SUBSCRIBE: it is never full.
const QUEUE: usize = limits::MQTT_SEND_WINDOW_MAX as usize
    + limits::MQTT_UNRELIABLE_WAITING_MAX
    + limits::MQTT_RECEIVE_MAXIMUM as usize;

enum Answer {
    Publish(u64, Result<PublishResult, PublishNoticeError>),
    AtMostOnce,
    Subscribe(Vec<String>, Result<SubAck, SubscribeNoticeError>),
}

/// One connection; see [`Link`].
pub struct MqttLink {
    client: AsyncClient,
    limits: BrokerLimits,
    connection: u64,
    events: mpsc::Receiver<Result<Event, Lost>>,
    /// Of the broker, or of the socket in the case of `QoS` 0.
    answers: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    under_way: usize,
    at_most_once: usize,
    lost: Option<Lost>,
    returned: oneshot::Receiver<Box<dyn Stream>>,
    pump: AbortOnDropHandle<()>,
}

impl MqttLink {
    fn answered(&mut self, answer: Answer) -> Option<Event> {
        match answer {
            Answer::AtMostOnce => {
                self.at_most_once -= 1;
                None
            }
            Answer::Publish(token, result) => {
                self.under_way -= 1;
                let outcome = match result {
                    Ok(PublishResult::Qos1(PubAck { reason: PubAckReason::Success, .. })) => Ack::Delivered,
                    Ok(PublishResult::Qos1(PubAck {
                        reason: PubAckReason::NoMatchingSubscribers, ..
                    })) => Ack::NoSubscribers,
                    Ok(PublishResult::Qos1(ack)) => convert::refusal(ack),
                    // The connection ended before the broker answered; `Lost` comes next.
                    Err(PublishNoticeError::Recv) => return None,
                    other => {
                        self.lost = Some(Lost::passing(format!("a message was not sent: {other:?}")));
                        return None;
                    }
                };
                Some(Event::Acked { token, outcome })
            }
            Answer::Subscribe(_, Err(SubscribeNoticeError::Recv)) => None,
            Answer::Subscribe(_, Err(other)) => {
                self.lost = Some(Lost::passing(format!("SUBSCRIBE was not sent: {other}")));
                None
            }
            Answer::Subscribe(filters, Ok(suback)) => Some(Event::Subscribed(
                filters
                    .into_iter()
                    .zip(suback.return_codes)
                    .map(|(filter, code)| Subscribed { filter, granted: convert::granted(code) })
                    .collect(),
            )),
        }
    }

    fn unsent(&self, publish: &Publish) -> Option<Unsent> {
        let full = match publish.qos {
            QoS::AtMostOnce => self.at_most_once >= limits::MQTT_UNRELIABLE_WAITING_MAX,
            _ => self.window() == 0,
        };
        let bytes = publish.size();
        if self.lost.is_some() {
            Some(Unsent::Ended)
        } else if full {
            Some(Unsent::Full)
        } else if publish.retain && !self.limits.retain {
            Some(Unsent::NoRetain)
        } else if bytes > self.limits.packet_bytes_max as usize {
            Some(Unsent::TooLarge { bytes, max: self.limits.packet_bytes_max })
        } else {
            None
        }
    }
}

impl Link for MqttLink {
    async fn next(&mut self) -> Result<Event, Lost> {
        loop {
            if let Some(lost) = &self.lost {
                return Err(lost.clone());
            }
            // Answers first: what the broker had acknowledged when it went is known before `Lost`.
            let answer = tokio::select! {
                biased;
                Some(answer) = self.answers.next() => answer,
                event = self.events.recv() => match event {
                    Some(Ok(event)) => return Ok(event),
                    Some(Err(lost)) => {
                        self.lost = Some(lost);
                        continue;
                    }
                    None => {
                        self.lost = Some(Lost::passing("internal error: the task of the connection ended without a word"));
                        continue;
                    }
                },
            };
            if let Some(event) = self.answered(answer) {
                return Ok(event);
            }
        }
    }

    fn publish(&mut self, token: u64, message: Outgoing) -> Result<(), Unsent> {
        let publish = convert::to_publish(message).ok_or(Unsent::Malformed)?;
        if let Some(why) = self.unsent(&publish) {
            return Err(why);
        }
        let qos = publish.qos;
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let mut options = PublishOptions::new(qos).retain(publish.retain);
        if let Some(properties) = publish.properties {
            options = options.properties(properties);
        }
        let notice =
            self.client.try_publish_tracked(topic, publish.payload, options).map_err(convert::unsent)?;
        if qos == QoS::AtMostOnce {
            self.at_most_once += 1;
            self.answers.push(Box::pin(async move {
                let _ = notice.wait_async().await;
                Answer::AtMostOnce
            }));
        } else {
            self.under_way += 1;
            self.answers.push(Box::pin(async move { Answer::Publish(token, notice.wait_async().await) }));
        }
        Ok(())
    }

    fn window(&self) -> usize {
        usize::from(self.limits.send_window).saturating_sub(self.under_way)
    }

    fn acknowledge(&mut self, receipt: Receipt, reason: AckReason) {
        if receipt.connection != self.connection {
            return;
        }
        let ack = match receipt.qos {
            0 => return,
            1 => {
                let mut ack = PubAck::new(receipt.packet, None);
                ack.reason = match reason {
                    AckReason::Accepted => PubAckReason::Success,
                    AckReason::QuotaExceeded => PubAckReason::QuotaExceeded,
                    AckReason::NotAuthorized => PubAckReason::NotAuthorized,
                    AckReason::PayloadInvalid => PubAckReason::PayloadFormatInvalid,
                    AckReason::Refused => PubAckReason::ImplementationSpecificError,
                };
                ManualAck::PubAck(ack)
            }
            // Not asked for, but a broker may have an old subscription of this client id.
            _ => {
                let mut ack = PubRec::new(receipt.packet, None);
                if reason != AckReason::Accepted {
                    ack.reason = PubRecReason::ImplementationSpecificError;
                }
                ManualAck::PubRec(ack)
            }
        };
        if let Err(ClientError::RequestChannelFull(_)) = self.client.try_manual_ack(ack) {
            self.lost = Some(Lost::passing("the broker sends more at once than it was allowed to"));
        }
    }

    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), Unsent> {
        if subscriptions.iter().any(|s| !convert::is_mqtt_string(&s.filter)) {
            return Err(Unsent::Malformed);
        }
        // As published, so that a retained message that comes later can be told and refused.
        let inputs = subscriptions.iter().map(|s| {
            let rule = if s.kept { RetainForwardRule::OnNewSubscribe } else { RetainForwardRule::Never };
            SubscribeFilterInput::new(&s.filter, QoS::AtLeastOnce)
                .retain_forward_rule(rule)
                .preserve_retain(true)
        });
        let notice = self.client.try_subscribe_many_tracked(inputs).map_err(convert::unsent)?;
        let filters = subscriptions.iter().map(|s| s.filter.clone()).collect();
        self.answers.push(Box::pin(async move { Answer::Subscribe(filters, notice.wait_async().await) }));
        Ok(())
    }

    fn unsubscribe(&mut self, filters: &[String]) -> Result<(), Unsent> {
        filters.iter().try_for_each(|filter| self.client.try_unsubscribe(filter).map_err(convert::unsent))
    }

    async fn close(mut self, will: bool) {
        let reason = if will {
            DisconnectReasonCode::DisconnectWithWillMessage
        } else {
            DisconnectReasonCode::NormalDisconnection
        };
        let properties = DisconnectProperties {
            session_expiry_interval: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        };
        // Waits for what is under way, so that acknowledgements in the queue leave before it.
        let asked = self.client.try_disconnect_with_properties_timeout(
            reason,
            properties,
            limits::MQTT_CLOSE_TIMEOUT,
        );
        let parting = async {
            while self.events.recv().await.is_some() {}
            if let Ok(stream) = (&mut self.returned).await {
                stream::part(stream).await;
            }
        };
        if asked.is_ok() {
            let _ = timeout(limits::MQTT_CLOSE_TIMEOUT * 2, parting).await;
        }
        self.pump.abort();
    }
}
