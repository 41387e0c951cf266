//! Random policies and random requests: what holds for all of them.

use proptest::prelude::*;

use super::*;

const PROVIDERS: [&str; 3] = ["a", "b", "c"];
const SECRETS: [&str; 3] = ["x@y.example", "10.0.0.5", "SN-12345678"];

/// One rule in the file's format.
fn rule() -> impl Strategy<Value = String> {
    let when = prop_oneof![
        Just(String::new()),
        Just("class = [\"public\"]".into()),
        Just("class = [\"internal\", \"public\"]".into()),
        Just("client = [\"press-*\"]".into()),
        Just("lane = [\"batch\"]".into()),
    ];
    let denies = prop_oneof![
        Just("contains = [\"recipe\"]"),
        Just("detector = [\"email\"]"),
        Just("client = [\"lathe\"]")
    ];
    let to =
        (prop::sample::select(&["site", "cloud"][..]), prop::collection::vec(0usize..3, 0..3), any::<bool>());
    let redact = prop::sample::subsequence(vec!["email", "ipv4", "serial"], 0..=3);
    let allow = (when, to, redact, prop::option::of(1u32..20)).prop_map(|(when, (zone, names, strict), redact, cap)| {
        let names: Vec<String> = names.iter().map(|n| format!("{:?}", PROVIDERS[*n])).collect();
        let strict = if strict { ", training = false" } else { "" };
        let cap = cap.map(|n| format!("max_usd_per_request = 0.0{n:02}\n")).unwrap_or_default();
        format!(
            "effect = \"allow\"\nwhen = {{ {when} }}\nto = {{ zone = \"{zone}\", providers = [{}]{strict} }}\nredact = {redact:?}\n{cap}",
            names.join(", ")
        )
    });
    let deny = denies.prop_map(|when| format!("effect = \"deny\"\nwhen = {{ {when} }}\n"));
    prop_oneof![3 => allow, 1 => deny]
}

