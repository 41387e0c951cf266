//! Messages as they come in and go out, without a word of any library.

use bytes::Bytes;

/// What MQTT 5 lets a message carry beside topic and payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Where the sender wants the answer.
    pub response_topic: Option<String>,
    /// The sender's own mark, given back byte for byte.
    pub correlation: Option<Bytes>,
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// Seconds until nobody wants the message any more; the broker counts them down.
    pub expiry_s: Option<u32>,
    /// The sender says that the payload is UTF-8. Nobody has checked it.
    pub payload_is_utf8: bool,
    /// User properties in their order; a name may come twice.
    pub user: Vec<(String, String)>,
}

/// How hard the broker tries. `QoS` 2 is not offered: ids make twice the same as once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// `QoS` 0: gone with the connection.
    AtMostOnce,
    /// `QoS` 1: until it is acknowledged.
    AtLeastOnce,
}

/// A message from the broker.
#[derive(Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its topic; never empty, never with wildcards.
    pub topic: String,
    /// May share its memory with packets that came beside it: copy it to keep it for long.
    pub payload: Bytes,
    /// 0 to 2, as it was delivered.
    pub qos: u8,
    /// It was published as retained.
    pub retain: bool,
    /// It may have come before.
    pub dup: bool,
    /// Everything else that it carries.
    pub properties: Properties,
    /// To be acknowledged once, by value.
    pub receipt: Receipt,
}

/// A message to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Bytes,
    /// How hard the broker tries.
    pub qos: Qos,
    /// The broker keeps it for those who subscribe later.
    pub retain: bool,
    /// Everything else that it carries.
    pub properties: Properties,
}

/// The right to acknowledge one incoming message, on the connection that it came over.
///
/// Dropped, it leaves the message unacknowledged: the message keeps its place in the receive
/// window, and the broker sends it again after the next connect.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the broker waits for an acknowledgement"]
pub struct Receipt {
    pub(super) connection: u64,
    pub(super) packet: u16,
    pub(super) qos: u8,
}

impl Receipt {
    /// For whoever delivers messages: `connection` tells connections apart, `packet` the
    /// messages of one connection.
    pub const fn new(connection: u64, packet: u16, qos: u8) -> Self {
        Self { connection, packet, qos }
    }

    /// Whether the broker waits for it: at `QoS` 0 it does not.
    pub const fn is_awaited(&self) -> bool {
        self.qos > 0
    }

    /// Which connection it came over.
    pub const fn connection(&self) -> u64 {
        self.connection
    }

    /// Its packet id, 0 for `QoS` 0.
    pub const fn packet(&self) -> u16 {
        self.packet
    }
}
