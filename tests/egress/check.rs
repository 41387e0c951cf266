//! Holds what was asked, what came over the wire and what the audit says against the rules.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    allow::Allow,
    asked::Asked,
    audit::{Audit, sha256},
    faults::{Fault, Then},
    hf::Seen,
    rules::Rules,
    wire,
};

/// A request, how providers were told to fail it, and what the caller heard.
pub(crate) struct Played {
    pub(crate) asked: Asked,
    pub(crate) fault: Option<Fault>,
    pub(crate) answer: Value,
}

/// Every connection with every byte that came, and the whole audit.
pub(crate) struct Evidence {
    pub(crate) seen: Vec<Seen>,
    pub(crate) audit: Audit,
    /// All bytes of all connections.
    wire: String,
}

impl Evidence {
    pub(crate) fn new(seen: Vec<Seen>, audit: Audit) -> Self {
        let wire = seen.iter().map(|seen| wire::text(&seen.raw)).collect::<Vec<_>>().join("\n");
        Self { seen, audit, wire }
    }

    pub(crate) fn prompts(&self) -> Vec<&Seen> {
        self.seen.iter().filter(|seen| seen.method == "POST").collect()
    }

    /// Connections that there is a reason for: calls of the chain, and readings of the catalogue.
    pub(crate) fn explained(&self) -> usize {
        self.audit.of("sent").len() + self.seen.iter().filter(|seen| seen.method == "GET").count()
    }
}

/// Everything that is not as it has to be.
pub(crate) fn check(rules: &Rules, played: &[Played], evidence: &Evidence) -> Vec<String> {
    let mut wrong: Vec<String> = evidence.seen.iter().flat_map(wire::not_allowed).collect();
    let prompts = evidence.prompts();
    let (mut owned, mut resting) = (0, BTreeSet::new());
    for one in played {
        let marker = &one.asked.marker;
        let is_mine = |seen: &&&Seen| String::from_utf8_lossy(&seen.body).contains(marker);
        let mine: Vec<&Seen> = prompts.iter().filter(is_mine).copied().collect();
        owned += mine.len();
        let case = Case { rules, one, grants: rules.grants(&one.asked), mine, evidence };
        let told = [case.left(), case.became(&resting)].concat();
        wrong.extend(told.into_iter().map(|what| format!("{marker} {what}")));
        if let Some(fault) = one.fault.filter(|fault| fault.then == Then::Rests) {
            resting.extend(case.mine.iter().take(fault.times).map(|seen| seen.provider.clone()));
        }
    }
    if owned != prompts.len() {
        wrong.push(format!("{} prompts left, of which {owned} were asked for", prompts.len()));
    }
    if !rules.opens() && !evidence.seen.is_empty() {
        wrong.push("nothing may leave, and somebody was called".into());
    }
    wrong.extend(chain(&prompts, &evidence.audit));
    wrong
}

/// One request, who may have it, and who got it.
struct Case<'a> {
    rules: &'a Rules,
    one: &'a Played,
    grants: BTreeMap<&'static str, &'a Allow>,
    mine: Vec<&'a Seen>,
    evidence: &'a Evidence,
}

