//! Whole policies, from their text to the bytes that leave.

mod random;

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::domain::{BootTime, ClientId, Lane, MicroUsd, RequestId, Zone};

const TELEMETRY: &str = r#"
version = 1

[classes]
order = ["public", "internal", "restricted"]

[[rule]]
name   = "telemetry"
effect = "allow"
when   = { class = ["public"], topic = ["plant/+/telemetry"], client = ["press-*"], uid = [] }
to     = { zone = "cloud", providers = ["scaleway", "ovhcloud"], retention_days_max = 0, training = false, region = ["eu"] }
redact = ["email", "ipv4", "serial"]
max_usd_per_request = 0.01

[[rule]]
name   = "the server next door"
effect = "allow"
when   = { class = ["public", "internal"] }
to     = { zone = "site" }

[[rule]]
name   = "recipes never leave"
effect = "deny"
when   = { contains = ["recipe_id"], detector = ["secret"] }

[detector.serial]
pattern = "SN-[0-9]{8}"

[provider.scaleway]
retention_days = 0
training = false
region = "eu"
source = "https://example.com/privacy"
checked_on = 2026-11-01
"#;

fn parse(text: &str) -> Result<Policy, Vec<String>> {
    Policy::parse(Path::new("policy.toml"), text)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn policy() -> Policy {
    parse(TELEMETRY).unwrap()
}

fn client() -> ClientId {
    ClientId::new("press-3").unwrap()
}

fn subject<'a>(policy: &Policy, client: &'a ClientId) -> Subject<'a> {
    Subject {
        client,
        uid: None,
        lane: Lane::Batch,
        chose_lane: false,
        topic: Some("plant/press-3/telemetry"),
        task: None,
        class: policy.classes().of(Some("public")),
        zone_max: Zone::Cloud,
    }
}

fn body(text: &str) -> Value {
    json!({"model": "org/name:scaleway", "messages": [{"role": "user", "content": text}]})
}

fn draft(zone: Zone, provider: &str, text: &str, worst_cost: Option<u64>) -> Draft {
    Draft {
        client: client(),
        id: RequestId::new("r-1").unwrap(),
        zone,
        provider: provider.into(),
        body: body(text),
        worst_cost: worst_cost.map(MicroUsd),
        expires: BootTime::new(std::time::Duration::from_secs(9)),
    }
}

#[test]
fn without_a_policy_nothing_leaves() {
    let (nothing, client) = (Policy::default(), client());
    let subject = subject(&nothing, &client);
    let verdict = nothing.evaluate(&subject, &body("hello"));
    assert_eq!(verdict.denial.as_ref().and_then(|d| d.rule.as_deref()), None);
    assert!(!verdict.reaches(Zone::Site) && !verdict.reaches(Zone::Cloud));
    assert!(nothing.permit(&subject, draft(Zone::Cloud, "scaleway", "hello", Some(1))).is_err());
}

