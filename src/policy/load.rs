//! From the file to a policy, or to everything that is wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    Policy,
    class::Classes,
    detect::{Detectors, compile},
    facts::{Facts, To},
    read::{self, At, Reader, Section},
    rule::{Effect, Grant, Rule, When},
};
use crate::{
    config::{Origin, Problem, nearest},
    domain::{Lane, MicroUsd, TopicFilter, Zone, limits},
};

/// The version of the format.
const VERSION: u32 = 1;

impl Policy {
    /// Reads a file.
    ///
    /// A file that anybody can write is nobody's policy.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        if fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o002 != 0) {
            let message = "anybody can change it, so it lets nothing go; chmod 0644 it".to_owned();
            return Err(vec![Problem { origin: Origin::File(path.into(), 1), message }]);
        }
        read::file(path, policy)
    }

    /// Reads the text of a file; `path` is for what is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        read::text(path, text, policy)
    }
}

fn policy(reader: &mut Reader<'_>, root: &Section<'_>) -> Policy {
    reader.only(root, &["version", "classes", "rule", "detector", "provider"]);
    match reader.number(root, "version") {
        Some(VERSION) => {}
        Some(other) => reader.problem(0, format!("`version` is {other}, this Outpost knows {VERSION}")),
        None if root.has("version") => {}
        None => reader.problem(0, format!("write `version = {VERSION}` at the top")),
    }
    let classes = read_classes(reader, root);
    let detectors = read_detectors(reader, root);
    let providers = read_providers(reader, root);
    let mut rules = Vec::new();
    let entries = reader.list(root, "rule");
    if entries.len() > limits::POLICY_RULES_MAX {
        reader.problem(
            entries[limits::POLICY_RULES_MAX].at,
            format!("there are {} rules, more than {}", entries.len(), limits::POLICY_RULES_MAX),
        );
    }
    let mut names = BTreeSet::new();
    for entry in entries.into_iter().take(limits::POLICY_RULES_MAX) {
        if let Some(rule) = read_rule(reader, entry, &classes, &detectors) {
            if !names.insert(rule.name.clone()) {
                reader.problem(0, format!("two rules are called `{}`", rule.name));
            }
            rules.push(rule);
        }
    }
    Policy { classes, rules, detectors, providers }
}

fn read_classes(reader: &mut Reader<'_>, root: &Section<'_>) -> Classes {
    let Some(section) = reader.section(root, "classes", "[classes]") else { return Classes::default() };
    reader.only(&section, &["order"]);
    let mut order: Vec<String> = Vec::new();
    for (class, at) in reader.texts(&section, "order") {
        if order.contains(&class) {
            reader.problem(at, format!("`order` of [classes] has `{class}` twice"));
        } else if class.is_empty() || class.len() > limits::DATA_CLASS_BYTES_MAX {
            reader.problem(at, format!("a class has 1 to {} characters", limits::DATA_CLASS_BYTES_MAX));
        } else {
            order.push(class);
        }
    }
    if order.is_empty() {
        reader.problem(section.at, "[classes] needs `order`: the classes from most open to most restricted");
    }
    Classes(order)
}

fn read_detectors(reader: &mut Reader<'_>, root: &Section<'_>) -> Detectors {
    let mut detectors = Detectors::default();
    for (n, (name, section)) in reader.named(root, "detector").into_iter().enumerate() {
        reader.only(&section, &["pattern"]);
        if n == limits::POLICY_DETECTORS_MAX {
            reader.problem(section.at, format!("there are more than {n} detectors"));
            break;
        }
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || name.is_empty() || name.len() > limits::DETECTOR_NAME_BYTES_MAX {
            reader.problem(section.at, "the name of a detector is letters, digits and `_`");
        } else if detectors.names().contains(&name.as_str()) {
            reader.problem(section.at, format!("`{name}` is a detector already; choose another name"));
        } else if let Some((pattern, at)) = reader.text(&section, "pattern") {
            match compile(&pattern) {
                Ok(compiled) => detectors.add(&name, compiled),
                Err(why) => reader.problem(at, format!("`pattern` of {} {why}", section.name)),
            }
        } else if !section.has("pattern") {
            reader.problem(section.at, format!("{} needs a `pattern`", section.name));
        }
    }
    detectors
}

fn read_providers(reader: &mut Reader<'_>, root: &Section<'_>) -> BTreeMap<String, Facts> {
    let mut providers = BTreeMap::new();
    for (name, section) in reader.named(root, "provider") {
        reader.only(&section, &["retention_days", "training", "region", "source", "checked_on"]);
        let facts = Facts {
            retention_days: reader.number(&section, "retention_days"),
            training: reader.flag(&section, "training"),
            region: reader.text(&section, "region").map(|(text, _)| text),
            source: reader.text(&section, "source").map(|(text, _)| text),
            checked_on: reader.date(&section, "checked_on"),
        };
        providers.insert(name, facts);
    }
    providers
}

const RULE_KEYS: [&str; 6] = ["name", "effect", "when", "to", "redact", "max_usd_per_request"];