/// Rules, each with a name of its own, and facts that are known of some providers.
fn policy_of(rules: &[String], trains: &[Option<bool>]) -> Policy {
    let mut text =
        String::from("version = 1\n[classes]\norder = [\"public\", \"internal\", \"restricted\"]\n");
    text.push_str("[detector.serial]\npattern = \"SN-[0-9]{8}\"\n");
    for (name, trains) in PROVIDERS.iter().zip(trains) {
        if let Some(trains) = trains {
            text.push_str(&["[provider.", name, "]\ntraining = ", &trains.to_string(), "\n"].concat());
        }
    }
    for (n, rule) in rules.iter().enumerate() {
        text.push_str(&["[[rule]]\nname = \"r", &n.to_string(), "\"\n", rule].concat());
    }
    parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// Who asks what, and for whom.
#[derive(Clone, Debug)]
struct Ask {
    client: ClientId,
    class: &'static str,
    lane: Lane,
    zone_max: Zone,
    zone: Zone,
    provider: &'static str,
    text: String,
    cost: Option<u64>,
}

fn ask() -> impl Strategy<Value = Ask> {
    let zones = || prop::sample::select(&[Zone::Device, Zone::Site, Zone::Cloud][..]);
    let words = prop::collection::vec(
        prop::sample::select(&["hi", "recipe", SECRETS[0], SECRETS[1], SECRETS[2]][..]),
        1..6,
    );
    let who = (
        prop::sample::select(&["press-3", "lathe"][..]),
        prop::sample::select(&["public", "internal", "restricted"][..]),
        prop::sample::select(&Lane::ALL[..]),
    );
    (who, zones(), zones(), prop::sample::select(&PROVIDERS[..]), words, prop::option::of(0u64..300_000))
        .prop_map(|((client, class, lane), zone_max, zone, provider, words, cost)| Ask {
            client: ClientId::new(client).unwrap(),
            text: words.join(" "),
            class,
            lane,
            zone_max,
            zone,
            provider,
            cost,
        })
}

fn permit(policy: &Policy, ask: &Ask) -> Result<Permit, Denial> {
    let subject = Subject {
        client: &ask.client,
        uid: None,
        lane: ask.lane,
        chose_lane: false,
        topic: None,
        task: None,
        class: policy.classes().of(Some(ask.class)),
        zone_max: ask.zone_max,
    };
    let draft = Draft { client: ask.client.clone(), ..draft(ask.zone, ask.provider, &ask.text, ask.cost) };
    policy.permit(&subject, draft).map(|(permit, _)| permit)
}

proptest! {
    #[test]
    fn a_permit_names_a_rule_that_grants_exactly_this(
        rules in prop::collection::vec(rule(), 0..6),
        trains in prop::collection::vec(prop::option::of(any::<bool>()), 3),
        ask in ask(),
    ) {
        let policy = policy_of(&rules, &trains);
        let Ok(permit) = permit(&policy, &ask) else { return Ok(()) };
        prop_assert!(ask.zone != Zone::Device && ask.zone <= ask.zone_max);
        let rule = policy.rules().iter().find(|rule| rule.name == permit.rule()).unwrap();
        let Effect::Allow(grant) = &rule.effect else { panic!("a rule that denies gave a permit") };
        prop_assert!(grant.to.objection(ask.zone, ask.provider, policy.facts(ask.provider)).is_none());
        prop_assert!(grant.cap.is_none_or(|cap| ask.cost.is_some_and(|cost| MicroUsd(cost) <= cap)));
        let denied = policy.rules().iter().any(|rule| {
            let words = rule.when.contains.iter().any(|word| ask.text.contains(word.as_str()));
            let found = rule.when.detector.contains("email") && ask.text.contains(SECRETS[0]);
            let client = rule.when.client.iter().any(|client| *client == ask.client.as_str());
            rule.effect == Effect::Deny && (words || found || client)
        });
        prop_assert!(!denied, "a rule that denies holds");
        // What was to be hidden is nowhere in the bytes.
        let sent = String::from_utf8(permit.bytes().to_vec()).unwrap();
        for (name, secret) in ["email", "ipv4", "serial"].iter().zip(SECRETS) {
            prop_assert!(!grant.redact.contains(*name) || !sent.contains(secret), "{sent}");
        }
    }

    #[test]
    fn a_policy_that_is_not_looser_lets_nothing_go_that_the_old_one_kept(
        rules in prop::collection::vec(rule(), 0..5),
        others in prop::collection::vec(rule(), 0..2),
        kept in prop::collection::vec(any::<bool>(), 5),
        at in 0usize..5,
        asks in prop::collection::vec(ask(), 1..20),
    ) {
        let trains = [Some(false), Some(true), None];
        let mut changed: Vec<String> =
            rules.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(rule, _)| rule.clone()).collect();
        for other in others {
            changed.insert(at.min(changed.len()), other);
        }
        let (old, new) = (policy_of(&rules, &trains), policy_of(&changed, &trains));
        if new.looser_than(&old).is_some() {
            return Ok(());
        }
        for ask in asks {
            let Ok(now) = permit(&new, &ask) else { continue };
            let before = permit(&old, &ask);
            prop_assert!(before.is_ok(), "{ask:?}");
            let before = before.unwrap();
            let hides_less = before.redacted().iter().any(|name| !now.redacted().contains(name));
            prop_assert!(!hides_less, "{ask:?}: {:?} instead of {:?}", now.redacted(), before.redacted());
        }
    }

    #[test]
    fn no_text_makes_a_detector_panic_or_find_what_is_not_there(text in ".{0,300}") {
        let detectors = Detectors::default();
        for name in ["email", "phone", "ipv4", "ipv6", "mac", "iban", "card", "private_key", "api_token", "jwt"] {
            let mut end = 0;
            for span in detectors.find(name, &text) {
                prop_assert!(span.start >= end && span.end > span.start);
                prop_assert!(text.get(span.start..span.end).is_some(), "{name} cuts a character");
                end = span.end;
            }
        }
    }
}
