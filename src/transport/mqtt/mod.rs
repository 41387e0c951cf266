//! MQTT 5: requests and readings in; finals, news and reports out; one connection at a time, for ever.
//!
//! Durability is not here. A connection that ends takes everything with it that it did not
//! confirm: a final stays in the store's outbox until [`Event::Acked`] says that the broker has
//! it, and an incoming message is acknowledged only after its request is on disk. What lies
//! between is the broker's part: it sends again what was not acknowledged.
//!
//! | file | holds |
//! |---|---|
//! | `packet` | messages, in and out |
//! | `port` | the face of a connection, which a simulated broker has as well |
//! | `options` | the address and everything else that is configured |
//! | `dial` | TCP and TLS |
//! | `stream` | bytes that come back when the library is done with them |
//! | `reason` | reason codes in words, and which of them a retry cannot mend |
//! | `topics`, `codec` | names, and what messages mean; pure |
//! | `intake` | what becomes of a message |
//! | `outbox` | which finals are under way on one connection; pure |
//! | `remembered` | which filters the broker may still have of us |
//! | `report` | availability, status, info, metrics, alerts |
//! | `session`, `sending`, `client` | one connection at work; all of them, with the waits between |
//! | `link` | the only folder that names the client library |

mod backoff;
mod client;
mod codec;
mod dial;
mod intake;
mod link;
mod options;
mod outbox;
mod packet;
mod port;
mod reason;
mod remembered;
mod report;
mod sending;
mod session;
mod stream;
mod topics;

pub use client::{Client, Renew, Setup};
pub use link::{MqttConnector, MqttLink};
pub use options::{LinkOptions, TlsFiles, Url};
pub use packet::{Incoming, Outgoing, Properties, Qos, Receipt};
pub use port::{
    Ack, AckReason, BrokerLimits, Connected, Connector, Event, Link, Lost, Subscribed, Subscription, Unsent,
};
pub use remembered::Remembered;
pub use topics::Topics;
