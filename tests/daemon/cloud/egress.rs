//! What leaves, and what does not.

use std::fs;

use serde_json::{Value, json};

use super::{OPEN, Plant, chat, me};
use crate::{
    harness::{binary, until, with},
    hf::script,
};

const CAREFUL: &str = r#"
version = 1
[classes]
order = ["public", "restricted"]
[[rule]]
name = "telemetry"
effect = "allow"
when = { class = ["public"] }
to = { zone = "cloud", providers = ["scaleway"] }
redact = ["email", "serial"]
max_usd_per_request = 0.01
[[rule]]
name = "recipes never leave"
effect = "deny"
when = { contains = ["recipe_id"] }
[detector.serial]
pattern = "SN-[0-9]{8}"
"#;

#[test]
fn without_a_policy_nothing_leaves_and_the_denial_is_on_record() {
    let plant = Plant::without_model("version = 1\n", &me("data_class = \"public\"\n"));
    let answer = plant.ask("org/small", "hi");
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (403, Some("policy_denied")));
    assert!(plant.router.seen().is_empty(), "not even the catalogue is asked for");
    assert_eq!(plant.audit()[0]["event"], "denied");
    assert_eq!(plant.daemon.status()["zones"]["cloud"], "blocked");
    assert_eq!(plant.daemon.get("/v1/models?zone=cloud").status, 403);
}

#[test]
fn what_a_rule_forbids_stays_and_what_it_lets_go_goes_as_explained() {
    let plant = Plant::without_model(CAREFUL, &me("data_class = \"public\"\n"));
    for (body, code) in [
        (chat("org/small", "RECIPE_ID 7"), "policy_denied"),
        (with(chat("org/small", "hi"), json!({"outpost": {"data_class": "restricted"}})), "policy_denied"),
        (with(chat("org/small", "hi"), json!({"outpost": {"zone_max": "device"}})), "policy_denied"),
        (with(chat("org/small", "hi"), json!({"outpost": {"zone_max": "site"}})), "policy_denied"),
        (chat("org/small:groq", "hi"), "policy_denied"),
    ] {
        let answer = plant.daemon.chat(&body).json();
        assert_eq!(answer["error"]["code"], code, "{body}: {answer}");
    }
    assert!(plant.router.prompts().is_empty());

    let request = chat("org/small", "SN-12345678 is loud, tell a@b.example \"now\"");
    let answer = plant.daemon.chat(&request).json();
    assert_eq!(
        answer["choices"][0]["message"]["content"], "echo: SN-12345678 is loud, tell a@b.example \"now\"",
        "what was replaced is put back"
    );
    let sent = plant.router.prompts()[0].clone();
    let text = String::from_utf8(sent.body.clone()).unwrap();
    assert!(!text.contains("12345678") && !text.contains("a@b"), "{text}");
    let explained = explain(&plant, &request);
    assert_eq!(explained["providers"][0]["body"].as_str().unwrap(), text, "each byte as it was explained");
    assert_eq!(
        plant.audit().iter().find(|row| row["event"] == "sent").unwrap()["sha256"],
        explained["providers"][0]["sha256"]
    );
}

/// What `outpost policy explain` says of a request.
fn explain(plant: &Plant, request: &Value) -> Value {
    let file = plant.files.path().join("request.json");
    fs::write(&file, request.to_string()).unwrap();
    let out = binary()
        .args(["--json", "--set", &format!("policy.file={}", plant.policy_file().display())])
        .args(["policy", "explain", "--client", "me", "--class", "public", "--model", "org/small"])
        .args(["--provider", "scaleway", "--worst-usd", "0.001"])
        .arg(&file)
        .output()
        .unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn what_was_replaced_is_put_back_in_streams_however_they_are_cut() {
    let plant = Plant::without_model(CAREFUL, &me("data_class = \"public\"\n"));
    plant.router.play(None, 1, |seen| {
        let answer = format!("seen: {}", seen.prompt());
        let mut play = vec![script::stream_head(&seen.provider)];
        play.extend(answer.chars().map(|c| script::text(&c.to_string())));
        play.extend([script::finish("stop"), script::done()]);
        play
    });
    let body = with(chat("org/small", "ask a@b.example about [1]"), json!({"stream": true}));
    let answer = plant.daemon.chat(&body);
    let text: String = answer
        .events()
        .iter()
        .filter_map(|e| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "seen: ask a@b.example about [1]");
}

#[test]
fn a_policy_gets_tighter_at_sighup_and_looser_only_at_a_restart() {
    let mut plant = Plant::without_model(OPEN, "");
    assert_eq!(plant.ask("org/small", "hi").status, 200);
    fs::write(plant.policy_file(), "version = 1\n").unwrap();
    plant.daemon.reload();
    until("it is tighter", || (plant.ask("org/small", "hi").status == 403).then_some(()));
    fs::write(plant.policy_file(), OPEN).unwrap();
    plant.daemon.reload();
    until("it says why not", || plant.daemon.log().contains("waits for a restart").then_some(()));
    assert_eq!(plant.ask("org/small", "hi").status, 403);
    fs::write(plant.policy_file(), "version = \n").unwrap();
    plant.daemon.reload();
    let status = plant.daemon.status_when("it alerts", |status| !status["egress"].is_null());
    assert!(status["egress"].as_str().unwrap().contains("nothing leaves the device"), "{status}");
    fs::write(plant.policy_file(), OPEN).unwrap();
    plant.daemon.signal(rustix::process::Signal::TERM);
    plant.daemon.restart();
    assert_eq!(plant.ask("org/small", "hi").status, 200);
}
