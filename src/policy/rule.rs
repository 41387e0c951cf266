//! Rules: for whom they hold, and what they say.

use std::collections::BTreeSet;

use super::{
    class::Class,
    detect::Detectors,
    facts::To,
    subject::{Subject, Texts},
};
use crate::domain::{Lane, MicroUsd, TopicFilter};

/// What a rule does for requests that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They may leave, in this form.
    Allow(Grant),
    /// They must not, whatever other rules say.
    Deny,
}

/// The form in which a rule lets something go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub to: To,
    /// Detectors whose findings are replaced before.
    pub redact: BTreeSet<String>,
    /// What one request may cost at most.
    pub cap: Option<MicroUsd>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in traces, errors and the audit.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// For which requests it holds.
    pub when: When,
    /// What it says.
    pub effect: Effect,
}

/// For which requests a rule holds: all conditions that are not empty must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// One of these data classes.
    pub class: Vec<Class>,
    /// Came on a topic that one of these filters matches.
    pub topic: Vec<TopicFilter>,
    /// From a client with such a name; `*` stands for any characters.
    pub client: Vec<String>,
    /// From one of these users over the socket.
    pub uid: Vec<u32>,
    /// In one of these lanes, as the operator or the transport has it. A lane that a request has chosen
    /// counts as none of them where that would let it out, and as all of them where that keeps it here.
    pub lane: Vec<Lane>,
    /// From one of these tasks.
    pub task: Vec<String>,
    /// Its text holds one of these, in whatever case, or one of the detectors finds something.
    pub contains: Vec<String>,
    /// See `contains`: together they are one condition.
    pub detector: BTreeSet<String>,
}

impl When {
    /// Why a request is not meant; `None` when it is. `opens`: the rule lets out whom it means.
    pub(super) fn objection(
        &self,
        subject: &Subject<'_>,
        texts: &Texts<'_>,
        detectors: &Detectors,
        class_name: &str,
        opens: bool,
    ) -> Option<String> {
        let s = subject;
        let absent = |what: &str| format!("it has no {what}");
        if !self.class.is_empty() && !self.class.contains(&s.class) {
            return Some(format!("its class is {class_name}"));
        }
        if !self.topic.is_empty() {
            let Some(topic) = s.topic else { return Some(absent("topic")) };
            if !self.topic.iter().any(|filter| filter.matches(topic)) {
                return Some(format!("its topic is {topic}"));
            }
        }
        if !self.client.is_empty() && !self.client.iter().any(|p| fits(p, s.client.as_str())) {
            return Some(format!("its client is {}", s.client));
        }
        if !self.uid.is_empty() {
            let Some(uid) = s.uid else { return Some(absent("user id")) };
            if !self.uid.contains(&uid) {
                return Some(format!("its user id is {uid}"));
            }
        }
        if !self.lane.is_empty() {
            if s.chose_lane && opens {
                return Some("it has chosen its lane itself".into());
            }
            if !s.chose_lane && !self.lane.contains(&s.lane) {
                return Some(format!("its lane is {}", s.lane.name()));
            }
        }
        if !self.task.is_empty() {
            let Some(task) = s.task else { return Some(absent("task")) };
            if !self.task.iter().any(|name| name == task) {
                return Some(format!("its task is {task}"));
            }
        }
        let asks_content = !self.contains.is_empty() || !self.detector.is_empty();
        if asks_content && !self.found(texts, detectors) {
            return Some("nothing of what it looks for is in the text".into());
        }
        None
    }

    fn found(&self, texts: &Texts<'_>, detectors: &Detectors) -> bool {
        // What cannot be looked through may hold it.
        if texts.is_opaque() {
            return true;
        }
        let words: Vec<String> = self.contains.iter().map(|word| word.to_lowercase()).collect();
        texts.all().any(|text| {
            let lower = if words.is_empty() { String::new() } else { text.to_lowercase() };
            words.iter().any(|word| lower.contains(word.as_str()))
                || self.detector.iter().any(|name| !detectors.find(name, text).is_empty())
        })
    }
}

/// Whether `name` is as `pattern` says, in which `*` stands for any characters, also for none.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("press-*", "press-3", true),
            ("press-*", "press", false),
            ("*", "x", true),
            ("press-3", "press-33", false),
            ("p*-*3", "press-33", true),
            ("*-3", "press-3-3", true),
            ("a*a", "a", false),
            ("uid-1000", "uid-1000", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
