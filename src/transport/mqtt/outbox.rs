//! Which messages of the store's outbox are under way on one connection. Pure: it holds
//! sequence numbers and decides; the session does the sending.
//!
//! A row leaves the store only on its own PUBACK with success. A new connection starts with
//! an empty `Outbox`, so everything that was not acknowledged goes out again.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{Ack, Unsent};
use crate::store::Message;

/// What to do with a row after the broker's word, or the connection's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The broker has it: it leaves the store.
    Delivered,
    /// Stays in the store; is tried again after a pause.
    Later,
    /// Stays in the store; is tried again a few times, for the broker did not say why.
    Refused(String),
    /// Stays in the store until the next connection: nothing on this one can mend it.
    Parked(String),
    /// Can never be sent; leaves the store, and the log says so.
    Hopeless,
}

/// The outbox as one connection sees it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The last row that was read from the store.
    cursor: u64,
    /// Read and not yet sent.
    pending: VecDeque<Message>,
    /// Sent and not yet acknowledged: token to row.
    under_way: HashMap<u64, u64>,
    /// How often the broker has refused a row without a reason.
    refusals: HashMap<u64, u32>,
    /// Rows that are not to be sent again on this connection.
    parked: HashSet<u64>,
    /// The store may have more than was read.
    more: bool,
    /// The rows that are being read begin behind a place that no longer counts.
    stale: bool,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { more: true, ..Self::default() }
    }

    /// Something was put into the store's outbox.
    pub(super) fn changed(&mut self) {
        self.more = true;
    }

    /// Behind which row to read on, when it is time to read. What changes from now on is not
    /// certain to be among the rows: it is asked for again.
    pub(super) fn begin_read(&mut self) -> Option<u64> {
        let wants = self.more && self.pending.is_empty();
        if wants {
            (self.more, self.stale) = (false, false);
        }
        wants.then_some(self.cursor)
    }

    /// Rows as they were read, at most `asked` of them.
    pub(super) fn read(&mut self, rows: Vec<Message>, asked: usize) {
        if std::mem::take(&mut self.stale) {
            return;
        }
        self.more |= rows.len() >= asked;
        if let Some(last) = rows.last() {
            self.cursor = last.seq;
        }
        let skip =
            |row: &Message| self.parked.contains(&row.seq) || self.under_way.values().any(|s| *s == row.seq);
        self.pending.extend(rows.into_iter().filter(|row| !skip(row)));
    }

    /// The next row to send.
    pub(super) fn next(&mut self) -> Option<Message> {
        self.pending.pop_front()
    }

    /// The window is full: the row stays the next.
    pub(super) fn put_back(&mut self, row: Message) {
        self.pending.push_front(row);
    }

    /// A row went out with this token.
    pub(super) fn sent(&mut self, token: u64, row: u64) {
        self.under_way.insert(token, row);
    }

    /// The row that was sent with this token.
    pub(super) fn acknowledged(&mut self, token: u64) -> Option<u64> {
        self.under_way.remove(&token)
    }

    /// Counts one more refusal of this row on this connection.
    pub(super) fn refused(&mut self, row: u64) -> u32 {
        let times = self.refusals.entry(row).or_default();
        *times += 1;
        *times
    }

    /// Does not send this row again on this connection.
    pub(super) fn park(&mut self, row: u64) {
        self.refusals.remove(&row);
        self.parked.insert(row);
    }

    /// Reads everything again that is not parked: after a pause that the broker asked for.
    pub(super) fn again(&mut self) {
        self.cursor = 0;
        self.pending.clear();
        (self.more, self.stale) = (true, true);
    }
}

/// What the broker's answer means for a row (MQTT 5, §3.4.2.1).
pub(super) fn fate_of(ack: &Ack) -> Fate {
    match ack {
        Ack::Delivered | Ack::NoSubscribers => Fate::Delivered,
        // Quota exceeded: it passes. The two behind it may pass, or may never.
        Ack::Refused(0x97, _) => Fate::Later,
        Ack::Refused(0x80 | 0x83, reason) => Fate::Refused(reason.clone()),
        // Not authorised, topic name invalid, payload format invalid: somebody has to act.
        Ack::Refused(_, reason) => Fate::Parked(reason.clone()),
    }
}

