//! Random policies, and what follows from one: whether a request may leave, to whom and in which form is
//! decided here a second time, in another way, and with nothing of the code under test.

use std::collections::BTreeMap;

use crate::{
    allow::{Allow, CLASSES, Facts, LANES, SOCKET_LANE},
    asked::{Asked, WORDS},
    dice::Dice,
    market,
};

/// Detectors and groups that a rule may keep things here for.
const FINDINGS: [&str; 6] = ["email", "network", "secret", "phone", "iban", "serial"];

/// A part of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Words,
    Findings,
    Label,
    ZoneMax,
    Facts,
    Cap,
}

impl Part {
    pub(crate) const ALL: [Self; 6] =
        [Self::Words, Self::Findings, Self::Label, Self::ZoneMax, Self::Facts, Self::Cap];
}

/// A policy, as text and as it is to be understood.
pub(crate) struct Rules {
    pub(crate) text: String,
    /// The class that the operator gives the client's data; `None`: none, which is the most restricted.
    pub(crate) class: Option<usize>,
    allows: Vec<Allow>,
    words: Vec<&'static str>,
    findings: Vec<&'static str>,
    /// For which lanes these are kept; empty: for all.
    kept_lanes: Vec<&'static str>,
    facts: BTreeMap<&'static str, Facts>,
}

impl Rules {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let allows: Vec<Allow> = (0..dice.below(7)).map(|n| Allow::random(dice, n)).collect();
        let known = market::PROVIDERS.into_iter().filter(|_| !dice.one_in(5)).collect::<Vec<_>>();
        let facts = known.into_iter().map(|name| (name, Facts::random(dice))).collect();
        let mut rules = Self {
            text: String::new(),
            class: *dice.pick(&[Some(0), Some(0), Some(0), Some(1), None]),
            allows,
            words: WORDS.into_iter().filter(|_| dice.one_in(3)).collect(),
            findings: FINDINGS.into_iter().filter(|_| dice.one_in(6)).collect(),
            kept_lanes: if dice.one_in(3) { vec![*dice.pick(&LANES)] } else { Vec::new() },
            facts,
        };
        // Where a rule that denies stands makes no difference.
        let at = dice.below(rules.allows.len() + 1);
        rules.text = rules.toml(at);
        rules
    }

    fn toml(&self, at: usize) -> String {
        let mut rules: Vec<String> = self.allows.iter().map(Allow::toml).collect();
        if !(self.words.is_empty() && self.findings.is_empty()) {
            let (words, findings, lanes) = (&self.words, &self.findings, &self.kept_lanes);
            rules.insert(at, format!(
                "[[rule]]\nname = \"keep\"\neffect = \"deny\"\nwhen = {{ contains = {words:?}, detector = {findings:?}, lane = {lanes:?} }}\n"
            ));
        }
        let facts: String = self.facts.iter().map(|(name, facts)| facts.toml(name)).collect();
        format!(
            "version = 1\n[classes]\norder = {CLASSES:?}\n[detector.serial]\npattern = \"SN-[0-9]{{8}}\"\n{}{facts}",
            rules.concat()
        )
    }

    /// The rule that lets this provider have it: the first of the file that does.
    pub(crate) fn grant(&self, request: &Asked, provider: &str) -> Option<&Allow> {
        self.grant_without(None, request, provider)
    }

    /// Everybody who may have it, and by which rule. What a rule replaces and stands where nothing can be
    /// replaced keeps it from whoever has it by that rule.
    pub(crate) fn grants(&self, request: &Asked) -> BTreeMap<&'static str, &Allow> {
        self.grants_without(None, request)
    }

    /// Whether others might have it if nobody looked at this.
    pub(crate) fn decides(&self, part: Part, request: &Asked) -> bool {
        let names = |grants: BTreeMap<&'static str, &Allow>| grants.into_keys().collect::<Vec<_>>();
        names(self.grants_without(Some(part), request)) != names(self.grants(request))
    }

    fn grants_without(&self, part: Option<Part>, request: &Asked) -> BTreeMap<&'static str, &Allow> {
        let all = request.candidates().into_iter();
        let granted = all.filter_map(|name| Some((name, self.grant_without(part, request, name)?)));
        granted.filter(|(_, allow)| !request.stuck.is_some_and(|kind| allow.redacts(kind))).collect()
    }

    fn grant_without(&self, part: Option<Part>, request: &Asked, provider: &str) -> Option<&Allow> {
        let counts = |one: Part| part != Some(one);
        let spoken = self.words.iter().any(|word| request.speaks_of(word));
        let planted = request.secrets.iter();
        let mut meant = planted.flat_map(|(kind, _)| self.findings.iter().map(|name| kind.is_meant_by(name)));
        let lanes = &self.kept_lanes;
        let kept = lanes.is_empty() || request.lane.is_some() || lanes.contains(&SOCKET_LANE);
        if kept && (counts(Part::Words) && spoken || counts(Part::Findings) && meant.any(|is| is)) {
            return None;
        }
        if counts(Part::ZoneMax) && request.zone_max != "cloud" {
            return None;
        }
        let class = self.class_of(request.label.filter(|_| counts(Part::Label)));
        let facts = self.facts.get(provider).copied();
        self.allows.iter().find(|allow| {
            allow.holds_for(request, class)
                && allow.names(provider)
                && (!counts(Part::Facts) || allow.trusts(facts))
                && (!counts(Part::Cap) || allow.pays(request, provider))
        })
    }

    /// Whether any rule lets anything go to the cloud.
    pub(crate) fn opens(&self) -> bool {
        self.text.contains("zone = \"cloud\"")
    }

    /// A label only tightens; an unknown one, and none from anybody, is the most restricted.
    fn class_of(&self, label: Option<&str>) -> usize {
        let most = CLASSES.len() - 1;
        let label = label.map(|label| CLASSES.iter().position(|class| *class == label).unwrap_or(most));
        self.class.unwrap_or(most).max(label.unwrap_or(0))
    }
}