#[test]
fn a_permit_holds_the_exact_bytes_with_what_is_hidden_replaced() {
    let (policy, client) = (policy(), client());
    let text = "press SN-12345678 at 10.0.0.5 vibrates, tell a@b.example";
    let draft = draft(Zone::Cloud, "scaleway", text, Some(9_999));
    let (permit, restore) = policy.permit(&subject(&policy, &client), draft).unwrap();
    let expected = body("press [SERIAL_1] at [IPV4_2] vibrates, tell [EMAIL_3]");
    assert_eq!(permit.bytes(), expected.to_string().as_bytes());
    assert!(permit.bytes().starts_with(br#"{"model":"#), "the model comes first");
    assert_eq!((permit.rule(), permit.provider()), ("telemetry", "scaleway"));
    assert_eq!(permit.digest(), <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(permit.bytes())));
    assert_eq!(restore.restore("mend [SERIAL_1]"), "mend SN-12345678");
    assert!(permit.holds_at(BootTime::new(std::time::Duration::from_secs(8))));
    assert!(!permit.holds_at(BootTime::new(std::time::Duration::from_secs(9))));
}

#[test]
fn a_rule_that_denies_wins() {
    let (policy, client) = (policy(), client());
    let token = format!("the token is hf_{}", "aB3".repeat(10));
    for text in ["Recipe_ID 7 of plant 2", token.as_str()] {
        let verdict = policy.evaluate(&subject(&policy, &client), &body(text));
        let denial = verdict.denial.clone().unwrap();
        assert_eq!(denial.rule.as_deref(), Some("recipes never leave"), "{text}");
        assert!(verdict.offers(Zone::Site, "gpu-room").is_empty());
        let denied = policy.permit(&subject(&policy, &client), draft(Zone::Site, "gpu-room", text, None));
        assert_eq!(denied.unwrap_err(), denial);
    }
}

#[test]
fn every_condition_must_be_met() {
    let (policy, press, lathe) = (policy(), client(), ClientId::new("lathe-1").unwrap());
    let good = subject(&policy, &press);
    let reaches = |s: Subject<'_>, zone| policy.evaluate(&s, &body("hello")).reaches(zone);
    assert!(reaches(good, Zone::Cloud));
    let internal = policy.classes().of(Some("internal"));
    for other in [
        Subject { client: &lathe, ..good },
        Subject { topic: None, ..good },
        Subject { topic: Some("plant/a/b/telemetry"), ..good },
        Subject { class: internal, ..good },
        Subject { zone_max: Zone::Site, ..good },
    ] {
        assert!(!reaches(other, Zone::Cloud), "{other:?}");
        assert!(reaches(other, Zone::Site), "{other:?}");
    }
    let device = Subject { zone_max: Zone::Device, ..good };
    assert!(!reaches(device, Zone::Site));
    let restricted = Subject { class: policy.classes().of(None), ..good };
    assert!(!reaches(restricted, Zone::Site));
}

#[test]
fn each_provider_is_held_against_what_is_known_of_it() {
    let (policy, client) = (policy(), client());
    let verdict = policy.evaluate(&subject(&policy, &client), &body("hello"));
    assert_eq!(verdict.offers(Zone::Cloud, "scaleway").len(), 1);
    // Named, but nothing is known of it.
    assert!(verdict.offers(Zone::Cloud, "ovhcloud").is_empty());
    assert!(verdict.offers(Zone::Cloud, "together").is_empty());
    assert_eq!(verdict.offers(Zone::Site, "gpu-room").len(), 1);
    let why = verdict.objections(Zone::Cloud, "ovhcloud");
    assert_eq!(why[0], ("telemetry", "is not known to keep nothing".to_owned()));
}

#[test]
fn what_has_a_cap_needs_a_known_price_below_it() {
    let (policy, client) = (policy(), client());
    let permit = |cost| {
        policy.permit(&subject(&policy, &client), draft(Zone::Cloud, "scaleway", "hi", cost)).map(|(p, _)| p)
    };
    assert!(permit(Some(10_000)).is_ok());
    for cost in [Some(10_001), None] {
        let denial = permit(cost).unwrap_err();
        assert_eq!(denial.rule.as_deref(), Some("telemetry"));
        assert!(denial.reason.contains("$0.010000"), "{}", denial.reason);
    }
}

#[test]
fn what_cannot_be_replaced_does_not_leave() {
    let (policy, client) = (policy(), client());
    let mut draft = draft(Zone::Cloud, "scaleway", "hi", Some(1));
    draft.body["tools"] = json!([{"parameters": {"SN-12345678": {"type": "string"}}}]);
    let denial = policy.permit(&subject(&policy, &client), draft).unwrap_err();
    assert!(denial.reason.contains("serial"), "{}", denial.reason);
}

#[test]
fn a_request_that_nobody_can_look_through_does_not_leave() {
    let (policy, client) = (policy(), client());
    let deep = (0..200).fold(json!("x"), |inner, _| json!([inner]));
    let verdict = policy.evaluate(&subject(&policy, &client), &json!({"messages": deep}));
    assert!(verdict.denial.is_some() && verdict.trace.is_empty());
}

#[test]
fn every_mistake_is_found_with_its_line_and_the_nearest_name() {
    let problems = parse(
        r#"version = 2
clases = 1
[classes]
order = ["public", "public", "internal"]
[[rule]]
name = "a"
effect = "alow"
[[rule]]
effect = "deny"
when = { class = ["publik"], topic = ["a/#/b"], lane = ["bach"], detector = ["e-mail"], contains = [" "] }
to = { zone = "cloud" }
[[rule]]
name = "b"
effect = "allow"
when = { contains = ["x"], uid = ["root"], colour = "red" }
to = { zone = "clouds", retention_days_max = -1, training = "no" }
redact = ["emial"]
max_usd_per_request = "free"
[[rule]]
name = "c"
effect = "allow"
[detector.email]
pattern = "abc"
[detector.x]
pattern = "[0-9]+"
[provider.p]
retention_days = 1.5
checked_on = "yesterday"
"#,
    )
    .unwrap_err();
    let all = problems.join("\n");
    for expected in [
        "policy.toml:1: `version` is 2, this Outpost knows 1",
        "policy.toml:2: the file has no `clases`; did you mean `classes`?",
        "policy.toml:4: `order` of [classes] has `public` twice",
        "policy.toml:7: `effect` of rule `a` is `alow`, expected one of allow, deny; did you mean `allow`?",
        "policy.toml:8: [[rule]] 2 needs a `name`",
        "policy.toml:10: there is no class `publik` in `order` of [classes]; did you mean `public`?",
        "policy.toml:10: the topic filter `a/#/b` has something behind `#`",
        "policy.toml:10: there is no lane `bach`; did you mean `batch`?",
        "policy.toml:10: there is no detector `e-mail`; did you mean `email`?",
        "policy.toml:10: `contains` holds an empty text",
        "policy.toml:8: [[rule]] 2 denies, for every provider: `to` has no meaning there",
        "policy.toml:15: rule `b` allows by what a text holds",
        "policy.toml:15: `uid` of `when` of rule `b` holds something that is no whole number",
        "policy.toml:15: `when` of rule `b` has no `colour`",
        "policy.toml:16: `zone` of `to` of rule `b` is `clouds`, expected one of site, cloud; did you mean `cloud`?",
        "policy.toml:16: `retention_days_max` of `to` of rule `b` is a integer, expected a whole number",
        "policy.toml:16: `training` of `to` of rule `b` is a string, expected true or false",
        "policy.toml:17: there is no detector `emial`; did you mean `email`?",
        "policy.toml:18: `max_usd_per_request` of rule `b` is a string",
        "policy.toml:19: rule `c` needs `to`",
        "policy.toml:22: `email` is a detector already",
        "policy.toml:25: `pattern` of [detector.x] holds no literal text of 3 characters",
        "policy.toml:27: `retention_days` of [provider.p] is a float",
        "policy.toml:28: `checked_on` of [provider.p] is a string, expected a day",
    ] {
        assert!(all.contains(expected), "{expected}\nis not among\n{all}");
    }
    assert_eq!(problems.len(), 24, "{all}");
}

#[test]
fn a_file_that_is_no_toml_and_one_that_is_not_there_say_so() {
    assert!(parse("version = ").unwrap_err()[0].starts_with("policy.toml:1: "));
    let missing = Policy::load(Path::new("/nowhere/policy.toml")).unwrap_err();
    assert_eq!(missing[0].to_string(), "/nowhere/policy.toml:1: there is no such file");
}

#[test]
fn a_policy_is_looser_when_anything_that_lets_go_is_new() {
    let old = policy();
    let with = |from: &str, to: &str| {
        assert!(TELEMETRY.contains(from), "{from}");
        parse(&TELEMETRY.replacen(from, to, 1)).unwrap()
    };
    let extra_denial =
        "[[rule]]\nname = \"n\"\neffect = \"deny\"\nwhen = { client = [\"press-7\"] }\n\n[detector.serial]";
    for tighter in [
        old.clone(),
        Policy::default(),
        with("[detector.serial]", extra_denial),
        with("name   = \"telemetry\"", "name   = \"renamed\""),
    ] {
        let reason = tighter.looser_than(&old);
        assert!(reason.is_none() || tighter == Policy::default(), "{reason:?}");
    }
    for (from, to) in [
        ("\"public\", \"internal\", \"restricted\"", "\"public\", \"internal\", \"other\""),
        ("client = [\"press-*\"]", "client = [\"*\"]"),
        ("retention_days_max = 0, ", ""),
        ("redact = [\"email\", \"ipv4\", \"serial\"]", "redact = [\"email\"]"),
        ("max_usd_per_request = 0.01", "max_usd_per_request = 0.02"),
        ("contains = [\"recipe_id\"], ", ""),
        ("SN-[0-9]{8}", "SN-[0-9]{9}"),
        ("retention_days = 0", "retention_days = 1"),
    ] {
        assert!(with(from, to).looser_than(&old).is_some(), "{from} -> {to}");
    }
}

#[test]
fn the_place_of_a_rule_that_redacts_may_not_be_taken_by_one_that_does_not() {
    let rule = |name: &str, redact: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\neffect = \"allow\"\nto = {{ zone = \"cloud\" }}\nredact = [{redact}]\n"
        )
    };
    let file = |rules: &[String]| parse(&format!("version = 1\n{}", rules.concat())).unwrap();
    let (hides, plain) = (rule("hides", "\"email\""), rule("plain", ""));
    let both = file(&[hides.clone(), plain.clone()]);
    assert_eq!(file(std::slice::from_ref(&hides)).looser_than(&both), None);
    assert!(file(std::slice::from_ref(&plain)).looser_than(&both).is_some());
    assert!(file(&[plain, hides]).looser_than(&both).is_some());
}

#[test]
fn a_lane_that_a_request_has_chosen_opens_nothing_and_evades_nothing() {
    let allow = "version = 1\n[[rule]]\nname = \"batch\"\neffect = \"allow\"\nwhen = { lane = [\"batch\"] }\nto = { zone = \"cloud\" }\n";
    let deny = "[[rule]]\nname = \"urgent\"\neffect = \"deny\"\nwhen = { lane = [\"interactive\"] }\n";
    let client = client();
    let denied = |text: &str, lane, chose_lane| {
        let policy = parse(text).unwrap();
        let subject = Subject { lane, chose_lane, ..subject(&policy, &client) };
        policy.evaluate(&subject, &body("x")).denial.map(|denial| denial.rule)
    };
    assert_eq!(denied(allow, Lane::Batch, false), None);
    assert_eq!(denied(allow, Lane::Batch, true), Some(None), "it opens nothing");
    let both = &format!("{allow}{deny}");
    let urgent = Some(Some("urgent".to_owned()));
    assert_eq!(denied(both, Lane::Batch, false), None);
    assert_eq!(denied(both, Lane::Batch, true), urgent, "and evades nothing");
    assert_eq!(denied(both, Lane::Interactive, false), urgent);
}
