//! What the node says of itself without being asked: availability, status, info, metrics, alerts.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Ack, Outgoing, Properties, Qos, topics::Topics};
use crate::{
    domain::{BootTime, Lane, limits},
    engine::EngineState,
    service::{
        Service, status,
        status::{BrokerState, Identity},
    },
    store::Health,
};

/// Kinds of alerts that there can be; each has its topic, retained until the matter is over.
const ALERTS: [&str; 6] = ["clock", "disk", "egress", "heat", "model", "mqtt"];

/// Reports, and what was reported last.
pub(super) struct Reports {
    service: Service,
    identity: Identity,
    topics: Topics,
    state: watch::Sender<BrokerState>,
    /// The last status without what changes all the time.
    reported: Option<Value>,
    status_due: Option<BootTime>,
    metrics_due: BootTime,
    alerts: BTreeMap<&'static str, String>,
    /// What the broker does not let us do; until the next connection.
    trouble: Option<String>,
    no_subscribers: u64,
}

impl Reports {
    pub(super) fn new(
        service: Service,
        identity: Identity,
        topics: Topics,
        state: watch::Sender<BrokerState>,
    ) -> Self {
        let metrics_due = identity.clock.boot();
        Self {
            service,
            identity,
            topics,
            state,
            reported: None,
            status_due: None,
            metrics_due,
            alerts: BTreeMap::new(),
            trouble: None,
            no_subscribers: 0,
        }
    }

    /// What the broker says of us when we are gone without a word.
    pub(super) fn offline(&self) -> Outgoing {
        self.availability("offline")
    }

    fn availability(&self, word: &'static str) -> Outgoing {
        let payload = bytes::Bytes::from_static(word.as_bytes());
        let topic = self.topics.report("availability");
        Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain: true, properties: Properties::default() }
    }

    /// There is no connection, or none any more.
    pub(super) fn lost(&self, reason: &str) {
        self.state.send_modify(|state| state.lost(reason, self.identity.clock.boot()));
    }

    /// A connection begins: what the last broker did not let us do may be over.
    pub(super) fn begin(&mut self) {
        self.trouble = None;
    }

    /// There is one, and we hear. Everything retained, anew: the broker may be another one, or
    /// may have forgotten.
    pub(super) fn on_connect(&mut self) -> Vec<Outgoing> {
        self.state.send_modify(|state| state.connected(self.identity.clock.boot()));
        self.reported = None;
        self.alerts.clear();
        let mut out = vec![self.availability("online"), self.retained("info", &self.info())];
        let now = self.current_alerts();
        for kind in ALERTS.into_iter().filter(|kind| !now.contains_key(kind)) {
            out.push(self.clear(kind));
        }
        out.extend(self.due());
        out
    }

    /// What is due now. To be asked every two seconds.
    pub(super) fn due(&mut self) -> Vec<Outgoing> {
        let now = self.identity.clock.boot();
        let mut out = Vec::new();
        let document = status::status(&self.service, &self.identity);
        let stable = status::stable(&document);
        let changed = self.reported.as_ref() != Some(&stable);
        let silent = self.status_due.is_none_or(|due| now >= due);
        if changed || silent {
            out.push(self.retained("status", &document));
            self.reported = Some(stable);
            self.status_due = Some(now.after(limits::STATUS_INTERVAL));
        }
        if now >= self.metrics_due {
            self.metrics_due = now.after(limits::STATUS_INTERVAL);
            let mut metrics = self.retained("metrics", &status::counters(&self.service, &self.identity));
            (metrics.qos, metrics.retain) = (Qos::AtMostOnce, false);
            out.push(metrics);
        }
        out.extend(self.changed_alerts());
        out
    }

    fn changed_alerts(&mut self) -> Vec<Outgoing> {
        let now = self.current_alerts();
        let mut out = Vec::new();
        for kind in ALERTS {
            match (self.alerts.get(kind), now.get(kind)) {
                (was, Some(is)) if was != Some(is) => {
                    tracing::warn!(kind, reason = is, "alert");
                    out.push(self.retained(&format!("alert/{kind}"), &json!({"kind": kind, "reason": is})));
                }
                (Some(_), None) => {
                    tracing::info!(kind, "alert is over");
                    out.push(self.clear(kind));
                }
                _ => {}
            }
        }
        self.alerts = now;
        out
    }

    fn current_alerts(&self) -> BTreeMap<&'static str, String> {
        let mut alerts = BTreeMap::new();
        if let Health::Full(reason) | Health::Broken(reason) = &*self.service.store().health().borrow() {
            alerts.insert("disk", reason.clone());
        }
        if let Some(reason) = &self.service.board().state.blame {
            alerts.insert("heat", reason.clone());
        }
        if let EngineState::Failed(reason) = self.service.engine_state() {
            alerts.insert("model", reason);
        }
        if !self.identity.clock.stamp().synced {
            alerts
                .insert("clock", "the wall clock is not synchronised; deadlines do not depend on it".into());
        }
        if let Some(reason) = self.service.egress_alert() {
            alerts.insert("egress", reason);
        }
        if let Some(reason) = &self.trouble {
            alerts.insert("mqtt", reason.clone());
        }
        alerts
    }

    /// An empty retained message takes the one before it away (MQTT 5, §3.3.1.3).
    fn clear(&self, kind: &str) -> Outgoing {
        Outgoing { payload: bytes::Bytes::new(), ..self.retained(&format!("alert/{kind}"), &Value::Null) }
    }

    fn retained(&self, name: &str, document: &Value) -> Outgoing {
        let properties = Properties {
            content_type: Some("application/json".into()),
            payload_is_utf8: true,
            ..Properties::default()
        };
        let payload = document.to_string().into_bytes().into();
        Outgoing { topic: self.topics.report(name), payload, qos: Qos::AtLeastOnce, retain: true, properties }
    }

    fn info(&self) -> Value {
        let tasks: Vec<Value> = self
            .service
            .tasks()
            .iter()
            .map(
                |task| json!({"name": task.name(), "topics": task.filters().collect::<Vec<_>>(), "result": task.options().result}),
            )
            .collect();
        json!({
            "contract": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.identity.node,
            "lanes": Lane::ALL.map(Lane::name),
            "limits": {
                "request_bytes": limits::REQUEST_BODY_BYTES_MAX,
                "response_bytes": limits::RESPONSE_BYTES_MAX,
                "user_properties": limits::USER_PROPERTIES_MAX,
                "user_properties_bytes": limits::USER_PROPERTIES_BYTES_MAX,
                "request_id_bytes": limits::REQUEST_ID_BYTES_MAX,
                "client_id_bytes": limits::CLIENT_ID_BYTES_MAX,
                "deadline_ms": limits::DEADLINE_MAX.as_millis() as u64,
            },
            "tasks": tasks,
            "pools": self.topics.pools(),
        })
    }

    /// The broker answered a final.
    pub(super) fn acknowledged(&mut self, outcome: &Ack) {
        if *outcome == Ack::NoSubscribers {
            self.no_subscribers += 1;
            self.service.metrics().no_subscribers();
        }
    }

    /// The broker does not take a final as it is.
    pub(super) fn outbox_alert(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    /// The broker does not let us hear something.
    pub(super) fn subscription_refused(&mut self, filter: &str, why: &str) {
        self.trouble = Some(format!("the broker refuses the subscription to `{filter}`: {why}"));
    }
}