impl Case<'_> {
    /// What is wrong with what left of it.
    fn left(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let asked = &self.one.asked;
        let is_out = |text: &str| self.evidence.wire.contains(text);
        if self.grants.is_empty() && is_out(&asked.marker) {
            wrong.push("was denied and left".into());
        }
        if is_out(&asked.withheld) {
            wrong.push("left with what is not for others".into());
        }
        for (kind, value) in &asked.secrets {
            // Also when there is nobody who may have it.
            if self.grants.values().all(|allow| allow.redacts(*kind)) && is_out(value) {
                wrong.push(format!("left with {value}, which nobody may have"));
            }
        }
        for seen in &self.mine {
            match self.grants.get(seen.provider.as_str()) {
                Some(allow) => wrong.extend(self.left_by(allow, seen)),
                None => wrong.push(format!("left to {}, from whom the policy keeps it", seen.provider)),
            }
        }
        wrong
    }

    /// What is wrong with one call that this rule allows.
    fn left_by(&self, allow: &Allow, seen: &Seen) -> Vec<String> {
        let mut wrong = Vec::new();
        let asked = &self.one.asked;
        let raw = wire::text(&seen.raw);
        for (kind, value) in &asked.secrets {
            if allow.redacts(*kind) && raw.contains(value) {
                wrong.push(format!("left with {value}, which `{}` replaces", allow.name));
            }
        }
        let expected = asked.sent(&seen.provider, allow);
        if seen.body != expected {
            let (is, expected) = (wire::text(&seen.body), wire::text(&expected));
            wrong.push(format!("left otherwise than `{}` says:\n{is}\n{expected}", allow.name));
        }
        let digest = sha256(&seen.body);
        let is_this = |row: &&Value| {
            row["sha256"] == digest && row["rule"] == allow.name && row["request"] == asked.marker
        };
        if !self.evidence.audit.of("sent").iter().any(is_this) {
            wrong.push(format!("left by `{}`, and the chain does not say so", allow.name));
        }
        wrong
    }

    /// What is wrong with what became of it: how many were asked, what the caller heard, what the chain says.
    fn became(&self, resting: &BTreeSet<String>) -> Vec<String> {
        let (asked, answer) = (&self.one.asked, &self.one.answer);
        let mut wrong = Vec::new();
        let heard: String = answer.to_string().chars().take(300).collect();
        let answered = answer["error"].is_null() && !answer.to_string().contains(r#"\"error\""#);
        let is_policy = answer["error"]["code"] == "policy_denied";
        let on_record = self.evidence.audit.of("denied").iter().any(|row| row["request"] == asked.marker);
        let rests = |name: &&str| resting.contains(*name);
        if self.grants.is_empty() {
            if answered {
                wrong.push(format!("was denied and answered: {heard}"));
            }
            // Where somebody rests, that he does is what is told first.
            let certain = asked.asks_to_leave() && !asked.candidates().iter().any(rests);
            if certain && asked.hears_of_policy() && !is_policy {
                wrong.push(format!("was denied and heard something else: {heard}"));
            }
            if certain && !on_record {
                wrong.push(format!("was denied and is not on record: {heard}"));
            }
            return wrong;
        }
        // Of some it turns out only when they are asked that it is kept from them, and that ends it.
        let granted = |name: &&str| self.rules.grant(asked, name).is_some();
        if asked.candidates().iter().filter(|name| granted(name)).count() > self.grants.len() {
            return wrong;
        }
        if on_record || is_policy {
            wrong.push(format!("was allowed and denied: {heard}"));
        }
        let (all, free) = (self.grants.len(), self.grants.keys().filter(|name| !rests(name)).count());
        let fault = self.one.fault;
        let ends = fault.is_some_and(|fault| fault.then == Then::Ends);
        let times = fault.filter(|_| !ends).map_or(0, |fault| fault.times);
        let (tries, calls) = (free.min(times + 1)..=all.min(times + 1), self.mine.len());
        if !tries.contains(&calls) {
            wrong.push(format!("was sent {calls} times instead of {tries:?}: {heard}"));
        }
        if answered && (ends || all <= times) || !answered && !ends && free > times {
            wrong.push(format!("may go to {free} to {all}, with {fault:?}, and is answered so: {heard}"));
        }
        wrong
    }
}

/// Each call stands in the chain, in its order and as it was, and nothing else does.
fn chain(prompts: &[&Seen], audit: &Audit) -> Vec<String> {
    let mut wrong = audit.broken.clone();
    let on_wire =
        prompts.iter().map(|seen| (sha256(&seen.body), seen.provider.clone(), seen.body.len() as u64));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sent = audit.of("sent").into_iter();
    let in_chain = sent
        .map(|row| (text(&row["sha256"]), text(&row["provider"]), row["bytes_out"].as_u64().unwrap_or(0)));
    if !in_chain.eq(on_wire) {
        wrong.push("the chain and the wire do not say the same".into());
    }
    wrong
}
