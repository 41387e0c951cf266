//! Prometheus metrics: a typed registry that is handed in, never a global.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{
    board::{self, BoardGauges},
    readings::{Readings, Shown},
};
use crate::domain::{ErrorKind, Lane, MicroUsd, Outcome, Result, Zone};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    zone: &'static str,
    result: &'static str,
}

/// The daemon's counters.
pub struct Metrics {
    registry: Registry,
    requests: Family<OutcomeLabel, Counter>,
    prompt_tokens: Counter,
    completion_tokens: Counter,
    first_token: Histogram,
    duplicates: Counter,
    notices_dropped: Counter,
    no_subscribers: Counter,
    readings_skipped: Family<WhyLabel, Counter>,
    calls: Family<CallLabel, Counter>,
    spent: Counter<f64, std::sync::atomic::AtomicU64>,
    gauges: Gauges,
    shown: Shown,
    board: board::Shown,
}

/// Read at the moment of a scrape.
#[derive(Default)]
struct Gauges {
    queued: Family<LaneLabel, Gauge>,
    running: Gauge,
    ready: Gauge,
    resident: Gauge,
    prefill_rate: Gauge<f64, std::sync::atomic::AtomicU64>,
    decode_rate: Gauge<f64, std::sync::atomic::AtomicU64>,
    restarts: Gauge,
}

/// What only the rest of the daemon knows at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Waiting requests by lane.
    pub queued: Vec<(Lane, usize)>,
    /// Answers being written.
    pub running: u64,
    /// Whether the model answers.
    pub ready: bool,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Tokens of prompts per second.
    pub prefill_rate: f64,
    /// Tokens of answers per second.
    pub decode_rate: f64,
    /// Times the engine was built anew.
    pub engine_restarts: u64,
    /// Store and broker.
    pub readings: Readings,
    /// The board.
    pub board: BoardGauges,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("outpost");
        let requests = Family::default();
        registry.register(
            "requests",
            "Requests by how they ended: ok or the kind of error",
            requests.clone(),
        );
        let prompt_tokens = Counter::default();
        registry.register("prompt_tokens", "Tokens of prompts of finished requests", prompt_tokens.clone());
        let completion_tokens = Counter::default();
        registry.register("completion_tokens", "Tokens of finished answers", completion_tokens.clone());
        // 5 ms to about 80 s: from a warm laptop to a long prompt on a small board.
        let first_token = Histogram::new(exponential_buckets(0.005, 2.0, 15));
        registry.register_with_unit(
            "time_to_first_token",
            "From the engine's taking a request to its first token",
            Unit::Seconds,
            first_token.clone(),
        );
        let calls = Family::default();
        registry.register("calls", "Calls to sites and cloud by what came of them", calls.clone());
        let spent = Counter::default();
        registry.register("spent_usd", "Money that calls to the cloud cost, US dollars", spent.clone());
        let duplicates = Counter::default();
        registry.register(
            "duplicate_requests",
            "Requests that were asked before and got the same final",
            duplicates.clone(),
        );
        let notices_dropped = Counter::default();
        registry.register(
            "dropped_events",
            "Events and deltas for which there was no room",
            notices_dropped.clone(),
        );
        let no_subscribers = Counter::default();
        registry.register(
            "finals_without_subscriber",
            "Finals that the broker took and nobody wanted",
            no_subscribers.clone(),
        );
        let readings_skipped = Family::default();
        registry.register(
            "skipped_readings",
            "Readings of which no request was made",
            readings_skipped.clone(),
        );
        let g = Gauges::default();
        registry.register("queued_requests", "Requests that wait for a slot", g.queued.clone());
        registry.register("running_requests", "Answers being written", g.running.clone());
        registry.register("model_ready", "1 when the model answers", g.ready.clone());
        registry.register_with_unit(
            "resident_memory",
            "Resident memory of the daemon",
            Unit::Bytes,
            g.resident.clone(),
        );
        registry.register("prefill_tokens_per_second", "Speed of reading prompts", g.prefill_rate.clone());
        registry.register("decode_tokens_per_second", "Speed of writing answers", g.decode_rate.clone());
        registry.register(
            "engine_restarts",
            "Times the engine was built anew after it had died",
            g.restarts.clone(),
        );
        let shown = Shown::new(&mut registry);
        let board = board::Shown::new(&mut registry);
        Self {
            registry,
            requests,
            prompt_tokens,
            completion_tokens,
            first_token,
            duplicates,
            notices_dropped,
            no_subscribers,
            readings_skipped,
            calls,
            spent,
            gauges: g,
            shown,
            board,
        }
    }
}