/// What it means that a row could not even be handed over.
pub(super) fn fate_unsent(unsent: &Unsent) -> Fate {
    match unsent {
        Unsent::Full | Unsent::Ended => Fate::Later,
        Unsent::TooLarge { .. } => Fate::Parked(unsent.to_string()),
        Unsent::NoRetain | Unsent::Malformed => Fate::Hopeless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BootTime, Stamp, UnixSeconds};

    fn row(seq: u64) -> Message {
        let stored = Stamp {
            boot_id: "b".into(),
            boot: BootTime::new(std::time::Duration::ZERO),
            wall: UnixSeconds(0),
            synced: false,
        };
        Message {
            seq,
            topic: "t".into(),
            payload: Vec::new(),
            properties: Vec::new(),
            retain: false,
            stored,
            expires: None,
            key: None,
        }
    }

    fn send_all(outbox: &mut Outbox, token: &mut u64) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(row) = outbox.next() {
            *token += 1;
            outbox.sent(*token, row.seq);
            sent.push(row.seq);
        }
        sent
    }

    #[test]
    fn a_row_is_sent_once_per_connection_and_asked_for_in_portions() {
        let (mut outbox, mut token) = (Outbox::new(), 0);
        assert_eq!(outbox.begin_read(), Some(0));
        outbox.read(vec![row(3), row(4)], 2);
        assert_eq!(outbox.begin_read(), None, "what was read goes first");
        assert_eq!(send_all(&mut outbox, &mut token), [3, 4]);
        assert_eq!(outbox.begin_read(), Some(4), "a full portion may not have been the last");
        outbox.read(vec![row(9)], 2);
        assert_eq!(send_all(&mut outbox, &mut token), [9]);
        assert_eq!(outbox.begin_read(), None);
        outbox.changed();
        assert_eq!(outbox.begin_read(), Some(9));
        assert_eq!((outbox.acknowledged(2), outbox.acknowledged(2)), (Some(4), None));
    }

    #[test]
    fn after_a_pause_what_is_parked_or_under_way_is_left_alone() {
        let (mut outbox, mut token) = (Outbox::new(), 0);
        outbox.read(vec![row(1), row(2), row(3)], 10);
        send_all(&mut outbox, &mut token);
        outbox.acknowledged(1);
        outbox.park(1);
        outbox.acknowledged(2);
        outbox.again();
        assert_eq!(outbox.begin_read(), Some(0));
        outbox.read(vec![row(1), row(2), row(3)], 10);
        assert_eq!(send_all(&mut outbox, &mut token), [2], "1 is parked, 3 is still under way");
    }

    #[test]
    fn what_changes_while_rows_are_read_is_read_afterwards() {
        let mut outbox = Outbox::new();
        assert_eq!(outbox.begin_read(), Some(0));
        outbox.changed();
        outbox.read(Vec::new(), 10);
        assert_eq!(outbox.begin_read(), Some(0), "the row came too late for the first look");
        outbox.again();
        outbox.read(vec![row(7)], 10);
        assert_eq!((outbox.next(), outbox.begin_read()), (None, Some(0)), "everything is read anew");
    }

    #[test]
    fn the_brokers_word_decides() {
        let refused = |code| fate_of(&Ack::Refused(code, "no".into()));
        assert_eq!(fate_of(&Ack::Delivered), Fate::Delivered);
        assert_eq!(fate_of(&Ack::NoSubscribers), Fate::Delivered);
        assert_eq!(refused(0x97), Fate::Later);
        assert_eq!(refused(0x83), Fate::Refused("no".into()));
        assert_eq!((1..=3).map(|_| Outbox::new().refused(1)).max(), Some(1), "each connection counts anew");
        assert_eq!(refused(0x87), Fate::Parked("no".into()));
        assert_eq!(refused(0x90), Fate::Parked("no".into()));
        assert_eq!(fate_unsent(&Unsent::Full), Fate::Later);
        assert_eq!(fate_unsent(&Unsent::Ended), Fate::Later);
        assert_eq!(fate_unsent(&Unsent::Malformed), Fate::Hopeless);
        assert!(matches!(fate_unsent(&Unsent::TooLarge { bytes: 9, max: 8 }), Fate::Parked(_)));
    }
}
