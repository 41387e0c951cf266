//! CONNECT and CONNACK.

use std::{future::Future, io, pin::Pin, sync::Mutex};

use rumqttc::{
    AckMode, Broker, ConnAck, ConnectProperties, LastWill, MqttOptions, PersistedAckMode, PersistedSession,
    SessionStore, SessionStoreError, SessionStoreKey,
};

use super::convert;
use crate::{
    domain::limits,
    transport::mqtt::{BrokerLimits, Connected, LinkOptions, Outgoing, stream::Loan},
};

/// How the library is told to connect. `stream` is the connection that was made already.
pub(super) fn options(options: &LinkOptions, will: Outgoing, clean: bool, stream: Loan) -> MqttOptions {
    let broker = Broker::tcp(options.url.host.clone(), options.url.port);
    let mut mqtt = MqttOptions::new(options.client_id.clone(), broker);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(options.session_expiry_s);
    properties.receive_maximum = Some(options.receive_maximum.clamp(1, limits::MQTT_RECEIVE_MAXIMUM));
    properties.max_packet_size = Some(options.packet_bytes_max);
    mqtt.set_connect_properties(properties)
        .set_clean_start(clean)
        .set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX).max(2))
        // The whole attempt is bounded elsewhere.
        .set_connect_timeout(options.connect_timeout * 2)
        .set_ack_mode(AckMode::Manual)
        .set_outgoing_inflight_upper_limit(limits::MQTT_SEND_WINDOW_MAX)
        .set_session_store(EmptySession { client_id: options.client_id.clone() });
    match (
        &options.username,
        options.password.as_ref().map(|password| bytes::Bytes::copy_from_slice(password.reveal())),
    ) {
        (Some(user), Some(password)) => mqtt.set_credentials(user.clone(), password),
        (Some(user), None) => mqtt.set_username(user.clone()),
        (None, Some(password)) => mqtt.set_password(password),
        (None, None) => &mut mqtt,
    };
    mqtt.set_last_will(LastWill {
        topic: will.topic.into(),
        message: will.payload,
        qos: convert::qos(will.qos),
        retain: will.retain,
        properties: None,
    });
    let stream = Mutex::new(Some(stream));
    mqtt.set_socket_connector(move |_, _| {
        let stream = stream.lock().ok().and_then(|mut s| s.take());
        async { stream.ok_or_else(|| io::Error::other("one connection has one stream")) }
    });
    mqtt
}

/// Tells the library that nothing of ours is under way in the session at the broker.
#[derive(Debug)]
struct EmptySession {
    client_id: String,
}

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for EmptySession {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: self.client_id.clone(),
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: Some(limits::MQTT_SEND_WINDOW_MAX),
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(async { Ok(Some(session)) })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// What the broker said in CONNACK.
pub(super) fn connected(options: &LinkOptions, connack: &ConnAck) -> Connected {
    let said = connack.properties.as_ref();
    let flag = |value: Option<u8>| value != Some(0);
    let receive_maximum = said.and_then(|p| p.receive_max).unwrap_or(u16::MAX);
    let ours = options.keep_alive.as_secs() as u16;
    let limits = BrokerLimits {
        receive_maximum,
        send_window: receive_maximum.min(limits::MQTT_SEND_WINDOW_MAX),
        packet_bytes_max: said
            .and_then(|p| p.max_packet_size)
            .unwrap_or(limits::MQTT_PROTOCOL_PACKET_BYTES_MAX),
        qos_max: said.and_then(|p| p.max_qos).unwrap_or(2),
        retain: flag(said.and_then(|p| p.retain_available)),
        shared_subscriptions: flag(said.and_then(|p| p.shared_subscription_available)),
        keep_alive_s: said.and_then(|p| p.server_keep_alive).unwrap_or(ours),
    };
    Connected { session_present: connack.session_present, limits }
}
