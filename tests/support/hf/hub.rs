//! The Hub beside the router: who an account is, and what it has to pay (Inference Providers' billing API).

use serde_json::{Value, json};

use super::{Seen, State, TOKEN, script, script::Script};

/// The token that may read bills.
pub(crate) const BILLING_TOKEN: &str = "hf_billbillbillbillbill";

/// One call on the bill.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) session: String,
    pub(super) cents: f64,
}

/// Answers below `/api`; `None` for what is not there.
pub(super) fn answer(state: &State, seen: &Seen) -> Option<Script> {
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let bill = match path.strip_prefix("/api/")? {
        "whoami-v2" => return Some(whoami(token)),
        "settings/billing/usage-v2" => sums(state),
        "settings/billing/usage-by-inference-session" => sessions(state),
        path => {
            let organisation = path.strip_prefix("organizations/")?;
            organisation
                .strip_suffix("/billing/usage-by-inference-session")
                .filter(|name| !name.is_empty())?;
            sessions(state)
        }
    };
    if token != Some(BILLING_TOKEN) {
        return Some(script::status(403, r#"{"error":"Forbidden: this token may not read the billing"}"#));
    }
    if !["startDate=", "endDate="].iter().all(|name| query.contains(name)) {
        return Some(script::status(400, r#"{"error":"startDate and endDate are needed"}"#));
    }
    Some(script::ok("application/json", bill.to_string().as_bytes()))
}

fn whoami(token: Option<&str>) -> Script {
    if !matches!(token, Some(TOKEN | BILLING_TOKEN)) {
        return script::status(401, r#"{"error":"Invalid credentials in Authorization header"}"#);
    }
    let who = json!({
        "type": "user", "name": "plant", "isPro": false, "canPay": true, "billingMode": "prepaid",
        "periodEnd": 1_798_761_600, "auth": {"type": "access_token", "accessToken": {"role": "fineGrained"}},
    });
    script::ok("application/json", who.to_string().as_bytes())
}

fn sessions(state: &State) -> Value {
    let entry = |entry: &Entry| json!({"id": entry.session, "requestCount": 1, "costCents": entry.cents});
    json!({"currency": "USD", "periods": [{"sessions": state.bill.iter().map(entry).collect::<Vec<_>>()}]})
}

fn sums(state: &State) -> Value {
    let cents: f64 = state.bill.iter().map(|entry| entry.cents).sum();
    json!({"usage": {"inferenceProviders": {
        "usedNanoUsd": (cents * 1e7) as u64, "includedNanoUsd": 100_000_000, "limitNanoUsd": 0,
        "numRequests": state.bill.len(), "periodStart": 1_793_491_200, "periodEnd": 1_796_083_200,
    }}})
}
