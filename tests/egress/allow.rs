//! One rule that allows, as text and as it is to be understood: for which requests it holds, to whom it lets
//! them go, what is to be replaced before, and what it may cost.

use crate::{asked::Asked, dice::Dice, market, secrets::Kind};

pub(crate) const CLASSES: [&str; 3] = ["public", "internal", "restricted"];
pub(crate) const LANES: [&str; 3] = ["interactive", "normal", "batch"];
/// Of who waits at the socket and does not choose. Who chooses is let out by no rule that asks for a lane, and
/// kept by each.
pub(crate) const SOCKET_LANE: &str = "interactive";
/// Detectors and groups of them that a rule may have replaced.
const REDACTIONS: [&[&str]; 7] = [
    &[],
    &["email", "serial"],
    &["ipv4", "phone"],
    &["personal", "mac"],
    &["network", "api_token", "iban"],
    &["secret", "serial"],
    &["personal", "network", "secret", "serial"],
];
/// Millionths of a dollar: all that is asked, most, some, the cheapest of the cheap, nothing.
const CAPS: [u64; 5] = [1_000_000, 10_000, 3_000, 300, 1];

pub(crate) struct Allow {
    pub(crate) name: String,
    classes: Vec<usize>,
    lanes: Vec<&'static str>,
    client: &'static str,
    /// Whether it names the user who runs this, or another.
    user: Option<bool>,
    zone: &'static str,
    providers: Vec<&'static str>,
    retention_days_max: Option<u32>,
    no_training: bool,
    regions: Vec<&'static str>,
    redact: &'static [&'static str],
    cap: Option<u64>,
}

/// What the policy says of a provider.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    retention_days: Option<u32>,
    training: Option<bool>,
    region: Option<&'static str>,
}

impl Allow {
    pub(crate) fn random(dice: &mut Dice, n: usize) -> Self {
        let providers: Vec<&str> = if dice.one_in(3) {
            market::PROVIDERS.into_iter().filter(|_| dice.one_in(2)).collect()
        } else {
            Vec::new()
        };
        Self {
            name: format!("allow {n}"),
            classes: if dice.one_in(3) { vec![dice.below(3), dice.below(3)] } else { Vec::new() },
            lanes: if dice.one_in(4) { vec![*dice.pick(&LANES), *dice.pick(&LANES)] } else { Vec::new() },
            client: *dice.pick(&["", "", "", "", "me", "m*", "press-*"]),
            user: *dice.pick(&[None, None, None, None, Some(true), Some(false)]),
            zone: *dice.pick(&["cloud", "cloud", "cloud", "cloud", "cloud", "site"]),
            providers,
            retention_days_max: *dice.pick(&[None, None, Some(30), Some(0)]),
            no_training: dice.one_in(3),
            regions: dice.pick(&[vec![], vec![], vec!["eu"], vec!["eu", "us"]]).clone(),
            redact: *dice.pick(&REDACTIONS),
            cap: if dice.one_in(2) { Some(*dice.pick(&CAPS)) } else { None },
        }
    }

    pub(crate) fn toml(&self) -> String {
        let mut when = Vec::new();
        if !self.classes.is_empty() {
            let names: Vec<&str> = self.classes.iter().map(|class| CLASSES[*class]).collect();
            when.push(format!("class = {names:?}"));
        }
        if !self.lanes.is_empty() {
            when.push(format!("lane = {:?}", self.lanes));
        }
        if !self.client.is_empty() {
            when.push(format!("client = [{:?}]", self.client));
        }
        if let Some(own) = self.user {
            when.push(format!("uid = [{}]", own_uid() + u32::from(!own)));
        }
        let mut to = vec![format!("zone = {:?}", self.zone)];
        if !self.providers.is_empty() {
            to.push(format!("providers = {:?}", self.providers));
        }
        if let Some(days) = self.retention_days_max {
            to.push(format!("retention_days_max = {days}"));
        }
        if self.no_training {
            to.push("training = false".into());
        }
        if !self.regions.is_empty() {
            to.push(format!("region = {:?}", self.regions));
        }
        let cap = self.cap.map(|micro| format!("max_usd_per_request = {:.6}\n", micro as f64 / 1e6));
        format!(
            "[[rule]]\nname = {:?}\neffect = \"allow\"\nwhen = {{ {} }}\nto = {{ {} }}\nredact = {:?}\n{}",
            self.name,
            when.join(", "),
            to.join(", "),
            self.redact,
            cap.unwrap_or_default()
        )
    }

    /// Whether it lets this request go to the cloud at all.
    pub(crate) fn holds_for(&self, request: &Asked, class: usize) -> bool {
        (self.classes.is_empty() || self.classes.contains(&class))
            && (self.lanes.is_empty() || request.lane.is_none() && self.lanes.contains(&SOCKET_LANE))
            && matches!(self.client, "" | "me" | "m*")
            && self.user != Some(false)
            && self.zone == "cloud"
    }

    /// Whether it is for this provider.
    pub(crate) fn names(&self, provider: &str) -> bool {
        self.providers.is_empty() || self.providers.contains(&provider)
    }

    /// Whether it lets somebody have it of whom this is known.
    pub(crate) fn trusts(&self, facts: Option<Facts>) -> bool {
        let none = Facts { retention_days: None, training: None, region: None };
        let facts = facts.unwrap_or(none);
        self.retention_days_max.is_none_or(|most| facts.retention_days.is_some_and(|days| days <= most))
            && (!self.no_training || facts.training == Some(false))
            && (self.regions.is_empty() || facts.region.is_some_and(|region| self.regions.contains(&region)))
    }

    /// Whether it pays for this request there.
    pub(crate) fn pays(&self, request: &Asked, provider: &str) -> bool {
        let Some(cap) = self.cap else { return true };
        let (least, most) = market::price(provider, request);
        assert!(cap < least || cap >= most, "{cap} lies between {least} and {most}: choose other caps");
        cap >= most
    }

    pub(crate) fn redacts(&self, kind: Kind) -> bool {
        self.redact.iter().any(|name| kind.is_meant_by(name))
    }
}

impl Facts {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        Self {
            retention_days: *dice.pick(&[None, Some(0), Some(0), Some(30), Some(31)]),
            training: *dice.pick(&[None, Some(false), Some(false), Some(true)]),
            region: *dice.pick(&[None, Some("eu"), Some("eu"), Some("us"), Some("elsewhere")]),
        }
    }

    pub(crate) fn toml(self, provider: &str) -> String {
        let lines = [
            self.retention_days.map(|days| format!("retention_days = {days}\n")),
            self.training.map(|training| format!("training = {training}\n")),
            self.region.map(|region| format!("region = {region:?}\n")),
        ];
        format!("[provider.{provider}]\n{}", lines.into_iter().flatten().collect::<String>())
    }
}

/// Whoever runs this.
pub(crate) fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}
