//! A cloud model by its name, over the socket: like the router itself, with policy, budget and books.

use serde_json::json;

use super::{OPEN, Plant, chat};
use crate::{
    harness::{binary, with},
    hf::{TOKEN, faults, script},
};

#[test]
fn a_named_model_is_answered_by_a_provider_and_everything_is_on_record() {
    let plant = Plant::without_model(OPEN, "");
    let answer = plant.ask("org/small", "is it loud?");
    assert_eq!(answer.status, 200, "{}", answer.json());
    let body = answer.json();
    assert_eq!(body["choices"][0]["message"]["content"], "echo: is it loud?");
    assert_eq!(body["model"], "org/small");
    // The cheapest of those with a known price that are live.
    assert_eq!(body["outpost"]["provider"], "novita");
    assert_eq!(answer.header("x-outpost-zone"), Some("cloud"));
    assert_eq!(answer.header("x-outpost-provider"), Some("novita"));
    let cost = body["outpost"]["cost_usd"].as_f64().unwrap();
    assert!(cost > 0.0 && cost < 0.001, "{cost}");

    let sent = &plant.router.prompts()[0];
    let text = String::from_utf8(sent.body.clone()).unwrap();
    assert!(text.starts_with(r#"{"model":"org/small:novita","messages":"#), "{text}");
    assert_eq!((sent.json()["max_tokens"].clone(), sent.json()["stream"].clone()), (json!(40), json!(true)));
    assert_eq!(sent.json().get("outpost"), None);
    assert!(sent.header("user-agent").unwrap().starts_with("outpost/"));
    assert_eq!(sent.header("x-hf-session-id").unwrap().len(), 36, "opaque");

    let audit = plant.audit();
    let events: Vec<_> = audit.iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["sent", "settled"]);
    assert_eq!(audit[0]["sha256"], sha256(&sent.body));
    assert_eq!(audit[0]["rule"], "everything");
    assert_eq!(audit[1]["settles"], 1);
    let ledger = plant.ledger();
    assert_eq!(ledger.len(), 1);
    assert_eq!((ledger[0]["provider"].as_str(), ledger[0]["requests"].as_u64()), (Some("novita"), Some(1)));
    assert_eq!(ledger[0]["bytes_out"].as_u64().unwrap(), sent.body.len() as u64);
    assert!(!plant.daemon.log().contains(TOKEN), "the token is in the log");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    outpost::domain::hex(&sha2::Sha256::digest(bytes))
}

#[test]
fn a_suffix_says_who_answers() {
    let plant = Plant::without_model(OPEN, "");
    for (model, provider) in [
        ("org/small:groq", "groq"),
        ("org/small:cheapest", "novita"),
        ("org/small:fastest", "cerebras"),
        ("org/large:cohere", "cohere"),
    ] {
        assert_eq!(plant.ask(model, "hi").json()["outpost"]["provider"], provider, "{model}");
    }
    for (model, kind, words) in [
        ("org/small:baseten", "provider_error", "does not answer"),
        ("org/small:featherless-ai", "provider_error", "no known price"),
        ("org/none", "model_not_found", "nobody offers org/none"),
        ("smollm", "model_not_found", ""),
    ] {
        let error = plant.ask(model, "hi").json();
        assert_eq!(error["error"]["code"], kind, "{model}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{error}");
    }
}

#[test]
fn a_stream_passes_through_piece_by_piece_with_tools_and_thoughts() {
    let plant = Plant::without_model(OPEN, "");
    plant.router.play(None, 1, |seen| {
        let call = |call: serde_json::Value| script::event(&script::chunk(json!({"tool_calls": [call]}), None));
        vec![
            script::stream_head(&seen.provider),
            script::event(&script::chunk(json!({"reasoning": "hm"}), None)),
            script::text("let me see"),
            call(json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "rms", "arguments": "{\"x\""}})),
            call(json!({"index": 0, "id": "", "function": {"name": null, "arguments": ":1}"}})),
            script::finish("tool_calls"),
            script::usage(7, 9),
            script::done(),
        ]
    });
    let tool = json!({"type": "function", "function": {"name": "rms", "parameters": {"type": "object"}}});
    let body = with(
        chat("org/small", "use it"),
        json!({"stream": true, "stream_options": {"include_usage": true}, "tools": [tool]}),
    );
    let answer = plant.daemon.chat(&body);
    assert_eq!(answer.header("x-outpost-provider"), Some("novita"), "{:?}", answer.head);
    let chunks = answer.events();
    let deltas: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
    let joined = |key: &str| deltas.iter().filter_map(|d| d[key].as_str()).collect::<String>();
    assert_eq!((joined("content").as_str(), joined("reasoning_content").as_str()), ("let me see", "hm"));
    let calls: Vec<_> = deltas.iter().filter_map(|d| d["tool_calls"][0].as_object()).collect();
    assert_eq!((calls[0]["id"].as_str(), calls[0]["function"]["name"].as_str()), (Some("c1"), Some("rms")));
    let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, "{\"x\":1}");
    let last = chunks.last().unwrap();
    assert_eq!(
        (last["usage"]["completion_tokens"].as_u64(), last["outpost"]["zone"].as_str()),
        (Some(9), Some("cloud"))
    );
}

