//! Holding a value against rules.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{
    rules::{Count, Id, Rules, Type},
    values::{all_differ, compare, is_multiple, same},
};
use crate::{domain::limits, task::error::cut};

/// Faults whose words are kept; others are only counted.
const FAULTS_KEPT: usize = 64;

/// What is wrong with a value: the words of the first faults, and how many there are.
pub(super) fn faults(rules: &[Rules], value: &Value) -> (Vec<String>, usize) {
    let mut check = Check { rules, steps: 0, path: String::new(), faults: Vec::new(), count: 0 };
    check.value(0, value);
    if check.steps > limits::SCHEMA_STEPS_MAX {
        let words = format!("the answer cannot be checked in {} steps", limits::SCHEMA_STEPS_MAX);
        return (vec![words], 1);
    }
    (check.faults, check.count)
}

struct Check<'a> {
    rules: &'a [Rules],
    steps: u64,
    /// JSON pointer of the value that is looked at.
    path: String,
    faults: Vec<String>,
    count: usize,
}

impl Check<'_> {
    fn fault(&mut self, words: impl AsRef<str>) {
        self.count += 1;
        if self.faults.len() < FAULTS_KEPT {
            let at = if self.path.is_empty() { "the answer" } else { &self.path };
            self.faults.push(cut(&format!("{at}: {}", words.as_ref())));
        }
    }

    fn value(&mut self, id: Id, value: &Value) {
        self.steps += 1;
        if self.steps > limits::SCHEMA_STEPS_MAX {
            return;
        }
        let rules = &self.rules[id];
        if rules.never {
            return self.fault("must not be there");
        }
        if !rules.types.is_empty() && !rules.types.iter().any(|wanted| wanted.holds(value)) {
            // What is of another type fails whatever else is said of it.
            let wanted: Vec<&str> = rules.types.iter().map(|wanted| wanted.name()).collect();
            return self.fault(format!("is {}, expected {}", kind(value), wanted.join(" or ")));
        }
        if let Some(allowed) = &rules.one_of_these
            && !allowed.iter().any(|one| same(one, value))
        {
            let allowed: Vec<String> = allowed.iter().take(FAULTS_KEPT).map(shown).collect();
            self.fault(format!("is {}, expected {}", shown(value), allowed.join(" or ")));
        }
        match value {
            Value::Number(n) => self.number(rules, n),
            Value::String(text) => self.text(rules, text),
            Value::Object(entries) => self.object(rules, entries),
            Value::Array(items) => self.array(rules, items),
            Value::Null | Value::Bool(_) => {}
        }
        self.combinations(rules, value);
    }

    fn number(&mut self, rules: &Rules, n: &Number) {
        let bounds = [
            (&rules.minimum, "at least", [Ordering::Greater, Ordering::Equal]),
            (&rules.maximum, "at most", [Ordering::Less, Ordering::Equal]),
            (&rules.above, "more than", [Ordering::Greater; 2]),
            (&rules.below, "less than", [Ordering::Less; 2]),
        ];
        for (bound, words, fine) in bounds {
            if let Some(bound) = bound
                && compare(n, bound).is_none_or(|ordering| !fine.contains(&ordering))
            {
                self.fault(format!("is {n}, expected {words} {bound}"));
            }
        }
        if let Some(of) = &rules.multiple_of
            && !is_multiple(n, of)
        {
            self.fault(format!("is {n}, expected a multiple of {of}"));
        }
    }

    fn text(&mut self, rules: &Rules, text: &str) {
        if rules.length.min.or(rules.length.max).is_some() {
            self.count(rules.length, text.chars().count(), "characters");
        }
        if let Some(pattern) = &rules.pattern
            && !pattern.is_match(text)
        {
            self.fault(format!("does not match the pattern {}", pattern.as_str()));
        }
        if let Some(format) = rules.format
            && !format.holds(text)
        {
            let name = super::rules::Format::ALL.into_iter().find(|(_, known)| *known == format);
            self.fault(format!("is no {}", name.map_or("text of that format", |(name, _)| name)));
        }
    }

    fn object(&mut self, rules: &Rules, entries: &Map<String, Value>) {
        self.count(rules.property_count, entries.len(), "properties");
        for name in rules.required.iter().filter(|name| !entries.contains_key(*name)) {
            self.fault(format!("`{name}` is missing"));
        }
        for (name, value) in entries {
            let own = rules.properties.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
            let matching = rules.pattern_properties.iter().filter(|(pattern, _)| pattern.is_match(name));
            let mut ids: Vec<Id> = own.into_iter().chain(matching.map(|(_, id)| *id)).collect();
            if ids.is_empty() {
                ids.extend(rules.additional_properties);
            }
            let part = name.replace('~', "~0").replace('/', "~1");
            for id in ids {
                self.within(&part, id, value);
            }
        }
    }

    fn array(&mut self, rules: &Rules, items: &[Value]) {
        self.count(rules.item_count, items.len(), "items");
        if rules.unique_items && !all_differ(items) {
            self.fault("has the same item twice");
        }
        for (n, item) in items.iter().enumerate() {
            if let Some(id) = rules.prefix_items.get(n).copied().or(rules.items) {
                self.within(&n.to_string(), id, item);
            }
        }
    }

    fn within(&mut self, part: &str, id: Id, value: &Value) {
        let len = self.path.len();
        self.path.push('/');
        self.path.push_str(part);
        self.value(id, value);
        self.path.truncate(len);
    }

    fn count(&mut self, count: Count, found: usize, what: &str) {
        let found = found as u64;
        if let Some(min) = count.min.filter(|min| found < *min) {
            self.fault(format!("has {found} {what}, expected at least {min}"));
        }
        if let Some(max) = count.max.filter(|max| found > *max) {
            self.fault(format!("has {found} {what}, expected at most {max}"));
        }
    }

    fn combinations(&mut self, rules: &Rules, value: &Value) {
        for id in rules.reference.into_iter().chain(rules.all_of.iter().copied()) {
            self.value(id, value);
        }
        if !rules.any_of.is_empty() || !rules.one_of.is_empty() {
            self.alternatives(&rules.any_of, value, false);
            self.alternatives(&rules.one_of, value, true);
        }
        if let Some(id) = rules.not
            && self.first_fault(id, value).is_none()
        {
            self.fault("is what it must not be");
        }
    }

    /// At least one alternative must fit, and when `only_one` is set no other.
    fn alternatives(&mut self, ids: &[Id], value: &Value, only_one: bool) {
        let (mut fitting, mut reasons) = (0, Vec::new());
        for id in ids {
            match self.first_fault(*id, value) {
                None => fitting += 1,
                Some(first) => reasons.push(first),
            }
            if fitting > usize::from(only_one) {
                break;
            }
        }
        if fitting == 0 && !ids.is_empty() {
            self.fault(format!("fits none of the {} alternatives ({})", ids.len(), reasons.join("; ")));
        } else if fitting > 1 && only_one {
            self.fault("fits more than one of the alternatives, expected exactly one");
        }
    }

    /// What is wrong with a value that may be wrong.
    fn first_fault(&mut self, id: Id, value: &Value) -> Option<String> {
        let (kept, count) = (self.faults.len(), self.count);
        self.value(id, value);
        let first = self.faults.get(kept).cloned();
        let failed = self.count > count;
        self.faults.truncate(kept);
        self.count = count;
        failed.then(|| first.unwrap_or_else(|| "it does not fit".to_owned()))
    }
}

/// A value in words: short ones as they are.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() > 100 => "a long text".to_owned(),
        Value::Array(_) | Value::Object(_) => format!("another {}", kind(value)),
        short => short.to_string(),
    }
}

fn kind(value: &Value) -> &'static str {
    let kinds = [Type::Null, Type::Boolean, Type::Object, Type::Array, Type::Number, Type::String];
    kinds.into_iter().find(|kind| kind.holds(value)).map_or("a value", Type::name)
}
