//! A table of cases that a reviewer signs: what must leave, to whom and how, and what must not.
//!
//! ```toml
//! [[case]]
//! name = "telemetry goes to Europe, without serial numbers"
//! client = "press-3"
//! topic = "plant/press-3/telemetry"
//! class = "public"
//! text = "SN-12345678 vibrates"
//! zone = "cloud"
//! allows = ["scaleway"]
//! sends = "[SERIAL_1] vibrates"
//! ```

use std::path::Path;

use serde_json::{Value, json};

use super::{
    Denial, Draft, Policy, Subject,
    read::{self, Reader, Section},
};
use crate::{
    config::Problem,
    domain::{BootTime, ClientId, Lane, MicroUsd, RequestId, Zone, limits},
};

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    asks: Asks,
    wants: Wants,
}

/// Who sends what.
#[derive(Clone, Debug, PartialEq)]
struct Asks {
    client: ClientId,
    uid: Option<u32>,
    lane: Lane,
    topic: Option<String>,
    task: Option<String>,
    class: Option<String>,
    zone_max: Zone,
    text: String,
    worst_usd: Option<f64>,
}

/// What must come of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wants {
    /// The zone that `allows` and `denies` are about.
    zone: Option<Zone>,
    /// Every provider of the policy that it may go to; `None`: not asked.
    allows: Option<Vec<String>>,
    /// The rule that denies; `Some("")`: none, because none allows.
    denied_by: Option<String>,
    /// The text as it leaves.
    sends: Option<String>,
}

const KEYS: [&str; 14] = [
    "name",
    "client",
    "uid",
    "lane",
    "topic",
    "task",
    "class",
    "zone_max",
    "text",
    "worst_usd",
    "zone",
    "allows",
    "denied_by",
    "sends",
];

/// Reads a file of cases; every mistake at once.
pub fn cases(path: &Path) -> Result<Vec<Case>, Vec<Problem>> {
    read::file(path, read_cases)
}

fn read_cases(reader: &mut Reader<'_>, root: &Section<'_>) -> Vec<Case> {
    reader.only(root, &["case"]);
    let entries = reader.list(root, "case");
    if entries.is_empty() {
        reader.problem(0, "there is no case: write [[case]] and what it asks and wants");
    }
    entries.into_iter().filter_map(|entry| read_case(reader, entry)).collect()
}

fn read_case(reader: &mut Reader<'_>, mut entry: Section<'_>) -> Option<Case> {
    reader.only(&entry, &KEYS);
    let line = reader.line(entry.at);
    let Some((name, _)) = reader.text(&entry, "name") else {
        reader.problem(entry.at, format!("{} needs a `name`", entry.name));
        return None;
    };
    entry.name = format!("case `{name}`");
    let client = reader.text(&entry, "client").unwrap_or_else(|| ("nobody".into(), entry.at));
    let Some(id) = ClientId::new(&client.0) else {
        reader.problem(client.1, format!("`{}` is no name of a client", client.0));
        return None;
    };
    let zones = Zone::ALL.map(|zone| (zone.name(), zone));
    let lanes = Lane::ALL.map(|lane| (lane.name(), lane));
    let mut words = |key| reader.text(&entry, key).map(|(text, _)| text);
    let (topic, task, class, text) = (words("topic"), words("task"), words("class"), words("text"));
    let (denied_by, sends) = (words("denied_by"), words("sends"));
    let allows = entry.has("allows").then(|| reader.texts(&entry, "allows"));
    let asks = Asks {
        client: id,
        uid: reader.number(&entry, "uid"),
        lane: reader.word(&entry, "lane", &lanes).map_or(Lane::Normal, |(lane, _)| lane),
        zone_max: reader.word(&entry, "zone_max", &zones).map_or(Zone::Cloud, |(zone, _)| zone),
        worst_usd: reader.amount(&entry, "worst_usd").map(|(usd, _)| usd),
        text: text.unwrap_or_default(),
        topic,
        task,
        class,
    };
    let wants = Wants {
        zone: reader.word(&entry, "zone", &zones[1..]).map(|(zone, _)| zone),
        allows: allows.map(|texts| texts.into_iter().map(|(text, _)| text).collect()),
        denied_by,
        sends,
    };
    if wants == (Wants { zone: wants.zone, ..Wants::default() }) {
        reader.problem(
            entry.at,
            format!("{} wants nothing: write `allows`, `denied_by` or `sends`", entry.name),
        );
    }
    Some(Case { name, line, asks, wants })
}

