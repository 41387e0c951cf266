//! The operations of the store as data, and who carries them out.

use std::sync::Arc;

use super::{
    chain::{AuditEntry, AuditEvent, AuditHead, AuditRow},
    record::{
        Accepted, Digest, Egress, Finish, Finished, Message, NewEgress, NewMessage, NewRequest, Pruned,
        RequestKey, Settlement, Stored, UsageQuery, UsageRow, UsageSum, UtcDay, WearDay,
    },
    stats::{Counters, Health},
};
use crate::domain::{Result, Stamp};

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described at the method of `Store` with its name")]
pub enum Op {
    Accept(Box<NewRequest>),
    Begin(RequestKey),
    Spare(RequestKey),
    Forget(RequestKey),
    Finish(Box<Finish>),
    Publish(Box<NewMessage>),
    Delivered(u64),
    Undelivered { after: u64, limit: usize },
    Find(RequestKey),
    FindByDigest(crate::domain::ClientId, Digest),
    Unfinished,
    Usage(UsageQuery),
    Wear,
    Audit(Box<AuditEntry>),
    Audited { after: u64, limit: usize },
    Send(Box<NewEgress>),
    Settle(Box<Settlement>),
    OpenEgress,
    SettledEgress { limit: usize },
    Correct(Box<AuditEntry>),
    Record(Box<Stamp>, Vec<UsageSum>),
    Date(UtcDay),
    Prune,
}

impl Op {
    /// Whether it must be on the disk itself before it is answered. What is not durable may be
    /// taken back by a power cut, never by a crash of the daemon: an attempt that is counted
    /// again, a message that is sent again, a row that is pruned again.
    pub fn durable(&self) -> bool {
        match self {
            Self::Accept(_) | Self::Finish(_) | Self::Publish(_) | Self::Forget(_)
            // Nothing leaves that is not on record, and nothing that was paid is forgotten.
            | Self::Send(_) | Self::Settle(_) | Self::Correct(_) => true,
            // What has left, and what it cost, must not be forgotten; a denial may be: nothing left.
            Self::Audit(entry) => entry.event != AuditEvent::Denied,
            _ => false,
        }
    }

    /// Whether it may change anything.
    pub fn writes(&self) -> bool {
        self.durable()
            || matches!(
                self,
                Self::Begin(_)
                    | Self::Spare(_)
                    | Self::Delivered(_)
                    | Self::Record(..)
                    | Self::Date(_)
                    | Self::Audit(_)
                    | Self::Prune
            )
    }

    /// About what it puts into the log, bytes.
    pub(super) fn bytes(&self) -> usize {
        let message =
            |m: &NewMessage| m.topic.len() + m.properties.len() + m.payload.as_ref().map_or(0, Vec::len);
        match self {
            Self::Accept(new) => new.spec.len(),
            Self::Finish(finish) => {
                finish.body.len()
                    + finish.message.as_ref().map_or(0, message)
                    + finish.insert.as_ref().map_or(0, |new| new.spec.len())
            }
            Self::Publish(new) => message(new),
            _ => 0,
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described at the method of `Store` that returns it")]
pub enum Reply {
    Accepted(Accepted),
    Attempts(u32),
    Forgotten(bool),
    Finished(Finished),
    Published(u64),
    Done,
    Messages(Vec<Message>),
    Found(Option<Box<Stored>>),
    Unfinished(Vec<Stored>),
    Usage(Vec<UsageRow>),
    Wear(Vec<WearDay>),
    Audited(AuditHead),
    Audit(AuditHead, Vec<AuditRow>),
    Settled(bool),
    Egress(Vec<Egress>),
    Pruned(Pruned),
}

/// Who carries out operations: the database, or a simulator around one.
pub trait Backend: Send {
    /// Carries out `ops` in their order in one commit and answers each. An operation that is
    /// refused for a reason of its own leaves the others as they are; a commit that fails fails
    /// all of them.
    fn commit(&mut self, ops: Vec<Op>) -> Vec<Result<Reply>>;

    /// How it stands, as of the last commit.
    fn health(&self) -> Health;

    /// Its counters, which go on counting.
    fn counters(&self) -> Arc<Counters>;

    /// Puts everything in order for a next start. Not needed for safety, only for a quick start.
    fn close(&mut self) -> Result<()>;
}
