//! What the daemon says when it is asked how it is: the same document on every transport.

use serde_json::{Value, json};

use super::{Service, board};
use crate::{
    domain::{BootTime, Clock, MicroUsd, Zone, hex},
    engine::{EngineState, EngineStats, Model},
    host,
    observe::{Readings, Snapshot},
    store::{Health, Opened, UsageRow},
};
use std::sync::{Arc, atomic::Ordering};

use tokio::sync::watch;

/// Who this daemon is; fixed at start.
#[derive(Clone)]
pub struct Identity {
    /// `node.id`, or the host name.
    pub node: String,
    /// The kernel's id of this boot: tells a restart of the daemon from one of the board.
    pub boot_id: String,
    /// When the daemon started.
    pub started: BootTime,
    /// Counters of the engine.
    pub stats: Arc<EngineStats>,
    /// For the time since start.
    pub clock: Arc<dyn Clock>,
    /// How the MQTT client stands; `None` without one.
    pub broker: Option<watch::Receiver<BrokerState>>,
}

/// How the connection to the broker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerState {
    /// Which broker.
    pub url: String,
    /// Why nothing is heard from there; `None` while it is.
    pub lost: Option<String>,
    /// Since when it is as it is.
    pub since: BootTime,
    /// Connections made so far.
    pub connections: u64,
}

impl BrokerState {
    /// Before the first try.
    pub fn new(url: impl Into<String>, now: BootTime) -> Self {
        Self { url: url.into(), lost: Some("connecting".into()), since: now, connections: 0 }
    }

    /// There is a connection, and the broker has answered the subscriptions: who asks is heard.
    pub fn connected(&mut self, now: BootTime) {
        (self.lost, self.since) = (None, now);
        self.connections += 1;
    }

    /// There is none, or none any more.
    pub fn lost(&mut self, reason: &str, now: BootTime) {
        if self.lost.is_none() {
            self.since = now;
        }
        self.lost = Some(reason.to_owned());
    }
}

/// The status document.
pub fn status(service: &Service, identity: &Identity) -> Value {
    let engine = service.engine_state();
    let clock_synced = identity.clock.stamp().synced;
    let memory = host::resident();
    let queued: serde_json::Map<_, _> =
        service.depths().into_iter().map(|(lane, n)| (lane.name().into(), json!(n))).collect();
    let state = if service.is_draining() { "draining" } else { engine.name() };
    let reason = match &engine {
        EngineState::Loading(stage) => Some(stage.to_string()),
        EngineState::Failed(reason) => Some(reason.clone()),
        EngineState::Absent => {
            Some("no model is configured; `outpost models activate` one, or set `model.package`".into())
        }
        EngineState::Ready(model) => trouble(model),
    };
    json!({
        "state": state,
        "reason": reason,
        "version": env!("CARGO_PKG_VERSION"),
        "node": identity.node,
        "boot_id": identity.boot_id,
        "uptime_s": identity.clock.boot().since(identity.started).as_secs(),
        "clock_synced": clock_synced,
        "pressure": board::pressure(&service.board(), identity.clock.boot()),
        "model": engine.model().map(|m| model(m)),
        "queued": queued,
        "in_flight": service.in_flight(),
        "engine": {
            "running": identity.stats.running.load(Ordering::Relaxed),
            "steps": identity.stats.steps.load(Ordering::Relaxed),
            "restarts": identity.stats.restarts.load(Ordering::Relaxed),
            "prefill_tokens_per_s": rounded(identity.stats.prefill_rate()),
            "decode_tokens_per_s": rounded(identity.stats.decode_rate()),
        },
        "zones": zones(service, |_, state, _| json!(state)),
        "zone_reasons": zones(service, |_, _, why| json!(why)),
        "spent_usd": spent(service),
        "egress": service.egress_alert(),
        "mqtt": broker(identity),
        "store": store(service),
        "audit": audit(service),
        "board": board::readings(&service.board().reading, clock_synced),
        "memory": {"resident_bytes": memory.total, "anonymous_bytes": memory.anonymous},
        "finished": service.metrics().finished(),
    })
}

/// What of the status is worth a message of its own when it changes: not what always changes.
pub fn stable(status: &Value) -> Value {
    let mut stable = status.clone();
    let keep = ["state", "reason", "clock_synced", "model", "queued", "zones", "audit", "egress"];
    if let Some(fields) = stable.as_object_mut() {
        fields.retain(|name, _| keep.contains(&name.as_str()));
        fields.insert("store".into(), status["store"]["state"].clone());
        fields.insert("pressure".into(), json!([status["pressure"]["level"], status["pressure"]["reason"]]));
    }
    stable
}

/// Money of the cloud, today and this month, reserved included.
fn spent(service: &Service) -> Value {
    let shown = |(spent, cap): (MicroUsd, Option<MicroUsd>)| json!({"spent": spent.usd(), "cap": cap.map(MicroUsd::usd)});
    let [day, month] = service.spending().map(shown);
    json!({"day": day, "month": month})
}

