//! HTTP over the Unix socket, and over TCP where it is configured.
//!
//! - `listen` binds sockets with the right permissions from their first moment on.
//! - `serve` accepts, bounds and ends connections.
//! - `routes` is the table of paths; `openai`, `requests` and `operate` answer them.
//!
//! Limits: connections, head and body sizes and times are in [`crate::domain::limits`]. A
//! caller that goes away, even by closing only its sending side, cancels what it asked.

mod auth;
mod body;
mod listen;
mod openai;
mod operate;
mod reply;
mod requests;
mod routes;
mod serve;
mod stream;

pub use auth::Token;
pub use listen::{Listener, bind_tcp, bind_unix};
pub use routes::{App, routes};
pub use serve::serve;

use crate::{domain::ClientId, service::Service};

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process on this machine, known by the kernel's word (`SO_PEERCRED`).
    Unix {
        /// Its user.
        uid: u32,
        /// Its process, when the kernel tells.
        pid: Option<i32>,
    },
    /// A TCP client; it must bring the token.
    Tcp(std::net::SocketAddr),
}

impl Peer {
    /// The user, where the kernel says who it is.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Unix { uid, .. } => Some(*uid),
            Self::Tcp(_) => None,
        }
    }

    /// The unit of fairness, of ids and of rights.
    pub fn client(&self, service: &Service) -> ClientId {
        match self {
            Self::Unix { uid, .. } => service.client_of_uid(*uid),
            Self::Tcp(address) => ClientId::of_address(address.ip()),
        }
    }
}
