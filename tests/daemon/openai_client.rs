//! Clients for Python that know nothing of Outpost, run against daemons (`tests/python`): the official
//! `openai`, and `litellm`.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    cloud::{OPEN, Plant},
    harness::{Daemon, python},
    hf::{Seen, script},
    site::{self, Server},
    tcp::{TOKEN, TcpDaemon},
};

/// Beside [`OPEN`]: recipes stay here.
const RECIPES: &str =
    "[[rule]]\nname = \"recipes never leave\"\neffect = \"deny\"\nwhen = { contains = [\"recipe_id\"] }\n";

pub(crate) fn passes(module: &str, socket: &Path, environment: &[(&str, &str)]) {
    let output = Command::new(python())
        .args(["-B", "-m", "unittest", "-v", module])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python"))
        .env("OUTPOST_SOCKET", socket)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
}

/// A provider that fails on command and calls the tool that it is offered.
fn provider(seen: &Seen) -> script::Script {
    let body = seen.json();
    let asked = body["messages"].as_array().unwrap().last().unwrap();
    if seen.provider == "together" {
        return script::status(500, r#"{"error":"out of order"}"#);
    }
    if body["tools"].is_null() || asked["role"] == "tool" {
        return script::echo(seen);
    }
    let call = |call: Value| script::event(&script::chunk(json!({"tool_calls": [call]}), None));
    let function = |arguments: &str| json!({"name": "level", "arguments": arguments});
    vec![
        script::stream_head(&seen.provider),
        call(json!({"index": 0, "id": "call_1", "type": "function", "function": function("{\"tank\"")})),
        call(json!({"index": 0, "function": {"arguments": ": 7}"}})),
        script::finish("tool_calls"),
        script::usage(7, 9),
        script::done(),
    ]
}

/// A device, a site and a cloud, each with a model.
fn everywhere() -> (Server, Plant) {
    let server = Server::start();
    let budget = "[[budget]]\nprovider = \"groq\"\nusd_per_request = 0.000001\n";
    let toml = format!("{}{budget}", server.entry(&format!("context = {}", site::CONTEXT)));
    let plant = Plant::with_model(&format!("{OPEN}{RECIPES}"), &toml);
    plant.router.play(None, usize::MAX, provider);
    (server, plant)
}

#[test]
fn the_official_openai_client_is_content() {
    // One slot, so that what the status says of cancelled work is unambiguous and answers of one
    // seed are computed alone.
    let daemon = Daemon::start(&["engine.slots=1"]);
    passes("test_openai", &daemon.socket(), &[("PYTHONWARNINGS", "error::DeprecationWarning")]);
}

#[test]
fn the_official_openai_client_is_content_wherever_it_is_answered() {
    let (_server, plant) = everywhere();
    let models = json!({"device": "auto", "site": site::NAME, "cloud": "org/small"}).to_string();
    let refused = json!({
        "policy_denied": "RECIPE_ID 7",
        "budget_exhausted": "org/small:groq",
        "provider_error": "org/small:together",
        "model_not_found": "org/none",
    });
    let refused = refused.to_string();
    let environment = [
        ("PYTHONWARNINGS", "error::DeprecationWarning"),
        ("OUTPOST_MODELS", &models),
        ("OUTPOST_REFUSED", &refused),
    ];
    passes("test_openai_zones", &plant.daemon.socket(), &environment);
}

#[test]
fn litellm_is_content_over_the_socket_and_over_tcp() {
    let daemon = TcpDaemon::start(&["engine.slots=1"]);
    let environment = [("OUTPOST_URL", daemon.url()), ("OUTPOST_TOKEN", TOKEN.into())];
    let environment = environment.each_ref().map(|(name, value): &(_, String)| (*name, value.as_str()));
    passes("test_litellm", &daemon.daemon.socket(), &environment);
}

#[test]
fn litellm_is_content_wherever_it_is_answered() {
    let (_server, plant) = everywhere();
    let models = json!({"site": site::NAME, "cloud": "org/small:scaleway"}).to_string();
    passes("test_litellm.Zones", &plant.daemon.socket(), &[("OUTPOST_MODELS", &models)]);
}
