//! What goes into the store and what comes out.

use std::time::Duration;

use super::chain::AuditEntry;
use crate::domain::{ClientId, Lane, MicroUsd, RequestId, Stamp, UnixSeconds};

/// Names a request: unique for as long as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// Who asked.
    pub client: ClientId,
    /// The client's own name for the request.
    pub id: RequestId,
}

/// SHA-256 of what a request asks, so that the same id with another body is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// A request to keep until it has its final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequest {
    /// Its name.
    pub key: RequestKey,
    /// What it asks, as a digest.
    pub digest: Digest,
    /// Its priority class.
    pub lane: Lane,
    /// When it came. Stored to the millisecond.
    pub accepted: Stamp,
    /// From `accepted` to the moment when its final is worthless. Stored to the millisecond.
    pub budget: Option<Duration>,
    /// What the service needs to run it again. The store does not look into it.
    pub spec: Vec<u8>,
}

/// The end of a request, good or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFinal {
    /// The status number, the same on all transports.
    pub status: u16,
    /// What the caller gets.
    pub body: Vec<u8>,
    /// When it ended.
    pub ended: Stamp,
}

/// A request as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub key: RequestKey,
    /// What it asks, as a digest.
    pub digest: Digest,
    /// Its priority class.
    pub lane: Lane,
    /// When it came.
    pub accepted: Stamp,
    /// From `accepted` to the moment when its final is worthless.
    pub budget: Option<Duration>,
    /// Times that it was begun.
    pub attempts: u32,
    /// What the service needs to run it again; empty once it has its final.
    pub spec: Vec<u8>,
    /// Its end. `None`: queued, or running.
    pub finished: Option<StoredFinal>,
}

/// What became of an attempt to accept a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk.
    New,
    /// This key is known already, with this or another digest: the caller compares.
    Known(Box<Stored>),
}

/// The end of a request, with all that must be on disk together with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Which request.
    pub key: RequestKey,
    /// The status number.
    pub status: u16,
    /// What the caller gets.
    pub body: Vec<u8>,
    /// When it ended.
    pub ended: Stamp,
    /// What it took, for the ledger.
    pub usage: Option<UsageEntry>,
    /// The message that tells the caller, for the outbox.
    pub message: Option<NewMessage>,
    /// The request itself, when it was not accepted before: row and final in one commit.
    pub insert: Option<Box<NewRequest>>,
}

/// What became of a final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is on disk.
    Stored {
        /// The message's place in the outbox, when there was one to send.
        outbox: Option<u64>,
    },
    /// The request has had its final before; that one stays, and nothing else was stored.
    Already(StoredFinal),
}

/// A message for the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Where to.
    pub topic: String,
    /// What. `None`: the final of the request that it belongs to, which is then stored once.
    pub payload: Option<Vec<u8>>,
    /// The message's properties, in a form of the transport's own.
    pub properties: Vec<u8>,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// When it becomes worthless: this long after this moment.
    pub expires: Option<(Stamp, Duration)>,
}

/// A message that waits for the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the outbox. Later messages have higher numbers within one run of the daemon.
    pub seq: u64,
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// The message's properties.
    pub properties: Vec<u8>,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// When it was put into the outbox.
    pub stored: Stamp,
    /// When it becomes worthless: this long after this moment.
    pub expires: Option<(Stamp, Duration)>,
    /// The request whose final it is.
    pub key: Option<RequestKey>,
}

/// What one request took, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEntry {
    /// Where it ran: device, site or cloud.
    pub zone: String,
    /// Who ran it; empty on the device.
    pub provider: String,
    /// Which model.
    pub model: String,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Bytes that left the device.
    pub bytes_out: u64,
    /// Money, in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// What some requests of one client took together, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// Who asked.
    pub client: ClientId,
    /// Requests that ended.
    pub requests: u64,
    /// Zone, provider and model, and the sums of all requests' counts.
    pub sums: UsageEntry,
}

/// A day of the calendar in UTC, counted from 1970-01-01. Day 0 stands for "the clock was not set".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcDay(pub i64);

impl UtcDay {
    /// The day of a moment, or day 0.
    pub fn of(wall: UnixSeconds) -> Self {
        Self(if wall.is_plausible() { wall.0.div_euclid(86_400) } else { 0 })
    }
}

/// The sums of one day, client, zone, provider and model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Which day.
    pub day: UtcDay,
    /// Who asked.
    pub client: ClientId,
    /// Requests that ended.
    pub requests: u64,
    /// Zone, provider and model, and the sums of all requests' counts.
    pub sums: UsageEntry,
}

/// A call to a provider that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEgress {
    /// What the audit says of it.
    pub entry: AuditEntry,
    /// Its name in the provider's bill.
    pub session: String,
    /// What it can cost at most.
    pub reserved: MicroUsd,
}

/// A call to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Its row of the audit.
    pub seq: u64,
    /// Its name in the provider's bill.
    pub session: String,
    /// Which request it was made for.
    pub key: RequestKey,
    /// Where it went: site or cloud.
    pub zone: String,
    /// To whom.
    pub provider: String,
    /// Which model there.
    pub model: String,
    /// When.
    pub sent: Stamp,
    /// How many bytes left.
    pub bytes_out: u64,
    /// What is booked for it; of one that is not settled, the most that it can have cost.
    pub cost: MicroUsd,
}

/// How a call to a provider ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What the audit says of it; `settles` names the call.
    pub entry: AuditEntry,
    /// What the ledger says of it.
    pub usage: UsageEntry,
    /// Requests that were answered by it: 1, or 0 when it failed.
    pub requests: u64,
}

/// Which rows of the ledger to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// From this day on.
    pub from: Option<UtcDay>,
    /// Up to this day, itself included.
    pub to: Option<UtcDay>,
    /// This client's only.
    pub client: Option<ClientId>,
}

/// What the flash went through on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WearDay {
    /// Which day.
    pub day: UtcDay,
    /// Bytes written.
    pub bytes: u64,
    /// Times that the disk was told to make them durable.
    pub fsyncs: u64,
}

/// What a pruning took out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Finished requests whose window of de-duplication is over.
    pub requests: usize,
    /// Messages that waited too long for the broker, or expired.
    pub messages: usize,
    /// Rows of the ledger and days of wear.
    pub ledger: usize,
    /// Whether there is more to take out.
    pub more: bool,
}
