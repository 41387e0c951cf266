//! The task that owns the library's event loop, and the causes of its end.

use std::{
    fmt, io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rumqttc::{ConnectionError, EventLoop, Packet, StateError, mqttbytes::Error as Wrong};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{Memory, convert};
use crate::{
    domain::limits,
    transport::mqtt::{Event, LinkOptions, Lost, reason},
};

/// Polls until the connection ends.
pub(super) struct Pump {
    pub(super) eventloop: Box<EventLoop>,
    pub(super) events: mpsc::Sender<Result<Event, Lost>>,
    pub(super) connection: u64,
    /// One and a half keep-alives; zero when the broker wants none.
    pub(super) patience: Duration,
    pub(super) options: LinkOptions,
    pub(super) memory: Arc<Memory>,
}

impl Pump {
    pub(super) async fn run(mut self) {
        // The receiver gone means that nobody wants to know.
        if let Err(lost) = self.until_lost().await {
            let _ = self.events.send(Err(lost)).await;
        }
    }

    /// `Ok` after a DISCONNECT that was asked for.
    async fn until_lost(&mut self) -> Result<(), Lost> {
        let mut heard = Instant::now();
        loop {
            let polled = if self.patience.is_zero() {
                Ok(self.eventloop.poll().await)
            } else {
                timeout_at(heard + self.patience, self.eventloop.poll()).await
            };
            let event = match polled {
                Ok(Ok(event)) => event,
                Ok(Err(ConnectionError::RequestsDone)) => return Ok(()),
                Ok(Err(error)) => return Err(self.ended(error)),
                Err(_) => return Err(silent()),
            };
            // While the broker owes an answer only a packet from it is a sign of life: writing
            // into a socket that nobody reads works for a long time.
            let state = &self.eventloop.state;
            let owes = state.inflight() > 0 || state.await_pingresp() || state.pending_subscribe_len() > 0;
            if !owes || matches!(event, rumqttc::Event::Incoming(_)) {
                heard = Instant::now();
            }
            if matches!(event, rumqttc::Event::Incoming(Packet::PingResp)) {
                self.memory.short.store(0, Ordering::Relaxed);
            }
            if let rumqttc::Event::Incoming(Packet::Publish(publish)) = event {
                if publish.topic.is_empty() {
                    return Err(broken(&self.options, &"a message without a topic"));
                }
                let message = Event::Message(convert::from_publish(publish, self.connection));
                if self.events.send(Ok(message)).await.is_err() {
                    return Ok(());
                }
                // The wait for a slow reader was ours, not the broker's.
                heard = Instant::now();
            }
        }
    }
}

/// Why the library gave up, and what the next connection has to know of it.
impl Pump {
    fn ended(&self, error: ConnectionError) -> Lost {
        use ConnectionError::{Io, MqttState};
        let (too_large, cut) = match &error {
            MqttState(StateError::Deserialization(wrong)) => {
                (matches!(wrong, Wrong::PayloadSizeLimitExceeded { .. }), matches!(wrong, Wrong::Io(_)))
            }
            MqttState(StateError::ConnectionAborted | StateError::Io(_)) | Io(_) => (false, true),
            _ => (false, false),
        };
        let mut lost = lost(&self.options, error, false);
        if too_large {
            self.memory.start_anew.store(true, Ordering::Relaxed);
        }
        // Not every mosquitto says 0x8E to the one whom it throws out.
        if cut && self.memory.short.fetch_add(1, Ordering::Relaxed) + 1 >= limits::MQTT_SHORT_CONNECTIONS {
            lost.reason.push_str(
                ", again soon after it began: does another client use our `mqtt.client_id`, \
                 or does something between us and the broker cut connections?",
            );
        }
        lost
    }
}

fn broken(options: &LinkOptions, how: &dyn fmt::Display) -> Lost {
    Lost::passing(format!("{}: the broker broke the protocol: {how}", options.url))
}

fn silent() -> Lost {
    Lost::passing("the broker no longer answers: it has been silent for longer than a keep-alive")
}

pub(super) fn lost(options: &LinkOptions, error: ConnectionError, connecting: bool) -> Lost {
    match error {
        ConnectionError::ConnectionRefused(code) => reason::refused(convert::connack_code(code)),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            reason::disconnected(reason_code as u8, reason_string.as_deref())
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => silent(),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            reason::io(&options.url, &io::ErrorKind::UnexpectedEof.into(), connecting)
        }
        ConnectionError::MqttState(StateError::Deserialization(Wrong::PayloadSizeLimitExceeded {
            pkt_size,
            max,
        })) => Lost::permanent(format!(
            "the broker sent a packet of {pkt_size} bytes although it was told that {max} is the most; \
             its session is given up, so that it does not send that again"
        )),
        ConnectionError::MqttState(StateError::Io(e) | StateError::Deserialization(Wrong::Io(e)))
        | ConnectionError::Io(e) => reason::io(&options.url, &e, connecting),
        ConnectionError::MqttState(StateError::Deserialization(wrong)) => broken(options, &wrong),
        ConnectionError::MqttState(other) => broken(options, &other),
        ConnectionError::NotConnAck(_) => broken(options, &"it began with another packet than CONNACK"),
        other => Lost::passing(format!("{}: {other}", options.url)),
    }
}
