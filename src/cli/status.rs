//! `outpost status`

use serde_json::Value;

use super::{
    Failure, Global,
    client::{self, Daemon},
    out,
};

pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let daemon = Daemon::of(global)?;
    let status = client::block_on(daemon.get("/v1/status"))?;
    if global.json {
        out::json(&status)?;
    } else {
        out::line(text(&status))?;
    }
    Ok(())
}

/// A dozen lines for a person; what is absent is left out.
fn text(status: &Value) -> String {
    let at = |pointer: &str| match status.pointer(pointer) {
        None | Some(Value::Null) => None,
        Some(Value::String(s)) => Some(s.clone()),
        Some(other) => Some(other.to_string()),
    };
    let mb = |pointer: &str| {
        status.pointer(pointer).and_then(Value::as_u64).map(|b| format!("{} MB", b / 1_000_000))
    };
    let join = |parts: [Option<String>; 3]| {
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    };
    let say = |pointer: &str, unit: &str| at(pointer).map(|v| format!("{v} {unit}"));
    let queued: u64 =
        status["queued"].as_object().map_or(0, |lanes| lanes.values().filter_map(Value::as_u64).sum());
    let rows = [
        ("state", at("/state")),
        ("reason", at("/reason")),
        ("node", at("/node")),
        ("model", at("/model/name")),
        (
            "",
            join([
                say("/model/weights", "weights"),
                say("/model/kv", "KV cache"),
                say("/model/context", "tokens of context"),
            ]),
        ),
        (
            "engine",
            join([
                say("/model/provider", "provider"),
                say("/model/threads", "threads"),
                at("/model/onnxruntime/version").map(|v| format!("ONNX Runtime {v}")),
            ]),
        ),
        (
            "speed",
            join([
                speed(status, "/engine/prefill_tokens_per_s", "prefill"),
                speed(status, "/engine/decode_tokens_per_s", "decode"),
                None,
            ]),
        ),
        (
            "requests",
            join([
                say("/engine/running", "running"),
                Some(format!("{queued} queued")),
                say("/finished", "finished"),
            ]),
        ),
        ("board", board(status)),
        ("broker", broker(status)),
        ("zones", zones(status)),
        ("spent", spent(status)),
        ("egress", at("/egress")),
        ("audit", audit(status)),
        ("store", store(status)),
        (
            "memory",
            join([
                mb("/memory/resident_bytes").map(|m| format!("{m} resident")),
                mb("/memory/anonymous_bytes").map(|m| format!("{m} anonymous")),
                None,
            ]),
        ),
        ("uptime", say("/uptime_s", "s")),
        ("version", at("/version")),
    ];
    let lines = rows.into_iter().filter_map(|(name, value)| Some(format!("{name:<9} {}", value?)));
    lines.collect::<Vec<_>>().join("\n")
}

