//! The face of a connection. A simulated broker implements it as well.

use std::fmt;

use super::{Incoming, Outgoing, Receipt};

/// What the broker said it can do, with MQTT's defaults where it said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Unacknowledged `QoS` 1 messages that it takes from us.
    pub receive_maximum: u16,
    /// Those that we have under way at most: the smaller of its limit and ours.
    pub send_window: u16,
    /// Largest packet that it takes, bytes, headers included.
    pub packet_bytes_max: u32,
    /// Highest `QoS`; never 0, such a broker is refused.
    pub qos_max: u8,
    /// It keeps retained messages.
    pub retain: bool,
    /// It has `$share/…` filters.
    pub shared_subscriptions: bool,
    /// Keep-alive in force, seconds: the broker's if it named one, else ours.
    pub keep_alive_s: u16,
}

/// A connection has been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The broker still has our session: subscriptions hold, what we did not acknowledge comes
    /// again. `false`: subscribe anew.
    pub session_present: bool,
    /// What it can do.
    pub limits: BrokerLimits,
}

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Incoming),
    /// The broker answered the `QoS` 1 publish with this token.
    Acked {
        /// As given to [`Link::publish`].
        token: u64,
        /// What it answered.
        outcome: Ack,
    },
    /// The broker answered a [`Link::subscribe`], filter by filter.
    Subscribed(Vec<Subscribed>),
}

/// The broker's answer to one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It has it.
    Delivered,
    /// It had it, and nobody wanted it (0x10).
    NoSubscribers,
    /// It does not take it; code, and words for the log.
    Refused(u8, String),
}

/// What is to be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// A topic filter.
    pub filter: String,
    /// Retained messages as well, when the broker does not know the subscription yet.
    pub kept: bool,
}

impl<S: Into<String>> From<S> for Subscription {
    /// Without retained messages: such a message is a state, not a request.
    fn from(filter: S) -> Self {
        Self { filter: filter.into(), kept: false }
    }
}

/// The broker's answer to one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// As given to [`Link::subscribe`].
    pub filter: String,
    /// The `QoS` granted, or why not.
    pub granted: Result<u8, String>,
}

/// What the sender of a message learns with its acknowledgement. Brokers keep it to themselves
/// more often than not; the message is done with either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckReason {
    /// Taken.
    Accepted,
    /// Refused: too much at once (0x97).
    QuotaExceeded,
    /// Refused: not allowed (0x87).
    NotAuthorized,
    /// Refused: the payload is not what it should be (0x99).
    PayloadInvalid,
    /// Refused for another reason (0x83).
    Refused,
}

/// Why a message was not sent. It has not left; nothing will be heard of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The send window is full; try again after the next [`Event::Acked`]. A `QoS` 0 message may
    /// simply be dropped.
    Full,
    /// The broker would end the connection over it.
    TooLarge {
        /// Of the packet.
        bytes: usize,
        /// What the broker takes.
        max: u32,
    },
    /// The broker keeps no retained messages.
    NoRetain,
    /// Not a topic that one can publish to, or a property too long for MQTT.
    Malformed,
    /// The connection has ended; [`Link::next`] says why.
    Ended,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the broker has not acknowledged the messages before it yet"),
            Self::TooLarge { bytes, max } => write!(
                f,
                "the packet has {bytes} bytes, the broker takes {max}; raise its limit \
                 (mosquitto: `max_packet_size`) or ask for less"
            ),
            Self::NoRetain => f.write_str("the broker keeps no retained messages"),
            Self::Malformed => f.write_str("its topic or one of its properties is not allowed in MQTT"),
            Self::Ended => f.write_str("the connection has ended"),
        }
    }
}

impl std::error::Error for Unsent {}

/// Why there is no connection, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// For a technician: what happened, and where to look.
    pub reason: String,
    /// A retry cannot mend it: somebody has to change something. Try on, but seldom, and say so.
    pub permanent: bool,
    /// Another client connected with our client id (0x8E).
    pub taken_over: bool,
}

impl Lost {
    /// A loss that the next attempt may not meet.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: false, taken_over: false }
    }

    /// A loss that somebody has to do something about.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: true, taken_over: false }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Lost {}

/// Makes connections, one at a time, always as the same client.
pub trait Connector: Send {
    /// What it makes.
    type Link: Link;

    /// One attempt. Ends within the connect timeout. `receive_maximum`: messages that the broker may
    /// send before we acknowledge one, 1 to [`limits::MQTT_RECEIVE_MAXIMUM`](crate::domain::limits). The broker publishes `will`, without its
    /// properties, when the connection ends in any way but [`Link::close`].
    fn connect(
        &mut self,
        will: Outgoing,
        receive_maximum: u16,
    ) -> impl Future<Output = Result<(Self::Link, Connected), Lost>> + Send;
}

/// One connection, from its CONNACK to its end. Dropped, it ends without a DISCONNECT, and the
/// broker publishes the will.
pub trait Link: Send {
    /// What happens next. Cancel-safe. After `Lost` there is nothing more: drop the link.
    ///
    /// The connection lives without it, keep-alive included, until the messages that wait to be
    /// taken here fill their queue.
    fn next(&mut self) -> impl Future<Output = Result<Event, Lost>> + Send;

    /// Hands a message to the connection. Does not wait, so it can be called between two
    /// `next()` of the same loop. For `QoS` 1 there is exactly one [`Event::Acked`] with `token`,
    /// or the connection ends first. For `QoS` 0 nothing more is heard of it.
    fn publish(&mut self, token: u64, message: Outgoing) -> Result<(), Unsent>;

    /// `QoS` 1 messages that [`Link::publish`] would take now.
    fn window(&self) -> usize;

    /// Acknowledges a message. Does not wait. A receipt of an earlier connection is dropped:
    /// the broker has sent, or will send, that message again.
    fn acknowledge(&mut self, receipt: Receipt, reason: AckReason);

    /// Asks for what is published to the filters from now on, at `QoS` 1. Answered by one
    /// [`Event::Subscribed`].
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), Unsent>;

    /// Asks for no more of what is published to the filters. Not answered; before the answer to a
    /// later [`subscribe`](Self::subscribe).
    fn unsubscribe(&mut self, filters: &[String]) -> Result<(), Unsent>;

    /// Sends what was handed over, says DISCONNECT, ends. With `will` the broker publishes the
    /// will nevertheless. Publishes that are not acknowledged by now may or may not arrive.
    fn close(self, will: bool) -> impl Future<Output = ()> + Send;
}