impl Case {
    /// What is otherwise than it should be; empty when all is well.
    pub fn run(&self, policy: &Policy) -> Vec<String> {
        let (asks, wants) = (&self.asks, &self.wants);
        let subject = Subject {
            client: &asks.client,
            uid: asks.uid,
            lane: asks.lane,
            chose_lane: false,
            topic: asks.topic.as_deref(),
            task: asks.task.as_deref(),
            class: policy.classes().of(asks.class.as_deref()),
            zone_max: asks.zone_max,
        };
        let zone = wants.zone.unwrap_or(Zone::Cloud);
        let mut allowed = Vec::new();
        let mut wrong = Vec::new();
        for provider in policy.providers() {
            match policy.permit(&subject, self.draft(zone, provider)) {
                Ok((permit, _)) => {
                    wrong.extend(self.misses(provider, permit.bytes()));
                    allowed.push(provider);
                }
                Err(denial) => wrong.extend(self.other_denial(&denial)),
            }
        }
        if wants.sends.is_some() && allowed.is_empty() {
            wrong.push("nothing leaves".into());
        }
        let mut expected: Vec<&str> = wants.allows.iter().flatten().map(String::as_str).collect();
        expected.sort_unstable();
        if wants.allows.is_some() && expected != allowed {
            wrong.push(format!("it may go to {}, and was to go to {}", list(&allowed), list(&expected)));
        }
        if wants.denied_by.is_some() && !allowed.is_empty() {
            wrong.push(format!("it was to be denied, and may go to {}", list(&allowed)));
        }
        wrong.dedup();
        wrong
    }

    fn draft(&self, zone: Zone, provider: &str) -> Draft {
        Draft {
            client: self.asks.client.clone(),
            id: RequestId::generate(),
            zone,
            provider: provider.into(),
            body: json!({"messages": [{"role": "user", "content": self.asks.text}]}),
            worst_cost: self.asks.worst_usd.map(MicroUsd::of_usd),
            expires: BootTime::new(limits::DEADLINE_MAX),
        }
    }

    fn misses(&self, provider: &str, bytes: &[u8]) -> Option<String> {
        let wanted = self.wants.sends.as_deref()?;
        let body: Value = serde_json::from_slice(bytes).ok()?;
        let sent = body.pointer("/messages/0/content").and_then(Value::as_str).unwrap_or_default();
        (sent != wanted).then(|| format!("to {provider} leaves {sent:?}, and was to leave {wanted:?}"))
    }

    fn other_denial(&self, denial: &Denial) -> Option<String> {
        let wanted = self.wants.denied_by.as_deref()?;
        let by = denial.rule.as_deref().unwrap_or_default();
        let name =
            |rule: &str| if rule.is_empty() { "the want of a rule".into() } else { format!("rule `{rule}`") };
        (by != wanted).then(|| format!("it is denied by {}, and was to be by {}", name(by), name(wanted)))
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        version = 1
        [classes]
        order = ["public", "restricted"]
        [[rule]]
        name = "telemetry"
        effect = "allow"
        when = { class = ["public"] }
        to = { zone = "cloud", providers = ["a", "b"], training = false }
        redact = ["email"]
        max_usd_per_request = 0.5
        [[rule]]
        name = "recipes"
        effect = "deny"
        when = { contains = ["recipe"] }
        [provider.a]
        training = false
    "#;

    fn read_text(text: &str) -> Result<Vec<Case>, Vec<Problem>> {
        read::text(Path::new("c"), text, read_cases)
    }

    fn outcome(case: &str) -> Vec<String> {
        let policy = Policy::parse(Path::new("p"), POLICY).unwrap();
        let cases = read_text(&format!("[[case]]\nname = \"x\"\nworst_usd = 0.1\n{case}")).unwrap();
        cases[0].run(&policy)
    }

    #[test]
    fn a_case_that_is_as_it_should_be_says_nothing() {
        for case in [
            "class = \"public\"\ntext = \"to x@y.example\"\nallows = [\"a\"]\nsends = \"to [EMAIL_1]\"",
            "class = \"public\"\ntext = \"a Recipe\"\ndenied_by = \"recipes\"\nallows = []",
            "text = \"hi\"\ndenied_by = \"\"",
            "class = \"public\"\nzone_max = \"site\"\nallows = []",
        ] {
            assert_eq!(outcome(case), Vec::<String>::new(), "{case}");
        }
    }

    #[test]
    fn a_case_that_is_not_says_how() {
        for (case, expected) in [
            ("class = \"public\"\nallows = [\"a\", \"b\"]", "it may go to a, and was to go to a, b"),
            ("class = \"public\"\ndenied_by = \"recipes\"", "it was to be denied, and may go to a"),
            (
                "text = \"hi\"\ndenied_by = \"recipes\"",
                "it is denied by the want of a rule, and was to be by rule `recipes`",
            ),
            ("class = \"public\"\ntext = \"x\"\nsends = \"y\"", "to a leaves \"x\", and was to leave \"y\""),
            ("text = \"x\"\nsends = \"x\"", "nothing leaves"),
        ] {
            assert!(outcome(case).iter().any(|words| words == expected), "{case}: {:?}", outcome(case));
        }
    }

    #[test]
    fn a_case_without_a_wish_and_one_without_sense_are_refused() {
        let problems = read_text("[[case]]\nname = \"x\"\n[[case]]\nclinet = \"y\"").unwrap_err();
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "c:1: case `x` wants nothing: write `allows`, `denied_by` or `sends`",
                "c:3: [[case]] 2 needs a `name`",
                "c:4: [[case]] 2 has no `clinet`; did you mean `client`?",
            ]
        );
    }
}
