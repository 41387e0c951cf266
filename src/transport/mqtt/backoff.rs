//! How long to wait before the next try to connect. Pure.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::domain::limits;

/// The wait before try number `tries` (from 0). Doubles up to its cap; what a retry cannot mend
/// waits longest at once. The jitter, down to a half, differs between nodes, so that a fleet
/// does not come back to its broker in one moment, and is the same for the same node and try.
pub(super) fn wait(node: &str, tries: u32, permanent: bool) -> Duration {
    let cap = if permanent { limits::MQTT_RETRY_PERMANENT } else { limits::MQTT_RETRY_MAX };
    let doubled = limits::MQTT_RETRY_FIRST.saturating_mul(1 << tries.min(16));
    let longest = if permanent { cap } else { doubled.min(cap) };
    let mut hasher = DefaultHasher::new();
    (node, tries).hash(&mut hasher);
    let fraction = 0.5 + (hasher.finish() % 1_000) as f64 / 2_000.0;
    longest.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_cap_and_differ_between_nodes() {
        let mut last = Duration::ZERO;
        for tries in 0..4 {
            let now = wait("a", tries, false);
            let whole = limits::MQTT_RETRY_FIRST * (1 << tries);
            assert!(now >= whole / 2 && now <= whole, "{now:?} for try {tries}");
            last = last.max(now);
        }
        for tries in [10, 100, u32::MAX] {
            let now = wait("a", tries, false);
            assert!(now >= limits::MQTT_RETRY_MAX / 2 && now <= limits::MQTT_RETRY_MAX, "{now:?}");
        }
        assert!((0..20).any(|tries| wait("a", tries, false) != wait("b", tries, false)));
        assert!(wait("a", 0, true) >= limits::MQTT_RETRY_PERMANENT / 2);
    }
}
