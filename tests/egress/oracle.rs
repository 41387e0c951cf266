//! Random rules and requests, and what has to become of them: whether a request may leave is decided
//! here a second time and in another way, which bytes leave is what `policy explain` prints.

use std::path::Path;

use outpost::{
    cloud::{Outgoing, draft},
    domain::{BootTime, ClientId, Lane, MicroUsd, RequestId, Zone, hex},
    policy::{Draft, Policy, Subject},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::dice::Dice;

const CLASSES: [&str; 3] = ["public", "internal", "restricted"];
const LANES: [&str; 3] = ["interactive", "normal", "batch"];
/// Words that a rule may keep, and texts that hold something to be found.
const SECRETS: [&str; 4] = ["recipe_id", "Drawing-7", "SN-20260017", "püf tolerance"];
const FINDINGS: [&str; 6] = [
    "ann@plant.example",
    "10.1.2.3",
    "AA:BB:CC:DD:EE:FF",
    "DE89370400440532013000",
    "SN-12345678",
    "+49 30 901820",
];

/// A policy, as text and as this oracle sees it.
pub(crate) struct Rules {
    pub(crate) text: String,
    policy: Policy,
    allows: Vec<Allow>,
    keeps: Vec<&'static str>,
}

struct Allow {
    classes: Vec<usize>,
    lanes: Vec<&'static str>,
    client: &'static str,
    zone: &'static str,
    provider: Option<&'static str>,
}

/// A request, and what this oracle knows of it.
pub(crate) struct Asked {
    pub(crate) body: Value,
    /// Stands in its text and in no other.
    pub(crate) marker: String,
    text: String,
    class: usize,
    lane: &'static str,
    zone_max: &'static str,
}

impl Rules {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let mut text = String::from(
            "version = 1\n[classes]\norder = [\"public\", \"internal\", \"restricted\"]\n\
             [detector.serial]\npattern = \"SN-[0-9]{8}\"\n",
        );
        let allows: Vec<Allow> = (0..dice.below(4)).map(|_| Allow::random(dice)).collect();
        for (n, allow) in allows.iter().enumerate() {
            let redact = match dice.below(3) {
                0 => "",
                1 => "redact = [\"email\", \"serial\"]\n",
                _ => "redact = [\"ipv4\", \"phone\", \"iban\", \"mac\"]\n",
            };
            let cap = if dice.one_in(3) { "max_usd_per_request = 0.01\n" } else { "" };
            let rule =
                format!("[[rule]]\nname = \"allow {n}\"\neffect = \"allow\"\n{}{redact}{cap}", allow.toml());
            text.push_str(&rule);
        }
        let keeps: Vec<&'static str> = SECRETS.into_iter().filter(|_| dice.one_in(2)).collect();
        if !keeps.is_empty() {
            let rule =
                format!("[[rule]]\nname = \"keep\"\neffect = \"deny\"\nwhen = {{ contains = {keeps:?} }}\n");
            text.push_str(&rule);
        }
        let policy =
            Policy::parse(Path::new("policy.toml"), &text).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        Self { text, policy, allows, keeps }
    }

    /// The bytes that leave; `None`: nothing does.
    pub(crate) fn explain(&self, request: &Asked) -> Option<Vec<u8>> {
        if !self.lets_go(request) {
            return None;
        }
        let client = ClientId::new("me").unwrap();
        let own = &request.body["outpost"];
        let subject = Subject {
            client: &client,
            uid: None,
            lane: Lane::ALL.into_iter().find(|lane| lane.name() == request.lane).unwrap(),
            chose_lane: false,
            topic: None,
            task: None,
            class: self.policy.classes().effective(Some("public"), own["data_class"].as_str()),
            zone_max: Zone::named(request.zone_max).unwrap(),
        };
        let outgoing = Outgoing { model: "org/small:scaleway", provider: "scaleway", max_tokens: 16 };
        let draft = Draft {
            client: client.clone(),
            id: RequestId::generate(),
            zone: Zone::Cloud,
            provider: "scaleway".into(),
            body: draft(&request.body, outgoing),
            worst_cost: Some(MicroUsd(1_000)),
            expires: BootTime::new(std::time::Duration::MAX),
        };
        // A finding that cannot be replaced keeps it here, too.
        self.policy.permit(&subject, draft).ok().map(|(permit, _)| permit.bytes().to_vec())
    }

    fn lets_go(&self, request: &Asked) -> bool {
        let text = request.text.to_lowercase();
        let kept = self.keeps.iter().any(|word| text.contains(&word.to_lowercase()));
        request.zone_max == "cloud" && !kept && self.allows.iter().any(|allow| allow.fits(request))
    }
}

