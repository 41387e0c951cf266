//! What must be true of what left the device: it was let go, it is on record, and it is paid once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use outpost::store::{AuditHead, Store, UsageQuery, verify};
use serde_json::Value;

use crate::{client::Asking, remote::Remote};

/// Holds the books of a day against what the other side saw; the error says what does not fit.
pub(crate) async fn check(store: &Store, askings: &[Asking], remote: &Remote) -> Result<(), String> {
    if let Some(wrong) = remote.wrong().first() {
        return Err(wrong.clone());
    }
    for call in remote.calls() {
        let name = format!("{}/{}", call.client, call.id);
        let asking = askings.iter().find(|asking| asking.request.ends_with(&name));
        if !asking.is_some_and(|asking| asking.may_leave) {
            return Err(format!("{name} left the device and must not"));
        }
    }
    let open = store.open_egress().await.map_err(|e| e.to_string())?;
    if let Some(open) = open.first() {
        return Err(format!("call {} is open: nobody knows how it ended", open.seq));
    }
    let rows = rows(store).await?;
    let recorded = settled_once(&rows)?;
    for call in remote.calls() {
        if !recorded.contains(&hex(call.digest)) {
            return Err(format!("{}/{} left the device and is not on record", call.client, call.id));
        }
    }
    let settled: u64 = of(&rows, "settled").filter_map(|row| row["cost_micro_usd"].as_u64()).sum();
    let query = UsageQuery { from: None, to: None, client: None };
    let ledger = store.usage(query).await.map_err(|e| e.to_string())?;
    let booked: u64 = ledger.iter().map(|row| row.sums.cost_micro_usd).sum();
    if settled != booked {
        return Err(format!("{booked} millionths are in the ledger, {settled} in the audit"));
    }
    Ok(())
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Digests of everything that was sent, each settled exactly once.
fn settled_once(rows: &[Value]) -> Result<BTreeSet<String>, String> {
    let mut settled: BTreeMap<u64, usize> = BTreeMap::new();
    for row in of(rows, "settled") {
        *settled.entry(row["settles"].as_u64().unwrap_or(0)).or_default() += 1;
    }
    let mut digests = BTreeSet::new();
    for row in of(rows, "sent") {
        let seq = row["seq"].as_u64().unwrap_or(0);
        match settled.remove(&seq) {
            Some(1) => {}
            times => return Err(format!("call {seq} was settled {} times", times.unwrap_or(0))),
        }
        digests.insert(row["sha256"].as_str().unwrap_or_default().to_owned());
    }
    match settled.keys().next() {
        Some(seq) => Err(format!("{seq} was settled and never sent")),
        None => Ok(digests),
    }
}

/// Calls that were booked at the most that they can have cost.
pub(crate) async fn lost(store: &Store) -> usize {
    let rows = rows(store).await.expect("a sound audit");
    of(&rows, "settled")
        .filter(|row| row["reason"].as_str().is_some_and(|r| r.contains("daemon ended")))
        .count()
}

/// Requests that were answered, and paid, more than once: the daemon died between the provider's answer and
/// the final.
pub(crate) async fn paid_twice(store: &Store) -> usize {
    let rows = rows(store).await.expect("a sound audit");
    let mut answers: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in
        of(&rows, "settled").filter(|row| row["reason"].as_str().is_some_and(|r| r.starts_with("answered")))
    {
        *answers.entry((row["client"].to_string(), row["request"].to_string())).or_default() += 1;
    }
    answers.values().filter(|times| **times > 1).count()
}

fn of<'r>(rows: &'r [Value], event: &'static str) -> impl Iterator<Item = &'r Value> {
    rows.iter().filter(move |row| row["event"] == event)
}

/// Every row of the audit, whose chain must hold.
async fn rows(store: &Store) -> Result<Vec<Value>, String> {
    let mut rows = Vec::new();
    let mut place: Option<AuditHead> = None;
    loop {
        let after = place.map_or(0, |place| place.seq);
        let (start, portion) = store.audited(after, 500).await.map_err(|e| e.to_string())?;
        if portion.is_empty() {
            return Ok(rows);
        }
        place = Some(verify(place.unwrap_or(start), &portion).map_err(|e| e.to_string())?);
        rows.extend(portion.iter().map(|row| serde_json::from_str::<Value>(&row.line).expect("JSON")));
    }
}
