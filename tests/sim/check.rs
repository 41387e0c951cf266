//! What must be true at the end of every day (the product's second promise, and the fifth).

use std::collections::BTreeSet;

use crate::{
    broker::Broker,
    client::{Asking, finals, is_passing_refusal},
};

/// Holds a day against the promises; the error says which was broken.
pub(crate) fn check(askings: &[Asking], broker: &Broker) -> Result<(), String> {
    let accepted = broker.accepted();
    for asking in askings {
        let all: Vec<_> = finals(broker, asking).collect();
        let different: BTreeSet<_> = all.iter().map(|(_, body)| body).collect();
        match different.len() {
            0 => return Err(format!("{} has no final", asking.request)),
            1 => {}
            n => return Err(format!("{} has {n} different finals: {different:?}", asking.request)),
        }
        if let Some(since) = accepted.get(&asking.request) {
            let refused = broker.received(&asking.response);
            let late = refused.iter().find(|(at, body)| at >= since && is_passing_refusal(body));
            if let Some((_, body)) = late {
                return Err(format!("{} was accepted and then refused: {body:?}", asking.request));
            }
        }
    }
    Ok(())
}
