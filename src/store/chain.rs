//! The audit's chain: each row is a line of JSON that names the hash of the row before it.
//!
//! The hash of a row is SHA-256 over the bytes of its line. Whoever has the lines can check them
//! with nothing but `sha256sum`; whoever has a hash of some row from outside the device knows
//! that this row and all before it are the ones that were written.

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::record::{Digest, RequestKey};
use crate::domain::{MicroUsd, Stamp, Zone, hex};

/// What happened at the border of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// A request was let out; written before the first byte left.
    Sent,
    /// A request was not let out.
    Denied,
    /// What came of one that was let out.
    Settled,
    /// What the bill says that it cost, where that is not what was booked.
    Billed,
}

impl AuditEvent {
    /// The name in the line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Denied => "denied",
            Self::Settled => "settled",
            Self::Billed => "billed",
        }
    }
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Stamp,
    /// What.
    pub event: AuditEvent,
    /// Of which request.
    pub key: RequestKey,
    /// Where to.
    pub zone: Zone,
    /// To whom; empty when it was denied for all.
    pub provider: String,
    /// Which model there.
    pub model: String,
    /// The rule that let it out, or that did not; empty: no rule let it out.
    pub rule: String,
    /// Why it was denied, or how it ended.
    pub reason: String,
    /// SHA-256 of the bytes that left.
    pub sent: Option<Digest>,
    /// How many those were.
    pub bytes_out: u64,
    /// Bytes of the answer.
    pub bytes_in: u64,
    /// What it cost, when that is known.
    pub cost: Option<MicroUsd>,
    /// The row with the egress that is settled or billed here.
    pub settles: Option<u64>,
}

impl AuditEntry {
    /// With nothing more said yet.
    pub fn new(at: Stamp, event: AuditEvent, key: RequestKey, zone: Zone) -> Self {
        Self {
            at,
            event,
            key,
            zone,
            provider: String::new(),
            model: String::new(),
            rule: String::new(),
            reason: String::new(),
            sent: None,
            bytes_out: 0,
            bytes_in: 0,
            cost: None,
            settles: None,
        }
    }
}

/// A place in the chain: the number of a row and its hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditHead {
    /// Number of the row; 0: before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl AuditHead {
    /// Before the first row.
    pub const GENESIS: Self = Self { seq: 0, hash: [0; 32] };
}

/// `NUMBER:HASH`.
impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.hash))
    }
}

/// A row as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number; consecutive, from 1.
    pub seq: u64,
    /// A JSON object on one line.
    pub line: String,
    /// SHA-256 of the line.
    pub hash: [u8; 32],
}

/// Where a chain is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {seq}: {why}")]
pub struct BrokenChain {
    /// The first row that is wrong, by the number it should have.
    pub seq: u64,
    /// What is wrong with it.
    pub why: String,
}

/// The row behind `head` that says `entry`.
pub(super) fn link(head: AuditHead, entry: &AuditEntry) -> AuditRow {
    let seq = head.seq + 1;
    let line = json!({
        "seq": seq,
        "prev": hex(&head.hash),
        "wall": entry.at.wall.0,
        "synced": entry.at.synced,
        "boot_id": entry.at.boot_id,
        "boot_ms": entry.at.boot.as_millis(),
        "event": entry.event.name(),
        "client": entry.key.client.as_str(),
        "request": entry.key.id.as_str(),
        "zone": entry.zone.name(),
        "provider": entry.provider,
        "model": entry.model,
        "rule": entry.rule,
        "reason": entry.reason,
        "sha256": entry.sent.map(|digest| hex(&digest.0)),
        "bytes_out": entry.bytes_out,
        "bytes_in": entry.bytes_in,
        "cost_micro_usd": entry.cost.map(|cost| cost.0),
        "settles": entry.settles,
    })
    .to_string();
    AuditRow { seq, hash: hash_of(&line), line }
}

