//! A device that asks and, as the contract wants it, asks again with the same id until it has a final.

use std::time::Duration;

use bytes::Bytes;
use outpost::transport::mqtt::Properties;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{broker::Broker, dice::Dice, remote};

/// Clients whose data are of the public class; what the others send never leaves the device.
pub(crate) const PUBLIC: [&str; 2] = ["plc", "hmi"];

/// One request of a device.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) request: String,
    pub(crate) response: String,
    cancel: Option<String>,
    body: Bytes,
    properties: Properties,
    /// Whether the policy lets it leave the device.
    pub(crate) may_leave: bool,
    begins: Duration,
    /// Sends again although the broker has its request.
    nervous: bool,
}

/// What `who` asks in the course of a day.
pub(crate) fn plan(who: &str, seed: u64) -> Vec<Asking> {
    let (mut dice, mut away) = (Dice::new(seed, who), Dice::new(seed, &format!("{who} away")));
    (0..3 + dice.below(6))
        .map(|n| {
            let mut user = Vec::new();
            if dice.once_in(4) {
                user.push(("lane".to_owned(), ["batch", "interactive"][dice.below(2) as usize].to_owned()));
            }
            if dice.once_in(5) {
                user.push(("supersedes".to_owned(), "the newest".to_owned()));
            }
            let restricted = away.once_in(4);
            if restricted {
                user.push(("data_class".to_owned(), "restricted".to_owned()));
            }
            // The device knows no such model: somebody elsewhere answers, or nobody.
            let model = if away.once_in(4) { remote::MODEL } else { "auto" };
            let expiry_s = dice.once_in(6).then(|| 5 + dice.below(100) as u32);
            let id = format!("{who}/r{n}");
            Asking {
                request: format!("outpost/v1/node/request/{id}"),
                response: format!("outpost/v1/node/response/{id}"),
                cancel: dice.once_in(8).then(|| format!("outpost/v1/node/cancel/{id}")),
                may_leave: !restricted && PUBLIC.contains(&who),
                body: json!({"model": model, "messages": [{"role": "user", "content": format!("{id}?")}]})
                    .to_string()
                    .into(),
                properties: Properties {
                    expiry_s,
                    user,
                    correlation: Some(id.into()),
                    ..Properties::default()
                },
                begins: dice.millis(0, 120_000),
                nervous: dice.once_in(3),
            }
        })
        .collect()
}

/// Asks until there is a final. Who is not nervous asks again only after a refusal: what the
/// daemon has acknowledged it answers without being asked again.
pub(crate) async fn ask(asking: Asking, broker: Broker, mut dice: Dice) {
    tokio::time::sleep(asking.begins).await;
    let mut refusals = None;
    loop {
        let refused = broker.received(&asking.response).len();
        if asking.nervous || refusals != Some(refused) {
            refusals = Some(refused);
            broker.publish(&asking.request, asking.body.clone(), asking.properties.clone());
        }
        if let Some(cancel) = &asking.cancel
            && dice.once_in(2)
        {
            tokio::time::sleep(dice.millis(1, 2_000)).await;
            broker.publish(cancel, Bytes::new(), Properties::default());
        }
        let patience = Instant::now() + dice.millis(5_000, 60_000);
        loop {
            let news = broker.delivered.notified();
            if finals(&broker, &asking).next().is_some() {
                return;
            }
            if timeout_at(patience, news).await.is_err() {
                break;
            }
        }
    }
}

/// Finals of a request, refusals that a later sending may overcome aside.
pub(crate) fn finals(broker: &Broker, asking: &Asking) -> impl Iterator<Item = (usize, Bytes)> {
    broker.received(&asking.response).into_iter().filter(|(_, body)| !is_passing_refusal(body))
}

/// Whether the daemon says: not now.
pub(crate) fn is_passing_refusal(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).expect("every final is JSON");
    let kind = body.pointer("/error/type").and_then(Value::as_str);
    matches!(kind, Some("queue_full" | "store_full" | "model_loading" | "overheated" | "draining"))
}