impl Allow {
    fn random(dice: &mut Dice) -> Self {
        Self {
            classes: (0..3).filter(|_| dice.one_in(2)).collect(),
            lanes: LANES.into_iter().filter(|_| dice.one_in(3)).collect(),
            client: *dice.pick(&["", "", "me", "press-*"]),
            zone: *dice.pick(&["cloud", "cloud", "cloud", "site"]),
            provider: *dice.pick(&[None, Some("scaleway"), Some("groq")]),
        }
    }

    fn toml(&self) -> String {
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
        let providers = self.provider.map(|name| format!(", providers = [{name:?}]")).unwrap_or_default();
        let when =
            if when.is_empty() { String::new() } else { format!("when = {{ {} }}\n", when.join(", ")) };
        format!("{when}to = {{ zone = {:?}{providers} }}\n", self.zone)
    }

    fn fits(&self, request: &Asked) -> bool {
        (self.classes.is_empty() || self.classes.contains(&request.class))
            && (self.lanes.is_empty() || self.lanes.contains(&request.lane))
            && matches!(self.client, "" | "me")
            && self.zone == "cloud"
            && self.provider.is_none_or(|name| name == "scaleway")
    }
}

impl Asked {
    pub(crate) fn random(dice: &mut Dice, seed: u64, n: usize) -> Self {
        let marker = format!("marker-{seed}-{n}-");
        let mut words = vec![marker.clone()];
        for _ in 0..dice.below(4) {
            words.push(
                (*dice.pick(&[
                    "is",
                    "loud",
                    "\"quoted\"",
                    "line\nbreak",
                    "{\"json\": 1}",
                    "é😀",
                    "[EMAIL_1]",
                ]))
                .into(),
            );
        }
        if dice.one_in(3) {
            let secret = *dice.pick(&SECRETS);
            words.push(if dice.one_in(2) { secret.to_uppercase() } else { secret.into() });
        }
        if dice.one_in(2) {
            words.push((*dice.pick(&FINDINGS)).into());
        }
        let text = words.join(" ");
        let label = dice.below(4);
        let (lane, zone_max) =
            (*dice.pick(&LANES), *dice.pick(&["cloud", "cloud", "cloud", "cloud", "site", "device"]));
        let mut own = json!({"lane": lane});
        // The operator says public; a label only tightens, and an unknown one is the most restricted.
        let class = match label {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => {
                own["data_class"] = "nobody knows".into();
                2
            }
        };
        if (1..3).contains(&label) {
            own["data_class"] = CLASSES[class].into();
        }
        if zone_max != "cloud" {
            own["zone_max"] = zone_max.into();
        }
        let message = match dice.below(3) {
            0 => json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]),
            1 => json!([{"role": "user", "content": [{"type": "text", "text": text}]}]),
            _ => json!([{"role": "user", "content": text}]),
        };
        let body = json!({
            "model": "org/small:scaleway", "messages": message, "max_tokens": 16, "user": "not for others",
            "stream": dice.one_in(2), "outpost": own,
        });
        Self { body, marker, text, class, lane, zone_max }
    }

    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        let marker = self.marker.as_bytes();
        bytes.windows(marker.len()).any(|part| part == marker)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
