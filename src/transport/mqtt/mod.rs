//! MQTT 5: one connection to one broker, and what goes over it.
//!
//! Durability is not here. A connection that ends takes everything with it that it did not
//! confirm: the caller keeps each message until [`Event::Acked`] says that the broker has it,
//! and acknowledges an incoming one only after its own copy is safe. What lies between is the
//! broker's part: it sends again what was not acknowledged.
//!
//! | file | holds |
//! |---|---|
//! | `packet` | messages, in and out |
//! | `port` | the face of a connection, which a simulated broker has as well |
//! | `options` | the address and everything else that is configured |
//! | `dial` | TCP and TLS |
//! | `stream` | bytes that come back when the library is done with them |
//! | `reason` | reason codes in words, and which of them a retry cannot mend |
//! | `link` | the only folder that names the client library |

mod dial;
mod link;
mod options;
mod packet;
mod port;
mod reason;
mod stream;

pub use link::{MqttConnector, MqttLink};
pub use options::{LinkOptions, Password, TlsFiles, Url};
pub use packet::{Incoming, Outgoing, Properties, Qos, Receipt};
pub use port::{Ack, AckReason, BrokerLimits, Connected, Connector, Event, Link, Lost, Subscribed, Unsent};
