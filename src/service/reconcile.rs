//! The books against the provider's bill.

use std::future::pending;

use super::{Service, shared::lock};
use crate::{
    cloud::{Account, Hub},
    domain::{MicroUsd, UnixSeconds, Zone, limits},
    store::{AuditEntry, AuditEvent, Egress, UtcDay},
};

impl Service {
    /// Reads the bill now and then, and corrects the books by it. Does not end.
    pub async fn reconcile(self) {
        let s = &self.shared;
        let Some(hub) = s.remotes.hub() else { return pending().await };
        loop {
            match self.hold_against_bill(hub).await {
                Ok(0) => {}
                Ok(corrected) => {
                    tracing::info!(corrected, "the bill says otherwise than the books, which follow it");
                }
                Err(why) => tracing::warn!(
                    why,
                    "the bill cannot be read, and the books stay an estimate; `cloud.billing_token_file` needs a \
                     token with the right `Billing read`"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(limits::BILL_INTERVAL) => {}
                () = s.bill_wanted.notified() => {}
            }
        }
    }

    /// Gives what was booked while the clock was not set to the first day that is known. Otherwise it would
    /// count into every day and month to come.
    pub async fn date_the_undated(&self) -> crate::domain::Result<()> {
        let s = &self.shared;
        let today = self.today();
        if today.day == 0 {
            return Ok(());
        }
        lock(&s.remotes.budget).date(today.day);
        s.store.date(UtcDay(today.day)).await
    }

    /// How many calls were corrected.
    async fn hold_against_bill(&self, hub: &Hub) -> Result<usize, String> {
        let s = &self.shared;
        let now = s.clock.wall();
        let from = UnixSeconds(now.0.saturating_sub(limits::BILL_REACH.as_secs() as i64));
        let calls = s.store.settled_egress(limits::BILL_CALLS_MAX).await.map_err(|e| e.to_string())?;
        let calls: Vec<Egress> = calls
            .into_iter()
            .filter(|call| call.zone == Zone::Cloud.name() && call.sent.wall.0 >= from.0)
            .collect();
        // Who has asked for nothing has no bill.
        if calls.is_empty() {
            return Ok(0);
        }
        let bill = hub.bill(from, now).await.map_err(|fault| fault.words)?;
        let mut corrected = 0;
        for call in calls {
            if let Some(cost) = bill.of(&call.session).and_then(|cents| cents.correction(call.cost)) {
                corrected += usize::from(self.correct(call, cost).await?);
            }
        }
        Ok(corrected)
    }

    async fn correct(&self, call: Egress, billed: MicroUsd) -> Result<bool, String> {
        let s = &self.shared;
        let day = UtcDay::of(call.sent.wall);
        let account = Account { client: call.key.client.clone(), provider: call.provider.clone() };
        let entry = AuditEntry {
            provider: call.provider,
            model: call.model,
            reason: format!("the bill has it; booked was {}", call.cost),
            cost: Some(billed),
            settles: Some(call.seq),
            ..AuditEntry::new(s.clock.stamp(), AuditEvent::Billed, call.key, Zone::Cloud)
        };
        let changed = s.store.correct(entry).await.map_err(|e| e.to_string())?;
        if changed {
            lock(&s.remotes.budget).correct(day.0, account, call.cost, billed);
        }
        Ok(changed)
    }
}