/// How the board stands and which reading is to blame; while nothing is wrong, its warmest zone.
fn board(status: &Value) -> Option<String> {
    let pressure = &status["pressure"];
    let level = pressure["level"].as_str()?;
    if let Some(why) = pressure["reason"].as_str() {
        return Some(format!("{level} for {} s: {why}", pressure["since_s"].as_u64().unwrap_or_default()));
    }
    let zones = status["board"]["zones"].as_array().into_iter().flatten();
    let warmest = zones
        .filter_map(|zone| Some((zone["name"].as_str()?, zone["celsius"].as_f64()?)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    let warmest = warmest.map(|(name, celsius)| format!(", {name} {celsius:.1} °C")).unwrap_or_default();
    let power = status["board"]["power"].as_str().map(|feed| format!(", on {feed}")).unwrap_or_default();
    Some(format!("{level}{warmest}{power}"))
}

/// Where requests can be answered beside the device, and why not; nothing where nobody is configured.
fn zones(status: &Value) -> Option<String> {
    let told = ["site", "cloud"].into_iter().filter_map(|zone| {
        let state = status["zones"][zone].as_str().filter(|state| *state != "off")?;
        let why = status["zone_reasons"][zone].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
        Some(format!("{zone} {state}{why}"))
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// What the cloud has cost and may cost; nothing without a cloud.
fn spent(status: &Value) -> Option<String> {
    status["zones"]["cloud"].as_str().filter(|state| *state != "off")?;
    let of = |span: &str, word: &str| {
        let sums = &status["spent_usd"][span];
        let cap = sums["cap"].as_f64().map(|cap| format!(" of ${cap}")).unwrap_or_default();
        Some(format!("${:.6}{cap} {word}", sums["spent"].as_f64()?))
    };
    Some(format!("{}, {}", of("day", "today")?, of("month", "this month")?))
}

/// The place of the last row of the audit, as `outpost audit verify --head` takes it.
fn audit(status: &Value) -> Option<String> {
    let rows = status["audit"]["rows"].as_u64().filter(|rows| *rows > 0)?;
    Some(format!("{rows}:{}", status["audit"]["head"].as_str()?))
}

/// Where the MQTT broker is, or why there is no connection to it; nothing without MQTT.
fn broker(status: &Value) -> Option<String> {
    let mqtt = &status["mqtt"];
    let state = mqtt["state"].as_str().filter(|state| *state != "off")?;
    let url = mqtt["broker"].as_str().unwrap_or("?");
    let since = mqtt["since_s"].as_u64().map(|s| format!(" for {s} s")).unwrap_or_default();
    let why = mqtt["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("{state}{since}, {url}{why}"))
}

/// What is kept, what still waits for the broker, and what is wrong with the disk.
fn store(status: &Value) -> Option<String> {
    let store = &status["store"];
    let state = store["state"].as_str()?;
    let count = |key: &str| store[key].as_u64().unwrap_or_default();
    let why = store["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!(
        "{state}{why}, {} requests ({} unfinished), {} for the broker, {} MB",
        count("requests"),
        count("unfinished"),
        count("outbox"),
        count("bytes").div_ceil(1_000_000)
    ))
}

/// Nothing before the first request.
fn speed(status: &Value, pointer: &str, of: &str) -> Option<String> {
    let rate = status.pointer(pointer).and_then(Value::as_f64).filter(|r| *r > 0.0)?;
    Some(format!("{rate} tokens/s {of}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_absent_is_left_out() {
        let shown =
            text(&json!({"state": "absent", "reason": "no model", "model": null, "queued": {"batch": 2}}));
        assert_eq!(shown, "state     absent\nreason    no model\nrequests  2 queued");
        assert!(!text(&json!({"state": "ready", "mqtt": {"state": "off"}})).contains("broker"));
    }

    #[test]
    fn the_board_says_how_warm_it_is_and_who_is_to_blame() {
        let zones = json!([{"name": "gpu", "celsius": 40.2}, {"name": "cpu", "celsius": 51.0}]);
        let mut status =
            json!({"pressure": {"level": "nominal"}, "board": {"zones": zones, "power": "battery"}});
        assert!(text(&status).contains("board     nominal, cpu 51.0 °C, on battery"), "{}", text(&status));
        status["pressure"] = json!({"level": "hot", "reason": "it burns", "since_s": 3});
        assert!(text(&status).contains("board     hot for 3 s: it burns"), "{}", text(&status));
    }

    #[test]
    fn a_broker_that_is_away_and_a_full_disk_say_why() {
        let shown = text(&json!({
            "state": "ready",
            "mqtt": {"state": "disconnected", "reason": "nobody listens", "broker": "mqtt://b:1", "since_s": 7},
            "store": {"state": "full", "reason": "1 MB is free", "requests": 5, "unfinished": 1, "outbox": 2,
                      "bytes": 1_500_000},
        }));
        assert!(shown.contains("\nbroker    disconnected for 7 s, mqtt://b:1: nobody listens\n"), "{shown}");
        let store = "\nstore     full: 1 MB is free, 5 requests (1 unfinished), 2 for the broker, 2 MB";
        assert!(shown.contains(store), "{shown}");
    }
}