#[test]
fn an_answer_is_held_against_its_schema_and_another_provider_asked() {
    let plant = Plant::without_model(OPEN, "");
    let schema =
        json!({"type": "object", "properties": {"level": {"type": "integer"}}, "required": ["level"]});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "v", "schema": schema, "strict": true}});
    plant.router.play(None, 1, |seen| script::answer_of(seen, "Sure! {\"level\": 3}"));
    plant.router.play(None, 1, |seen| script::answer_of(seen, "{\"level\": \"three\"}"));
    let answer = plant.daemon.chat(&with(chat("org/small", "level?"), json!({"response_format": format})));
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "{\"level\":0}");
    let asked: Vec<_> = plant.router.prompts().into_iter().map(|seen| seen.provider).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let reasons: Vec<_> = plant
        .audit()
        .iter()
        .filter(|row| row["event"] == "settled")
        .map(|row| row["reason"].to_string())
        .collect();
    assert!(reasons[0].contains("schema_missed") && reasons[1].contains("schema_missed"), "{reasons:?}");
    assert!(
        plant.ledger().iter().map(|row| row["cost_micro_usd"].as_u64().unwrap()).sum::<u64>() > 0,
        "all three are paid"
    );
}

#[test]
fn the_catalogue_and_the_bill_are_shown() {
    let plant = Plant::without_model(
        OPEN,
        "[[price]]\nmodel = \"org/small\"\nprovider = \"featherless-ai\"\ninput = 9\noutput = 9\n",
    );
    let list = plant.daemon.get("/v1/models?zone=cloud").json();
    let small = list["data"].as_array().unwrap().iter().find(|m| m["id"] == "org/small").unwrap().clone();
    let of = |name: &str| {
        small["providers"].as_array().unwrap().iter().find(|p| p["provider"] == name).unwrap().clone()
    };
    assert_eq!(of("groq")["usd_per_million"], json!({"input": 0.11, "output": 0.34}));
    assert_eq!(of("featherless-ai")["usd_per_million"]["output"], 9.0, "as configured");
    assert_eq!(of("fireworks-ai")["usd_per_million"], json!(null));
    assert_eq!(plant.daemon.get("/v1/models/org/small").json()["id"], "org/small");
    assert_eq!(plant.ask("org/small:featherless-ai", "hi").status, 200);
    let run = |arguments: &[&str]| {
        let out = binary()
            .args(["--socket", &plant.daemon.socket().display().to_string()])
            .args(arguments)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let models = run(&["models", "--zone", "cloud"]);
    assert!(models.contains("org/small") && models.contains("groq") && models.contains("0.34 $"), "{models}");
    let status = run(&["status"]);
    assert!(status.contains("zones     cloud ok") && status.contains("of $1 today"), "{status}");
    let place = status.lines().find_map(|line| line.strip_prefix("audit     ")).unwrap();
    run(&["audit", "verify", "--head", place]);
    let bill = run(&["usage", "--by", "provider"]);
    assert!(bill.contains("cloud:featherless-ai"), "{bill}");
    let json: serde_json::Value = serde_json::from_str(&run(&["usage", "--by", "model", "--json"])).unwrap();
    assert_eq!(json["data"][0]["name"], "org/small");
    assert!(json["cost_usd"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_catalogue_of_nonsense_or_none_leaves_everything_on_the_device() {
    let plant = Plant::without_model(OPEN, "");
    for nonsense in ["", "<html>", "{\"data\": 5}", "[", "{\"data\": [{\"id\": 5}]}"] {
        plant.router.offer_bytes(nonsense.into());
        let error = plant.ask("org/small", "hi").json();
        let code = error["error"]["code"].as_str().unwrap().to_owned();
        assert!(["provider_error", "model_not_found"].contains(&code.as_str()), "{nonsense}: {error}");
        plant.daemon.reload();
    }
    assert!(plant.router.prompts().is_empty());
    plant.router.offer(&crate::hf::catalogue::document());
    crate::harness::until("the catalogue is read again", || {
        plant.daemon.reload();
        (plant.ask("org/small", "hi").status == 200).then_some(())
    });
}

#[test]
fn streams_that_are_odd_and_good_are_good() {
    let plant = Plant::without_model(OPEN, "");
    for row in faults::ODD {
        plant.router.play(None, 1, row.script);
        let answer = plant.ask("org/small:scaleway", "hi");
        assert_eq!(answer.status, 200, "{}: {}", row.name, answer.json());
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "well done", "{}", row.name);
    }
}

#[test]
fn the_places_where_providers_put_their_usage_are_all_found() {
    let plant = Plant::without_model(OPEN, "");
    for (provider, exact) in
        [("scaleway", true), ("together", true), ("cohere", true), ("deepinfra", true), ("novita", false)]
    {
        plant.router.forget();
        let body = plant.ask(&format!("org/small:{provider}"), "how much?").json();
        let sent = plant.router.prompts()[0].clone();
        let counted = script::tokens(&String::from_utf8(sent.body).unwrap()) as u64;
        assert_eq!(body["usage"]["prompt_tokens"] == counted, exact, "{provider}: {body}");
        assert!(body["usage"]["completion_tokens"].as_u64().unwrap() > 0);
        if provider == "deepinfra" {
            assert_eq!(body["outpost"]["cost_usd"], 0.000_023, "its own word counts");
        }
    }
    let reason = |provider: &str| {
        let audit = plant.audit();
        let row = audit.iter().find(|row| row["event"] == "settled" && row["provider"] == provider).unwrap();
        row["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("scaleway"), "answered");
    assert!(reason("novita").contains("estimate"), "nobody counted");
}
