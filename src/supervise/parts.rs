//! From the configuration to the parts of the daemon.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    config::{self, Config, PackedWeights},
    domain::{ClientId, Clock, TopicFilter, limits},
    engine::Prepared,
    host,
    scheduler::Bounds,
    service::{ClientRule, Clients, Defaults},
    store::{OnCorruption, Opened, Quotas, Store, StoreOptions},
    transport::mqtt::{LinkOptions, TlsFiles, Topics},
};

use super::StartError;

/// What holds when a request does not say.
pub(super) fn defaults(config: &Config) -> Defaults {
    Defaults {
        answer_tokens: config.service.answer_tokens,
        temperature: config.service.temperature,
        deadline: Duration::from_secs(config.service.deadline_s as u64),
    }
}

/// How much may wait.
pub(super) fn bounds(config: &Config) -> Bounds {
    Bounds {
        entries: config.service.queued_max,
        per_client: config.service.queued_per_client_max,
        bytes: limits::QUEUED_BYTES_MAX,
    }
}

/// Who may ask how much.
pub(super) fn clients(config: &Config) -> Clients {
    let rule = |client: &config::Client| ClientRule {
        uid: client.uid,
        lane_max: Some(client.lane_max),
        queued_max: client.queued_max,
        per_minute: client.requests_per_minute.map(|n| n as u32),
        data_class: client.data_class.clone(),
    };
    let rules: HashMap<ClientId, ClientRule> =
        config.client.iter().filter_map(|client| Some((client.id()?, rule(client)))).collect();
    Clients::new(rules)
}

/// Opens the store, and says how it was found.
pub(super) fn open_store(config: &Config, clock: &Arc<dyn Clock>) -> Result<Store, StartError> {
    let s = &config.store;
    let mb = |n: usize| n as u64 * 1_000_000;
    let hours = |n: usize| Duration::from_hours(n as u64);
    let options = StoreOptions {
        dir: s.path.clone(),
        on_corruption: match s.on_corruption {
            config::OnCorruption::StartEmpty => OnCorruption::StartEmpty,
            config::OnCorruption::Stop => OnCorruption::Stop,
        },
        quotas: Quotas {
            requests_rows: s.requests_max,
            requests_bytes: mb(s.bytes_max_mb),
            keep_finished: hours(s.keep_hours),
            outbox_rows: s.outbox_max,
            outbox_bytes: mb(s.bytes_max_mb),
            outbox_age: hours(s.outbox_keep_hours),
            ..Quotas::default()
        },
        free_bytes_min: mb(s.free_min_mb),
    };
    let (store, opened) = Store::open(options, Arc::clone(clock)).map_err(|e| {
        let kind = if e.needs_a_decision() { StartError::Configuration } else { StartError::Unavailable };
        kind(e.to_string())
    })?;
    match opened {
        Opened::Sound => {}
        Opened::Created => tracing::info!(dir = %s.path.display(), "a new database was made"),
        Opened::StartedEmpty { moved_to, reason } => tracing::error!(
            kept = %moved_to.display(),
            reason,
            "the database was corrupt; it is kept and an empty one was made: what was accepted and not answered is lost"
        ),
    }
    Ok(store)
}

/// The names of our MQTT topics.
pub(super) fn topics(config: &Config, node: &str) -> Topics {
    let m = &config.mqtt;
    let allow = m.response_topic_allow.iter().filter_map(|filter| TopicFilter::parse(filter).ok()).collect();
    Topics::new(&m.root, node, &m.pools, allow)
}

/// How to reach the broker.
pub(super) fn link_options(config: &Config, url: &str, node: &str) -> Result<LinkOptions, StartError> {
    let m = &config.mqtt;
    let wrong = |why: String| StartError::Configuration(format!("`mqtt.url` {why}"));
    let id = m.client_id.clone().unwrap_or_else(|| format!("outpost-{node}"));
    Ok(LinkOptions {
        username: m.username.clone(),
        password_file: m.password_file.clone(),
        tls: TlsFiles { ca: m.ca.clone(), cert: m.cert.clone(), key: m.key.clone() },
        keep_alive: Duration::from_secs(m.keep_alive_s as u64),
        session_expiry_s: u32::try_from(m.session_expiry_s).unwrap_or(u32::MAX),
        ..LinkOptions::new(url.parse().map_err(wrong)?, id)
    })
}

/// What is made of a model once for this board, and where it is kept.
pub(super) fn prepared(config: &Config) -> Prepared {
    Prepared {
        dir: config.store.path.join("prepared"),
        keep_free: (config.store.free_min_mb as u64).saturating_mul(1_000_000),
        processors: host::processors(),
        kernel: host::kernel(),
        pack_from: match config.engine.packed_weights {
            PackedWeights::Never => None,
            PackedWeights::Auto => Some(limits::PACKED_WEIGHTS_BYTES_MIN),
            PackedWeights::Always => Some(0),
        },
        compiled: config.engine.keep_compiled,
    }
}
