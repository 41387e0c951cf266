//! What may leave the device: nothing, unless a rule of the operator's says so.
//!
//! ```text
//! body + who asks → evaluate → verdict with trace → permit for one provider → the exact bytes
//! ```
//! A [`Policy`] is read from its own file. [`Policy::evaluate`] is a pure, total function, linear in
//! the size of the request. [`Policy::permit`] is the only maker of a [`Permit`], which holds the
//! exact bytes that may leave, with what rules ask to hide already replaced; whoever sends,
//! sends those and nothing else.
//!
//! # What holds
//! - No policy, no rule that holds, or a request that cannot be looked through: nothing leaves.
//! - A rule that denies wins over all that allow.
//! - Each way out keeps the provider, the redaction and the cap of the one rule that offers it.
//! - What a request says of itself only tightens. What is not known of a provider counts as the worst.
//! - Within one rule all conditions must be met; the values of one condition are alternatives, and
//!   `contains` and `detector` are one condition together.

mod class;
mod detect;
mod evaluate;
mod facts;
mod load;
mod permit;
mod read;
mod redact;
mod rule;
mod subject;
mod suite;
#[cfg(test)]
mod tests;
mod tighten;

use std::collections::BTreeMap;

pub use class::{Class, Classes};
pub use detect::{Detectors, Span};
pub use evaluate::{Denial, Offer, Step, Verdict};
pub use facts::{Facts, To};
pub use permit::{Draft, Permit};
pub use redact::{Restore, Restorer};
pub use rule::{Effect, Grant, Rule, When};
pub use subject::{Subject, Texts, TooDeep};
pub use suite::{Case, cases};

use crate::domain::Zone;

/// The rules of one file. The default has none: nothing leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    classes: Classes,
    rules: Vec<Rule>,
    detectors: Detectors,
    providers: BTreeMap<String, Facts>,
}

impl Policy {
    /// The operator's data classes.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The rules, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether some rule lets something go to `zone`.
    pub fn opens(&self, zone: Zone) -> bool {
        self.rules.iter().any(|rule| matches!(&rule.effect, Effect::Allow(grant) if grant.to.zone == zone))
    }

    /// What is known of a provider.
    pub fn facts(&self, provider: &str) -> Option<&Facts> {
        self.providers.get(provider)
    }

    /// Every provider that the file names, in the order of their names.
    pub fn providers(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.providers.keys().map(String::as_str).collect();
        for rule in &self.rules {
            if let Effect::Allow(grant) = &rule.effect {
                names.extend(grant.to.providers.iter().map(String::as_str));
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}