/// Holds rows against each other and against the place before the first of them; the place of the
/// last. Changed, dropped, inserted and reordered rows are found; that rows are missing at the
/// end is found by whoever knows a later place.
pub fn verify<'r>(
    start: AuditHead,
    rows: impl IntoIterator<Item = &'r AuditRow>,
) -> Result<AuditHead, BrokenChain> {
    let mut head = start;
    for row in rows {
        let seq = head.seq + 1;
        let broken = |why: &str| BrokenChain { seq, why: why.into() };
        if row.seq != seq {
            return Err(broken(&format!("it is followed by row {} instead", row.seq)));
        }
        if hash_of(&row.line) != row.hash {
            return Err(broken("its line is not what was written"));
        }
        let line: Value = serde_json::from_str(&row.line).map_err(|_| broken("its line is no JSON"))?;
        if line["seq"] != seq {
            return Err(broken("it was written with another number"));
        }
        if line["prev"] != hex(&head.hash) {
            return Err(broken("it was written behind another row"));
        }
        head = AuditHead { seq, hash: row.hash };
    }
    Ok(head)
}

fn hash_of(line: &str) -> [u8; 32] {
    Sha256::digest(line).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{BootTime, ClientId, RequestId, UnixSeconds};

    fn entry(n: u64) -> AuditEntry {
        let key = RequestKey { client: ClientId::new("c").unwrap(), id: RequestId::new("r").unwrap() };
        let boot = BootTime::new(Duration::from_secs(1));
        AuditEntry {
            at: Stamp { boot_id: "b".into(), boot, wall: UnixSeconds(0), synced: false },
            event: AuditEvent::Sent,
            zone: Zone::Cloud,
            provider: format!("provider \"{n}\"\n"),
            model: String::new(),
            rule: "r".into(),
            reason: String::new(),
            sent: Some(Digest([7; 32])),
            bytes_out: n,
            bytes_in: 0,
            cost: Some(MicroUsd(n)),
            settles: None,
            key,
        }
    }

    fn chain(length: u64) -> Vec<AuditRow> {
        let mut head = AuditHead::GENESIS;
        let next = |n| {
            let row = link(head, &entry(n));
            head = AuditHead { seq: row.seq, hash: row.hash };
            row
        };
        (0..length).map(next).collect()
    }

    fn check(rows: &[AuditRow]) -> Result<AuditHead, BrokenChain> {
        verify(AuditHead::GENESIS, rows)
    }

    #[test]
    fn a_chain_as_it_was_written_holds() {
        let rows = chain(5);
        assert_eq!(check(&rows).unwrap(), AuditHead { seq: 5, hash: rows[4].hash });
        let middle = AuditHead { seq: 2, hash: rows[1].hash };
        assert!(verify(middle, &rows[2..]).is_ok());
        assert!(rows.iter().all(|row| !row.line.contains('\n')), "one line each");
    }

    proptest! {
        #[test]
        fn any_change_is_found(length in 2usize..9, at in 0usize..9, other in 0usize..9, byte in 0usize..400, kind in 0u8..6) {
            let rows = chain(length as u64);
            let end = check(&rows).unwrap();
            let (at, other) = (at % length, other % length);
            let mut bad = rows.clone();
            match kind {
                // A byte of a line, with its hash made anew as somebody who knows how would.
                0 | 1 => {
                    let mut line = bad[at].line.clone().into_bytes();
                    let byte = byte % line.len();
                    line[byte] = if line[byte] == b'x' { b'y' } else { b'x' };
                    bad[at].line = String::from_utf8(line).unwrap();
                    if kind == 1 { bad[at].hash = hash_of(&bad[at].line); }
                }
                2 => bad[at].hash[byte % 32] ^= 1,
                3 => drop(bad.remove(at)),
                4 => bad.insert(at, link(AuditHead { seq: at as u64, hash: rows[at].hash }, &entry(99))),
                _ => bad.swap(at, other),
            }
            prop_assume!(bad != rows);
            prop_assert_ne!(check(&bad), Ok(end));
        }
    }
}
