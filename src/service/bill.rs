//! The books of one call: its permit, its money and its row of the audit before, its bill after it.

use std::sync::Arc;

use super::{
    Service,
    call::Tried,
    egress::{account, body_of, need, price},
    live::Live,
    shared::lock,
};
use crate::{
    cloud::{Outgoing, Reservation, Way, draft},
    domain::{MicroUsd, Usage, Zone},
    policy::{Draft, Permit, Restore},
    store::{AuditEntry, AuditEvent, Digest, NewEgress, Settlement, UsageEntry},
};

/// A call that is on record.
pub(super) struct Call {
    pub(super) way: Way,
    /// What the audit says of it; `settles` is its own row.
    pub(super) entry: AuditEntry,
    pub(super) reservation: Option<Reservation>,
    pub(super) session: String,
    pub(super) prompt_tokens: u64,
}

/// How a call ended, for the books.
pub(super) struct Bill {
    /// One word for the metrics.
    pub(super) result: &'static str,
    pub(super) reason: String,
    pub(super) usage: Usage,
    pub(super) cost: MicroUsd,
    pub(super) bytes_in: u64,
    pub(super) answered: bool,
    /// Nothing of it has left: there was no network.
    pub(super) unsent: bool,
}

impl Service {
    /// From a provider to a permit, its money and its row of the audit.
    pub(super) async fn begin_call(
        &self,
        live: &Arc<Live>,
        way: Way,
    ) -> Result<(Call, Permit, Restore), Tried> {
        let s = &self.shared;
        let body = body_of(live);
        let need = need(live, &body);
        let outgoing = Outgoing {
            model: &way.named,
            provider: way.provider(),
            max_tokens: live.request.options.tokens_max,
        };
        let total = self.timers(live).total;
        let draft = Draft {
            client: live.key().client.clone(),
            id: live.key().id.clone(),
            zone: way.zone,
            provider: way.provider().to_owned(),
            body: draft(&body, outgoing),
            worst_cost: Some(way.worst),
            expires: s.clock.boot().after(total),
        };
        let policy = self.policy();
        let (permit, restore) = policy.permit(&self.subject(live, &policy), draft).map_err(Tried::Denied)?;
        let reservation = match way.zone {
            Zone::Cloud => {
                let account = account(live, way.provider());
                let reserved = lock(&s.remotes.budget).reserve(account, way.worst, self.today());
                Some(reserved.map_err(|_| Tried::Outspent)?)
            }
            _ => None,
        };
        let entry = AuditEntry {
            event: AuditEvent::Sent,
            provider: way.provider().to_owned(),
            model: way.model.clone(),
            rule: permit.rule().to_owned(),
            reason: redacted(&permit),
            sent: Some(Digest(permit.digest())),
            bytes_out: permit.bytes().len() as u64,
            cost: Some(way.worst),
            ..self.entry(live, way.zone)
        };
        let session = uuid::Uuid::now_v7().to_string();
        let new = NewEgress { entry: entry.clone(), session: session.clone(), reserved: way.worst };
        match s.store.send(new).await {
            Ok(head) => {
                let entry = AuditEntry { settles: Some(head.seq), ..entry };
                Ok((
                    Call { way, entry, reservation, session, prompt_tokens: need.prompt_tokens },
                    permit,
                    restore,
                ))
            }
            Err(error) => {
                // What cannot be put on record does not leave.
                if let Some(reservation) = reservation {
                    lock(&s.remotes.budget).settle(reservation, MicroUsd::ZERO);
                }
                Err(Tried::Unrecorded(error))
            }
        }
    }

    /// Books what a call cost, in the ledger, the audit and the budget.
    pub(super) async fn settle_call(&self, call: Call, bill: Bill) {
        let Call { way, entry, reservation, .. } = call;
        self.shared.metrics.called(way.zone, bill.result, bill.cost);
        if let Some(reservation) = reservation {
            lock(&self.shared.remotes.budget).settle(reservation, bill.cost);
        }
        let usage = UsageEntry {
            zone: way.zone.name().into(),
            provider: way.provider().into(),
            model: way.model.clone(),
            prompt_tokens: bill.usage.prompt_tokens as u64,
            completion_tokens: bill.usage.completion_tokens as u64,
            bytes_out: if bill.unsent { 0 } else { entry.bytes_out },
            cost_micro_usd: bill.cost.0,
        };
        let entry = AuditEntry {
            at: self.shared.clock.stamp(),
            event: AuditEvent::Settled,
            reason: bill.reason,
            bytes_in: bill.bytes_in,
            cost: Some(bill.cost),
            ..entry
        };
        let settlement = Settlement { entry, usage, requests: u64::from(bill.answered) };
        if let Err(error) = self.shared.store.settle(settlement).await {
            tracing::error!(%error, "what a call cost is not in the ledger; the next start books the most that it can have cost");
        }
    }
}

impl Call {
    /// The books of a call that did not come to its end: what was written is likely to be on the bill.
    /// `why`: in words that hold nothing of the prompt.
    pub(super) fn broken_off(&self, result: &'static str, why: &str, answer_tokens: usize) -> Bill {
        Bill {
            result,
            reason: format!("{why} (its cost is an estimate)"),
            usage: Usage { prompt_tokens: self.prompt_tokens as usize, completion_tokens: answer_tokens },
            cost: price(&self.way, self.prompt_tokens, answer_tokens as u64),
            bytes_in: 0,
            answered: false,
            unsent: false,
        }
    }
}

fn redacted(permit: &Permit) -> String {
    match permit.redacted() {
        [] => String::new(),
        names => format!("replaced: {}", names.join(", ")),
    }
}
