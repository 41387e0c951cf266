//! Whether one policy lets nothing go that another does not.
//!
//! A running daemon takes a tighter policy at once; a looser one waits for a restart, which is an
//! act that somebody has to do on purpose. The comparison is by the rules as they are written: it
//! may call a policy looser that is not, never the other way round.

use super::{
    Policy,
    rule::{Effect, Grant, Rule},
};

impl Policy {
    /// Why `self` may let something go that `old` keeps; `None` when it certainly does not.
    pub fn looser_than(&self, old: &Self) -> Option<String> {
        if self.classes != old.classes {
            return Some("the data classes are others".into());
        }
        let changed = self.detectors.changed(&old.detectors);
        if let Some(name) = changed {
            return Some(format!("the detector `{name}` is another"));
        }
        if let Some(rule) = old.denials().find(|rule| !self.denials().any(|new| same(new, rule))) {
            return Some(format!("the rule `{}`, which denies, is gone or another", rule.name));
        }
        if let Some(why) = self.grants_looser_than(old) {
            return Some(why);
        }
        let better = self.providers.iter().find(|(name, facts)| old.facts(name) != Some(facts));
        better.map(|(name, _)| format!("what is known of the provider `{name}` is something else"))
    }

    /// The remaining rules that allow must be old ones in their old order, and what a rule that
    /// is gone replaced must be replaced by every rule behind it: they now send in its stead.
    fn grants_looser_than(&self, old: &Self) -> Option<String> {
        let mut kept = self.grants().peekable();
        let mut gone: Vec<(&Rule, &Grant)> = Vec::new();
        for (rule, grant) in old.grants() {
            if kept.next_if(|(new, _)| same(new, rule)).is_none() {
                gone.push((rule, grant));
                continue;
            }
            let bare = gone.iter().find(|(_, before)| !before.redact.is_subset(&grant.redact));
            if let Some((before, _)) = bare {
                return Some(format!("`{}` would send what `{}` has redacted", rule.name, before.name));
            }
        }
        let added = kept.next();
        added.map(|(rule, _)| format!("the rule `{}`, which allows, is new or in another place", rule.name))
    }

    fn denials(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.effect == Effect::Deny)
    }

    fn grants(&self) -> impl Iterator<Item = (&Rule, &Grant)> {
        self.rules.iter().filter_map(|rule| match &rule.effect {
            Effect::Allow(grant) => Some((rule, grant)),
            Effect::Deny => None,
        })
    }
}

/// The same conditions and the same effect; name and line may differ.
fn same(a: &Rule, b: &Rule) -> bool {
    a.when == b.when && a.effect == b.effect
}