fn zones(service: &Service, shown: impl Fn(Zone, &str, Option<String>) -> Value) -> Value {
    let zones = service.zones().into_iter();
    zones
        .map(|(zone, state, why)| (zone.name().to_owned(), shown(zone, state, why)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn broker(identity: &Identity) -> Value {
    let Some(state) = &identity.broker else { return json!({"state": "off"}) };
    let state = state.borrow();
    json!({
        "state": if state.lost.is_none() { "connected" } else { "disconnected" },
        "reason": state.lost,
        "broker": state.url,
        "since_s": identity.clock.boot().since(state.since).as_secs(),
        "connections": state.connections,
    })
}

/// The place of the last row of the audit: whoever keeps it elsewhere can tell later whether the
/// rows up to it are the ones that were written.
fn audit(service: &Service) -> Value {
    let head = service.store().audit_head();
    json!({"rows": head.seq, "head": hex(&head.hash)})
}

fn store(service: &Service) -> Value {
    let stats = service.store().stats();
    let (state, reason) = match &stats.health {
        Health::Sound => ("ok", None),
        Health::Full(reason) => ("full", Some(reason)),
        Health::Broken(reason) => ("broken", Some(reason)),
    };
    let set_aside = match service.store().opened() {
        Opened::StartedEmpty { moved_to, reason } => Some(format!(
            "the database was corrupt ({reason}) and is kept as {}; what was accepted and not answered is lost",
            moved_to.display()
        )),
        Opened::Sound | Opened::Created => None,
    };
    json!({
        "state": state,
        "reason": reason,
        "set_aside": set_aside,
        "requests": stats.requests_rows,
        "unfinished": stats.requests_unfinished,
        "outbox": stats.outbox_rows,
        "bytes": stats.file_bytes + stats.wal_bytes,
        "written_bytes_per_day": stats.bytes_per_day as u64,
        "fsyncs_per_day": stats.fsyncs_per_day as u64,
    })
}

/// The ledger as a document.
pub fn usage(rows: &[UsageRow]) -> Value {
    let row = |row: &UsageRow| {
        json!({
            "day": day(row.day.0),
            "client": row.client.as_str(),
            "zone": row.sums.zone,
            "provider": row.sums.provider,
            "model": row.sums.model,
            "requests": row.requests,
            "prompt_tokens": row.sums.prompt_tokens,
            "completion_tokens": row.sums.completion_tokens,
            "bytes_out": row.sums.bytes_out,
            "cost_micro_usd": row.sums.cost_micro_usd,
        })
    };
    json!({"object": "list", "data": rows.iter().map(row).collect::<Vec<_>>()})
}

/// A day as people write it; `null` while the clock was not set.
fn day(days: i64) -> Option<String> {
    let day =
        jiff::civil::Date::constant(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    (days != 0).then(|| day.to_string())
}

/// The counters as one flat object.
pub fn counters(service: &Service, identity: &Identity) -> Value {
    let stats = service.store().stats();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut flat = json!({
        "uptime_s": identity.clock.boot().since(identity.started).as_secs(),
        "resident_bytes": host::resident().total,
        "running": load(&identity.stats.running),
        "prefill_tokens": load(&identity.stats.prefill_tokens),
        "decode_tokens": load(&identity.stats.decode_tokens),
        "engine_restarts": load(&identity.stats.restarts),
        "in_flight": service.in_flight(),
        "pressure": service.pressure() as u8,
        "outbox": stats.outbox_rows,
        "store_bytes_written": stats.bytes_written,
        "store_fsyncs": stats.fsyncs,
        "store_commits": stats.commits,
    });
    if let Some(fields) = flat.as_object_mut() {
        for (lane, depth) in service.depths() {
            fields.insert(format!("queued_{}", lane.name()), json!(depth));
        }
        for (how, n) in service.metrics().endings() {
            fields.insert(format!("ended_{how}"), json!(n));
        }
    }
    flat
}

fn rounded(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// What somebody should know of a model that answers.
fn trouble(model: &Model) -> Option<String> {
    let passed = model.passed_over.iter().map(|one| format!("execution provider {one}"));
    let all: Vec<String> = model.returned.iter().cloned().chain(passed).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn model(model: &Model) -> Value {
    json!({
        "name": model.manifest.name,
        "version": model.manifest.version,
        "fingerprint": model.fingerprint(),
        "package": model.dir.display().to_string(),
        "licence": model.manifest.licence,
        "weights": model.variant.weights,
        "kv": model.variant.kv.name(),
        "tools": model.calls.is_some(),
        "provider": model.provider,
        "nodes": model.placement,
        "passed_over": model.passed_over,
        "onnxruntime": {"version": model.runtime.version, "path": model.runtime.path.display().to_string()},
        "context": model.context,
        "slots": model.slots,
        "threads": model.threads,
        "kv_bytes": model.cache_bytes,
        "load_ms": model.load_time.as_millis() as u64,
    })
}

/// What a metrics scrape needs beyond the counters.
pub fn snapshot(service: &Service, identity: &Identity) -> Snapshot {
    Snapshot {
        queued: service.depths().to_vec(),
        running: identity.stats.running.load(Ordering::Relaxed),
        ready: service.engine_state().model().is_some(),
        resident_bytes: host::resident().total,
        prefill_rate: identity.stats.prefill_rate(),
        decode_rate: identity.stats.decode_rate(),
        engine_restarts: identity.stats.restarts.load(Ordering::Relaxed),
        readings: readings(service, identity),
        board: board::gauges(&service.board()),
    }
}

fn readings(service: &Service, identity: &Identity) -> Readings {
    let stats = service.store().stats();
    Readings {
        requests: stats.requests_rows,
        outbox: stats.outbox_rows,
        bytes: stats.file_bytes + stats.wal_bytes,
        free_bytes: stats.free_bytes,
        written_bytes: stats.bytes_written,
        fsyncs: stats.fsyncs,
        written_bytes_per_day: stats.bytes_per_day,
        fsyncs_per_day: stats.fsyncs_per_day,
        store_sound: stats.health == Health::Sound,
        broker_connected: identity.broker.as_ref().is_some_and(|state| state.borrow().lost.is_none()),
    }
}
