//! The proof that exactly these bytes may go exactly there.

use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Policy,
    evaluate::{Denial, Offer},
    redact::{Restore, Unredacted, redact},
    subject::Subject,
};
use crate::domain::{BootTime, ClientId, MicroUsd, RequestId, Zone};

/// What somebody wants to send.
#[derive(Clone)]
pub struct Draft {
    /// Whose request it is.
    pub client: ClientId,
    /// Which.
    pub id: RequestId,
    /// Where to.
    pub zone: Zone,
    /// Whom.
    pub provider: String,
    /// The body as it would leave, before anything is replaced.
    pub body: Value,
    /// What it can cost at most; `None` when nobody knows.
    pub worst_cost: Option<MicroUsd>,
    /// When the permit ends.
    pub expires: BootTime,
}

/// Lets one body go to one provider, once: sending takes it by value, and nobody but the policy
/// can make one.
///
/// ```compile_fail
/// # use outpost::policy::Permit;
/// let forged = Permit { bytes: Vec::new() };
/// ```
/// ```compile_fail
/// # fn twice(permit: outpost::policy::Permit) {
/// let again = permit.clone();
/// # }
/// ```
#[must_use = "a permit that is not sent with is an egress that did not happen"]
pub struct Permit {
    client: ClientId,
    id: RequestId,
    zone: Zone,
    provider: String,
    rule: String,
    redacted: Vec<String>,
    cap: Option<MicroUsd>,
    expires: BootTime,
    digest: [u8; 32],
    bytes: Vec<u8>,
}

/// Without what is said in it.
impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, id, zone, provider, .. } = self;
        write!(f, "Draft({client} {id} {} {provider})", zone.name())
    }
}

/// Without what is said in it.
impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, id, zone, provider, rule, .. } = self;
        write!(f, "Permit({client} {id} {} {provider} by {rule})", zone.name())
    }
}

impl Permit {
    /// Whose request it is for.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Which request.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// Where to.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// To whom.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The rule that allows it.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Detectors whose findings were replaced.
    pub fn redacted(&self) -> &[String] {
        &self.redacted
    }

    /// What it may cost at most.
    pub fn cap(&self) -> Option<MicroUsd> {
        self.cap
    }

    /// Whether it has not ended yet.
    pub fn holds_at(&self, now: BootTime) -> bool {
        now < self.expires
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Exactly what may be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, for whoever sends them: the permit is used up.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Policy {
    /// A permit for `draft`, and what puts back into the answer what was replaced. The first rule
    /// of the file that offers a way and whose cap suffices gives it.
    pub fn permit(&self, subject: &Subject<'_>, draft: Draft) -> Result<(Permit, Restore), Denial> {
        let verdict = self.evaluate(subject, &draft.body);
        if let Some(denial) = verdict.denial {
            return Err(denial);
        }
        let offers = verdict.offers(draft.zone, &draft.provider);
        let Some(offer) = offers.iter().find(|offer| affordable(offer, draft.worst_cost)) else {
            return Err(no_way(&draft, offers.first()));
        };
        let mut body = draft.body;
        let names = &offer.grant.redact;
        let restore = redact(&mut body, names, &self.detectors).map_err(|Unredacted(name)| Denial {
            rule: Some(offer.rule.name.clone()),
            reason: format!("what `{name}` finds stands where it cannot be replaced"),
        })?;
        let bytes = serde_json::to_vec(&body).map_err(|e| Denial { rule: None, reason: e.to_string() })?;
        let permit = Permit {
            client: draft.client,
            id: draft.id,
            zone: draft.zone,
            provider: draft.provider,
            rule: offer.rule.name.clone(),
            redacted: names.iter().cloned().collect(),
            cap: offer.grant.cap,
            expires: draft.expires,
            digest: Sha256::digest(&bytes).into(),
            bytes,
        };
        Ok((permit, restore))
    }
}

/// What has a cap needs a known price.
fn affordable(offer: &Offer<'_>, worst_cost: Option<MicroUsd>) -> bool {
    offer.grant.cap.is_none_or(|cap| worst_cost.is_some_and(|cost| cost <= cap))
}

fn no_way(draft: &Draft, too_dear: Option<&Offer<'_>>) -> Denial {
    let Some(offer) = too_dear else {
        let reason = format!("no rule of the policy lets it go to {}", draft.provider);
        return Denial { rule: None, reason };
    };
    let cap = offer.grant.cap.unwrap_or_default();
    let reason = match draft.worst_cost {
        Some(cost) => format!("it could cost {cost} at {}, the rule allows {cap}", draft.provider),
        None => format!("nobody knows what it costs at {}, and the rule allows {cap}", draft.provider),
    };
    Denial { rule: Some(offer.rule.name.clone()), reason }
}
