//! The library's types into ours, and back.

use rumqttc::{ClientError, ConnectReturnCode, PubAck, Publish, PublishProperties, QoS, SubscribeReasonCode};

use crate::transport::mqtt::{Ack, Incoming, Outgoing, Properties, Qos, Receipt, Unsent, reason};

pub(super) const fn connack_code(code: ConnectReturnCode) -> u8 {
    use ConnectReturnCode as Code;
    match code {
        Code::Success => 0x00,
        Code::UnspecifiedError => 0x80,
        Code::MalformedPacket => 0x81,
        Code::ProtocolError => 0x82,
        Code::ImplementationSpecificError => 0x83,
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => 0x84,
        Code::ClientIdentifierNotValid | Code::BadClientId => 0x85,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
        Code::ServerUnavailable | Code::ServiceUnavailable => 0x88,
        Code::ServerBusy => 0x89,
        Code::Banned => 0x8a,
        Code::BadAuthenticationMethod => 0x8c,
        Code::TopicNameInvalid => 0x90,
        Code::PacketTooLarge => 0x95,
        Code::QuotaExceeded => 0x97,
        Code::PayloadFormatInvalid => 0x99,
        Code::RetainNotSupported => 0x9a,
        Code::QoSNotSupported => 0x9b,
        Code::UseAnotherServer => 0x9c,
        Code::ServerMoved => 0x9d,
        Code::ConnectionRateExceeded => 0x9f,
    }
}

pub(super) fn refusal(ack: PubAck) -> Ack {
    let code = ack.reason as u8;
    let said = ack.properties.and_then(|p| p.reason_string).map(|s| format!(", it says {s:?}"));
    Ack::Refused(code, format!("{} (0x{code:02X}){}", reason::words(code), said.unwrap_or_default()))
}

/// Why the client did not take something.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn unsent(error: ClientError) -> Unsent {
    match error {
        ClientError::RequestChannelDisconnected(_) => Unsent::Ended,
        ClientError::RequestChannelFull(_) => Unsent::Full,
        _ => Unsent::Malformed,
    }
}

pub(super) fn granted(code: SubscribeReasonCode) -> Result<u8, String> {
    use SubscribeReasonCode as Code;
    let code = match code {
        Code::Success(qos) => return Ok(qos as u8),
        Code::Failure | Code::Unspecified => 0x80,
        Code::ImplementationSpecific => 0x83,
        Code::NotAuthorized => 0x87,
        Code::TopicFilterInvalid => 0x8f,
        Code::PkidInUse => 0x91,
        Code::QuotaExceeded => 0x97,
        Code::SharedSubscriptionsNotSupported => 0x9e,
        Code::SubscriptionIdNotSupported => 0xa1,
        Code::WildcardSubscriptionsNotSupported => 0xa2,
    };
    Err(format!("{} (0x{code:02X})", reason::words(code)))
}

pub(super) const fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

pub(super) fn is_mqtt_string(text: &str) -> bool {
    u16::try_from(text.len()).is_ok() && !text.contains('\0')
}

/// `None` for what would break the connection when it is written.
pub(super) fn to_publish(message: Outgoing) -> Option<Publish> {
    let p = message.properties;
    let strings = [Some(&message.topic), p.response_topic.as_ref(), p.content_type.as_ref()];
    let user = p.user.iter().flat_map(|(k, v)| [k, v]);
    let sound = strings.into_iter().flatten().chain(user).all(|s| is_mqtt_string(s))
        && p.correlation.as_ref().is_none_or(|c| u16::try_from(c.len()).is_ok())
        && is_topic(&message.topic)
        && p.response_topic.as_deref().is_none_or(is_topic);
    if !sound {
        return None;
    }
    let properties = PublishProperties {
        payload_format_indicator: p.payload_is_utf8.then_some(1),
        message_expiry_interval: p.expiry_s,
        response_topic: p.response_topic,
        correlation_data: p.correlation,
        user_properties: p.user,
        content_type: p.content_type,
        ..PublishProperties::default()
    };
    let mut publish = Publish::new(message.topic, qos(message.qos), message.payload, Some(properties));
    publish.retain = message.retain;
    // Any, so that its two bytes count in the size.
    publish.pkid = u16::from(message.qos == Qos::AtLeastOnce);
    Some(publish)
}

fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#'])
}

pub(super) fn from_publish(publish: Publish, connection: u64) -> Incoming {
    let p = publish.properties.unwrap_or_default();
    let qos = publish.qos as u8;
    Incoming {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload,
        qos,
        retain: publish.retain,
        dup: publish.dup,
        properties: Properties {
            response_topic: p.response_topic,
            correlation: p.correlation_data,
            content_type: p.content_type,
            expiry_s: p.message_expiry_interval,
            payload_is_utf8: p.payload_format_indicator == Some(1),
            user: p.user_properties,
        },
        receipt: Receipt { connection, packet: publish.pkid, qos },
    }
}