fn read_rule(
    reader: &mut Reader<'_>,
    mut entry: Section<'_>,
    classes: &Classes,
    detectors: &Detectors,
) -> Option<Rule> {
    reader.only(&entry, &RULE_KEYS);
    let line = reader.line(entry.at);
    let name = reader.text(&entry, "name").map(|(name, _)| name).filter(|name| !name.is_empty());
    match &name {
        Some(name) => entry.name = format!("rule `{name}`"),
        None => reader.problem(entry.at, format!("{} needs a `name`: it stands in the audit", entry.name)),
    }
    let Some((allows, _)) = reader.word(&entry, "effect", &[("allow", true), ("deny", false)]) else {
        if !entry.has("effect") {
            reader.problem(entry.at, format!("{} needs an `effect`: allow or deny", entry.name));
        }
        return None;
    };
    let when = reader.section(&entry, "when", format!("`when` of {}", entry.name));
    let when_at = when.as_ref().map_or(entry.at, |when| when.at);
    let when = when.map(|when| read_when(reader, &when, classes, detectors)).unwrap_or_default();
    if allows && !(when.contains.is_empty() && when.detector.is_empty()) {
        reader.problem(
            when_at,
            format!(
                "{} allows by what a text holds, which its sender chooses; ask for class, client, topic, \
                 user or task, and write a rule that denies for what must not be in it",
                entry.name
            ),
        );
    }
    let effect = if allows { read_grant(reader, &entry, detectors)? } else { refuse_grant(reader, &entry) };
    Some(Rule { name: name?, line, when, effect })
}

fn refuse_grant(reader: &mut Reader<'_>, entry: &Section<'_>) -> Effect {
    for key in ["to", "redact", "max_usd_per_request"] {
        if entry.has(key) {
            reader.problem(
                entry.at,
                format!("{} denies, for every provider: `{key}` has no meaning there", entry.name),
            );
        }
    }
    Effect::Deny
}

fn read_grant(reader: &mut Reader<'_>, entry: &Section<'_>, detectors: &Detectors) -> Option<Effect> {
    let redact = detector_names(reader, entry, "redact", detectors);
    let cap = reader.amount(entry, "max_usd_per_request").map(|(usd, _)| MicroUsd::of_usd(usd));
    let Some(to) = reader.section(entry, "to", format!("`to` of {}", entry.name)) else {
        if !entry.has("to") {
            let words = "needs `to`, such as { zone = \"cloud\", providers = [\"…\"] }";
            reader.problem(entry.at, format!("{} {words}", entry.name));
        }
        return None;
    };
    reader.only(&to, &["zone", "providers", "retention_days_max", "training", "region"]);
    let zone = reader.word(&to, "zone", &[("site", Zone::Site), ("cloud", Zone::Cloud)]);
    if zone.is_none() && !to.has("zone") {
        reader.problem(to.at, format!("{} needs a `zone`: site or cloud", to.name));
    }
    let plain = |texts: Vec<At<String>>| texts.into_iter().map(|(text, _)| text).collect();
    let to = To {
        providers: plain(reader.texts(&to, "providers")),
        retention_days_max: reader.number(&to, "retention_days_max"),
        training: reader.flag(&to, "training"),
        region: plain(reader.texts(&to, "region")),
        zone: zone?.0,
    };
    Some(Effect::Allow(Grant { to, redact, cap }))
}

const WHEN_KEYS: [&str; 8] = ["class", "topic", "client", "uid", "lane", "task", "contains", "detector"];

fn read_when(reader: &mut Reader<'_>, when: &Section<'_>, classes: &Classes, detectors: &Detectors) -> When {
    reader.only(when, &WHEN_KEYS);
    let mut read = When { uid: reader.numbers(when, "uid"), ..When::default() };
    for (name, at) in reader.texts(when, "class") {
        if classes.0.contains(&name) {
            read.class.push(classes.of(Some(&name)));
        } else {
            let known: Vec<&str> = classes.0.iter().map(String::as_str).collect();
            let hint = nearest(&name, &known);
            reader.problem(at, format!("there is no class `{name}` in `order` of [classes]{hint}"));
        }
    }
    for (filter, at) in reader.texts(when, "topic") {
        match TopicFilter::parse(&filter) {
            Ok(filter) => read.topic.push(filter),
            Err(why) => reader.problem(at, format!("the topic filter `{filter}` {why}")),
        }
    }
    for (name, at) in reader.texts(when, "lane") {
        if let Some(lane) = Lane::ALL.into_iter().find(|lane| lane.name() == name) {
            read.lane.push(lane);
        } else {
            let hint = nearest(&name, &Lane::ALL.map(Lane::name));
            reader.problem(at, format!("there is no lane `{name}`{hint}"));
        }
    }
    for (word, at) in reader.texts(when, "contains") {
        if word.trim().is_empty() {
            reader.problem(at, "`contains` holds an empty text, which everything contains");
        } else {
            read.contains.push(word);
        }
    }
    read.client = reader.texts(when, "client").into_iter().map(|(text, _)| text).collect();
    read.task = reader.texts(when, "task").into_iter().map(|(text, _)| text).collect();
    read.detector = detector_names(reader, when, "detector", detectors);
    read
}

/// The single detectors behind a list of names, which may be those of groups.
fn detector_names(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    detectors: &Detectors,
) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (name, at) in reader.texts(section, key) {
        let found = detectors.resolve(&name);
        if found.is_empty() {
            let hint = nearest(&name, &detectors.names());
            reader.problem(at, format!("there is no detector `{name}`{hint}"));
        }
        all.extend(found);
    }
    all
}
