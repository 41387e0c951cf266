//! The decision: a pure function of the request, the rules and what is known of providers.

use serde_json::Value;

use super::{
    Policy,
    rule::{Effect, Grant, Rule},
    subject::{Subject, Texts},
};
use crate::domain::Zone;

/// Why something may not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The rule that says so; `None` when none allows it.
    pub rule: Option<String>,
    /// Why, in words for the caller.
    pub reason: String,
}

/// What one rule had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// Why it does not hold for the request; `None` when it does.
    pub objection: Option<String>,
}

/// The decision, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'p> {
    policy: &'p Policy,
    /// Every rule, in the order of the file.
    pub trace: Vec<Step<'p>>,
    /// Why nothing may leave, whatever the provider.
    pub denial: Option<Denial>,
}

/// One way out that a rule offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// The form in which it lets the request go.
    pub grant: &'p Grant,
}

impl Policy {
    /// Holds a request against every rule.
    pub fn evaluate(&self, subject: &Subject<'_>, body: &Value) -> Verdict<'_> {
        let Ok(texts) = Texts::of(body) else {
            let reason = "the request is nested too deeply to be looked through".into();
            return Verdict { policy: self, trace: Vec::new(), denial: Some(Denial { rule: None, reason }) };
        };
        let class = self.classes.name(subject.class);
        let trace: Vec<Step<'_>> = self
            .rules
            .iter()
            .map(|rule| {
                let opens = matches!(rule.effect, Effect::Allow(_));
                let objection = rule.when.objection(subject, &texts, &self.detectors, class, opens);
                Step { rule, objection: objection.or_else(|| too_far(rule, subject.zone_max)) }
            })
            .collect();
        let holds = |step: &&Step<'_>| step.objection.is_none();
        let denies = trace.iter().filter(holds).find(|step| step.rule.effect == Effect::Deny);
        let denial = match denies {
            Some(step) => Some(Denial {
                rule: Some(step.rule.name.clone()),
                reason: format!("the policy's rule `{}` keeps it on the device", step.rule.name),
            }),
            None if trace.iter().any(|step| step.objection.is_none()) => None,
            None => {
                Some(Denial { rule: None, reason: "no rule of the policy lets it leave the device".into() })
            }
        };
        Verdict { policy: self, trace, denial }
    }
}

/// A request that says how far it may go is not let farther.
fn too_far(rule: &Rule, zone_max: Zone) -> Option<String> {
    match &rule.effect {
        Effect::Allow(grant) if grant.to.zone > zone_max => {
            Some(format!("the request says that it may go no farther than {}", zone_max.name()))
        }
        _ => None,
    }
}

impl<'p> Verdict<'p> {
    /// The ways to this provider, the first rule of the file first.
    pub fn offers(&self, zone: Zone, provider: &str) -> Vec<Offer<'p>> {
        if self.denial.is_some() {
            return Vec::new();
        }
        let facts = self.policy.facts(provider);
        self.grants().filter(|offer| offer.grant.to.objection(zone, provider, facts).is_none()).collect()
    }

    /// Why each rule that allows the request does not allow this provider.
    pub fn objections(&self, zone: Zone, provider: &str) -> Vec<(&'p str, String)> {
        let facts = self.policy.facts(provider);
        self.grants()
            .filter_map(|offer| {
                let objection = offer.grant.to.objection(zone, provider, facts)?;
                Some((offer.rule.name.as_str(), objection))
            })
            .collect()
    }

    fn grants(&self) -> impl Iterator<Item = Offer<'p>> {
        self.trace.iter().filter(|step| step.objection.is_none()).filter_map(|step| match &step.rule.effect {
            Effect::Allow(grant) => Some(Offer { rule: step.rule, grant }),
            Effect::Deny => None,
        })
    }

    /// Whether some rule lets it into this zone.
    pub fn reaches(&self, zone: Zone) -> bool {
        self.denial.is_none() && self.grants().any(|offer| offer.grant.to.zone == zone)
    }
}
