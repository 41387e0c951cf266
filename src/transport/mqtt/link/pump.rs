//! The task that owns the library's event loop, and the causes of its end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rumqttc::{ConnectionError, EventLoop, Packet, StateError, mqttbytes::Error as Wrong};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::convert;
use crate::transport::mqtt::{Event, LinkOptions, Lost, reason};

/// Polls until the connection ends.
pub(super) struct Pump {
    pub(super) eventloop: EventLoop,
    pub(super) events: mpsc::Sender<Result<Event, Lost>>,
    pub(super) connection: u64,
    /// One and a half keep-alives; zero when the broker wants none.
    pub(super) patience: Duration,
    pub(super) options: LinkOptions,
    pub(super) start_anew: Arc<AtomicBool>,
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
                Ok(Err(error)) => {
                    if matches!(&error, ConnectionError::MqttState(StateError::Deserialization(e)) if is_too_large(e))
                    {
                        self.start_anew.store(true, Ordering::Relaxed);
                    }
                    return Err(lost(&self.options, error, false));
                }
                Err(_) => return Err(silent(self.patience)),
            };
            // While the broker owes an answer only a packet from it is a sign of life: writing
            // into a socket that nobody reads works for a long time.
            let state = &self.eventloop.state;
            let owes = state.inflight() > 0 || state.await_pingresp() || state.pending_subscribe_len() > 0;
            if !owes || matches!(event, rumqttc::Event::Incoming(_)) {
                heard = Instant::now();
            }
            if let rumqttc::Event::Incoming(Packet::Publish(publish)) = event {
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

fn silent(patience: Duration) -> Lost {
    Lost::passing(format!("the broker has been silent for {patience:?} although it owes an answer"))
}

const fn is_too_large(error: &Wrong) -> bool {
    matches!(error, Wrong::PayloadSizeLimitExceeded { .. })
}

pub(super) fn lost(options: &LinkOptions, error: ConnectionError, connecting: bool) -> Lost {
    match error {
        ConnectionError::ConnectionRefused(code) => reason::refused(convert::connack_code(code)),
        // What a broker that knows only MQTT 3 answers to version 5.
        ConnectionError::MqttState(StateError::Deserialization(Wrong::InvalidConnectReturnCode(1))) => {
            reason::refused(0x84)
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            reason::disconnected(reason_code as u8, reason_string.as_deref())
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => silent(options.keep_alive),
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
        other => Lost::passing(format!("{}: {other}", options.url)),
    }
}
