//! What carries a permitted body to its provider, and an answer back.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::sync::mpsc;

use super::{catalogue::Catalogue, fault::Fault, reply::End};
use crate::{
    domain::{BootTime, Delta},
    policy::Permit,
};

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// From sending to the first byte of the answer's body.
    pub first_byte: Duration,
    /// Between two pieces.
    pub gap: Duration,
    /// For all of it.
    pub total: Duration,
}

/// An answer that came to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// How it ended.
    pub end: End,
    /// Tokens of it, counted here when the provider does not say.
    pub answer_tokens: usize,
    /// From sending to the first piece.
    pub first_token: Duration,
    /// From the first piece to the last.
    pub rest: Duration,
    /// Bytes of the answer's body.
    pub bytes_in: u64,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// Why.
    pub fault: Fault,
    /// Whether the other side had said 200: then what it wrote may be on the bill.
    pub billed: bool,
    /// Tokens of the answer that came before.
    pub answer_tokens: usize,
    /// Bytes of the answer's body.
    pub bytes_in: u64,
}

impl Failed {
    /// Before anything came back.
    pub fn early(fault: Fault) -> Self {
        Self { fault, billed: false, answer_tokens: 0, bytes_in: 0 }
    }
}

/// One body that may leave, and what goes with it.
pub struct Sending {
    /// What may leave, and where to.
    pub permit: Permit,
    /// Names the call in the provider's bill.
    pub session: String,
    /// How long to wait.
    pub timers: Timers,
    /// Now: the permit has an end.
    pub now: BootTime,
    /// Where the pieces of the answer go as they come.
    pub pieces: mpsc::Sender<Delta>,
}

/// What a future of a carrier is.
pub type Carried<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way off the device. The one that is real speaks HTTP; a simulator has its own.
pub trait Carrier: Send + Sync {
    /// Sends the bytes of a permit, once: it is gone afterwards. Dropping the future ends the call.
    fn send(&self, sending: Sending) -> Carried<'_, Result<Served, Failed>>;

    /// Asks what there is.
    fn catalogue(&self) -> Carried<'_, Result<Catalogue, Fault>>;
}
