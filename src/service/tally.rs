//! What requests took that are not kept themselves, until it is written to the ledger.
//!
//! One write a minute instead of one per request: flash wears out. A power cut costs a minute of it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Mutex, PoisonError},
};

use super::Service;
use crate::{
    domain::{ClientId, Result, limits},
    store::{UsageEntry, UsageSum},
};

/// Sums by client and model.
#[derive(Default)]
pub(super) struct Tally(Mutex<BTreeMap<(ClientId, String), UsageSum>>);

impl Tally {
    pub(super) fn add(&self, client: &ClientId, entry: UsageEntry) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sums.len() >= limits::TALLY_ROWS_MAX && !sums.contains_key(&(client.clone(), entry.model.clone()))
        {
            return tracing::warn!(%client, "too many clients in a minute: this request is not in the ledger");
        }
        let sum = sums.entry((client.clone(), entry.model.clone())).or_insert_with(|| UsageSum {
            client: client.clone(),
            requests: 0,
            sums: UsageEntry {
                prompt_tokens: 0,
                completion_tokens: 0,
                bytes_out: 0,
                cost_micro_usd: 0,
                ..entry.clone()
            },
        });
        sum.requests += 1;
        sum.sums.prompt_tokens += entry.prompt_tokens;
        sum.sums.completion_tokens += entry.completion_tokens;
    }

    /// Puts back what could not be written; newer sums stay.
    fn put_back(&self, rows: Vec<UsageSum>) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let key = (row.client.clone(), row.sums.model.clone());
            match sums.entry(key) {
                Entry::Vacant(free) => drop(free.insert(row)),
                Entry::Occupied(mut sum) => {
                    let sum = sum.get_mut();
                    sum.requests += row.requests;
                    sum.sums.prompt_tokens += row.sums.prompt_tokens;
                    sum.sums.completion_tokens += row.sums.completion_tokens;
                }
            }
        }
    }

    fn take(&self) -> Vec<UsageSum> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }
}

impl Service {
    /// Writes what has come together to the ledger. To be called now and then, and at the end.
    pub async fn write_tally(&self) -> Result<()> {
        let rows = self.shared.tally.take();
        if rows.is_empty() {
            return Ok(());
        }
        let written = self.shared.store.record(self.shared.clock.stamp(), rows.clone()).await;
        written.inspect_err(|_| self.shared.tally.put_back(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_one_client_and_model_become_one_row() {
        let tally = Tally::default();
        let entry = |model: &str, tokens| UsageEntry {
            zone: "device".into(),
            provider: String::new(),
            model: model.into(),
            prompt_tokens: tokens,
            completion_tokens: 2 * tokens,
            bytes_out: 0,
            cost_micro_usd: 0,
        };
        let client = |name| ClientId::new(name).unwrap();
        tally.add(&client("a"), entry("m", 5));
        tally.add(&client("a"), entry("m", 7));
        tally.add(&client("b"), entry("m", 1));
        let rows = tally.take();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].requests, &rows[0].sums), (2, &entry("m", 12)));
        assert!(tally.take().is_empty());

        tally.add(&client("b"), entry("m", 4));
        tally.put_back(rows);
        let rows = tally.take();
        assert_eq!((rows[1].requests, &rows[1].sums), (2, &entry("m", 5)), "a minute that was not written");
    }
}
