//! Figures of store and broker that somebody else counts and a scrape only shows.

use std::sync::atomic::AtomicU64;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// Store and broker at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    /// Requests kept, finished ones included.
    pub requests: u64,
    /// Finals that wait for the broker.
    pub outbox: u64,
    /// Database and log, bytes.
    pub bytes: u64,
    /// Free on its disk, bytes.
    pub free_bytes: u64,
    /// Written since start, bytes; an upper bound.
    pub written_bytes: u64,
    /// Times since start that the disk was told to make things durable.
    pub fsyncs: u64,
    /// Bytes written a day, at the pace since start.
    pub written_bytes_per_day: f64,
    /// Fsyncs a day, at the pace since start.
    pub fsyncs_per_day: f64,
    /// 1 when the store takes everything.
    pub store_sound: bool,
    /// 1 when there is a connection to the broker.
    pub broker_connected: bool,
}

type Read = fn(&Readings) -> f64;

const TABLE: [(&str, &str, Read); 10] = [
    ("store_requests", "Requests kept, finished ones included", |r| r.requests as f64),
    ("store_outbox", "Finals that wait for the broker", |r| r.outbox as f64),
    ("store_bytes", "Size of database and log", |r| r.bytes as f64),
    ("store_free_bytes", "Free on the store's disk", |r| r.free_bytes as f64),
    ("store_written_bytes", "Bytes written since start; an upper bound", |r| r.written_bytes as f64),
    ("store_fsyncs", "Fsyncs since start", |r| r.fsyncs as f64),
    ("store_written_bytes_per_day", "Flash wear at the pace since start", |r| r.written_bytes_per_day),
    ("store_fsyncs_per_day", "Fsyncs a day at the pace since start", |r| r.fsyncs_per_day),
    ("store_sound", "1 when the store takes everything", |r| f64::from(u8::from(r.store_sound))),
    ("mqtt_connected", "1 when there is a connection to the broker", |r| {
        f64::from(u8::from(r.broker_connected))
    }),
];

/// One gauge for each of them.
pub(super) struct Shown(Vec<Gauge<f64, AtomicU64>>);

impl Shown {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let register = |(name, help, _): &(&str, &str, Read)| {
            let gauge = Gauge::default();
            registry.register(*name, *help, gauge.clone());
            gauge
        };
        Self(TABLE.iter().map(register).collect())
    }

    pub(super) fn set(&self, readings: &Readings) {
        for (gauge, (_, _, read)) in self.0.iter().zip(&TABLE) {
            gauge.set(read(readings));
        }
    }
}