impl Metrics {
    /// A request was refused at the door.
    pub fn refused(&self, kind: ErrorKind) {
        self.requests.get_or_create(&OutcomeLabel { outcome: kind.name() }).inc();
    }

    /// A call to a site or to the cloud has ended.
    pub fn called(&self, zone: Zone, result: &'static str, cost: MicroUsd) {
        self.calls.get_or_create(&CallLabel { zone: zone.name(), result }).inc();
        self.spent.inc_by(cost.usd());
    }

    /// A request was asked before.
    pub fn duplicate(&self) {
        self.duplicates.inc();
    }

    /// An event or a delta found no room.
    pub fn notice_dropped(&self) {
        self.notices_dropped.inc();
    }

    /// The broker took a final that nobody wanted.
    pub fn no_subscribers(&self) {
        self.no_subscribers.inc();
    }

    /// No request was made of a reading.
    pub fn reading_skipped(&self, why: &'static str) {
        self.readings_skipped.get_or_create(&WhyLabel { why }).inc();
    }

    /// An admitted request has ended.
    pub fn ended(&self, outcome: &Result<Outcome>) {
        match outcome {
            Ok(outcome) => {
                self.requests.get_or_create(&OutcomeLabel { outcome: "ok" }).inc();
                self.prompt_tokens.inc_by(outcome.usage.prompt_tokens as u64);
                self.completion_tokens.inc_by(outcome.usage.completion_tokens as u64);
                self.first_token.observe(outcome.time_to_first_token.as_secs_f64());
            }
            Err(error) => self.refused(error.kind),
        }
    }

    /// Requests that ended well, since start.
    pub fn finished(&self) -> u64 {
        self.requests.get_or_create(&OutcomeLabel { outcome: "ok" }).get()
    }

    /// How often requests ended in each way, since start; ways that never were are left out.
    pub fn endings(&self) -> Vec<(&'static str, u64)> {
        let names = ErrorKind::ALL.iter().map(|kind| kind.name()).chain(["ok"]);
        let counted =
            names.map(|outcome| (outcome, self.requests.get_or_create(&OutcomeLabel { outcome }).get()));
        counted.filter(|(_, n)| *n > 0).collect()
    }

    /// The text of a scrape.
    pub fn encode(&self, now: &Snapshot) -> String {
        let g = &self.gauges;
        for (lane, depth) in &now.queued {
            g.queued.get_or_create(&LaneLabel { lane: lane.name() }).set(*depth as i64);
        }
        g.running.set(now.running as i64);
        g.ready.set(i64::from(now.ready));
        g.resident.set(now.resident_bytes as i64);
        g.prefill_rate.set(now.prefill_rate);
        g.decode_rate.set(now.decode_rate);
        g.restarts.set(now.engine_restarts as i64);
        self.shown.set(&now.readings);
        self.board.set(&now.board);
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Error;

    #[test]
    fn a_scrape_counts_every_way_a_request_can_end() {
        let metrics = Metrics::default();
        metrics.refused(ErrorKind::TooLarge);
        metrics.ended(&Err(Error::new(ErrorKind::Cancelled, "")));
        let text = metrics.encode(&Snapshot { queued: vec![(Lane::Batch, 3)], ..Snapshot::default() });
        for line in [
            "outpost_requests_total{outcome=\"too_large\"} 1",
            "outpost_requests_total{outcome=\"cancelled\"} 1",
            "outpost_queued_requests{lane=\"batch\"} 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
