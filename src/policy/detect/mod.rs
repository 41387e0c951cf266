//! Finding what may not leave: values of a known form, and the operator's own patterns.
//!
//! Detectors find well-formed values, not intentions: what somebody describes in words, or
//! disguises, they do not see. That is why nothing leaves unless a rule allows it, and why the
//! rules that allow ask for class, client and topic, not for the absence of a finding.
//!
//! Each scan is linear in the length of the text (the `regex` crate never goes back, and each
//! check behind it looks at a bounded stretch).

mod builtin;
mod checksum;
mod operator;

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

pub(super) use operator::compile;

/// Where something was found, in bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

/// How a detector looks.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// Every match is a finding.
    Pattern(Regex),
    /// Of each match, what the check finds in it.
    Checked(Regex, fn(&str) -> Vec<Span>),
    /// A match is a beginning; the check says how many bytes from there are a finding.
    From(Regex, fn(&str) -> Option<usize>),
}

/// All detectors by their names.
#[derive(Clone, Debug)]
pub struct Detectors {
    looks: BTreeMap<String, Look>,
    operators: BTreeMap<String, String>,
}

impl Default for Detectors {
    fn default() -> Self {
        Self { looks: builtin::all(), operators: BTreeMap::new() }
    }
}

impl PartialEq for Detectors {
    fn eq(&self, other: &Self) -> bool {
        self.operators == other.operators
    }
}

impl Eq for Detectors {}

impl Detectors {
    /// Adds one of the operator's own.
    pub(super) fn add(&mut self, name: &str, pattern: Regex) {
        self.operators.insert(name.into(), pattern.as_str().into());
        self.looks.insert(name.into(), Look::Pattern(pattern));
    }

    /// One of the operator's own that is not the same in both.
    pub(super) fn changed<'d>(&'d self, other: &'d Self) -> Option<&'d str> {
        let differs = |name: &&String| self.operators.get(*name) != other.operators.get(*name);
        self.operators.keys().chain(other.operators.keys()).find(differs).map(String::as_str)
    }

    /// Names of single detectors and of groups.
    pub fn names(&self) -> Vec<&str> {
        let groups = builtin::GROUPS.iter().map(|(name, _)| *name);
        self.looks.keys().map(String::as_str).chain(groups).collect()
    }

    /// The single detectors that a name stands for; empty when there is none.
    pub(super) fn resolve(&self, name: &str) -> BTreeSet<String> {
        if let Some((_, members)) = builtin::GROUPS.iter().find(|(group, _)| *group == name) {
            return members.iter().map(|m| (*m).to_owned()).collect();
        }
        self.looks.contains_key(name).then(|| name.to_owned()).into_iter().collect()
    }

    /// What one detector finds, from left to right, without overlaps. A name that does not exist
    /// finds everything: whoever asks for it must not be told that all is well.
    pub(super) fn find(&self, name: &str, text: &str) -> Vec<Span> {
        match self.looks.get(name) {
            None if text.is_empty() => Vec::new(),
            None => vec![Span { start: 0, end: text.len() }],
            Some(Look::Pattern(pattern)) => pattern
                .find_iter(text)
                .filter(|m| !m.is_empty())
                .map(|m| Span { start: m.start(), end: m.end() })
                .collect(),
            Some(Look::Checked(pattern, check)) => pattern
                .find_iter(text)
                .flat_map(|m| {
                    let inner = check(m.as_str());
                    inner
                        .into_iter()
                        .map(move |s| Span { start: m.start() + s.start, end: m.start() + s.end })
                })
                .collect(),
            Some(Look::From(beginning, check)) => {
                let mut found: Vec<Span> = Vec::new();
                for m in beginning.find_iter(text) {
                    let free = found.last().is_none_or(|last| last.end <= m.start());
                    if let Some(length) = check(&text[m.start()..]).filter(|_| free) {
                        found.push(Span { start: m.start(), end: m.start() + length });
                    }
                }
                found
            }
        }
    }
}

#[cfg(test)]
mod tests;
