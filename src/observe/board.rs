//! The board's readings as gauges. What a board does not tell has no line.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::domain::Pressure;

type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ZoneLabel {
    zone: String,
}

/// The board at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoardGauges {
    /// How much it can take.
    pub pressure: Pressure,
    /// Name and temperature of each thermal zone, °C; at most `limits::BOARD_ZONES_MAX`.
    pub zones: Vec<(String, f64)>,
    /// Somebody slows it down.
    pub slowed: Option<bool>,
    /// Its supply is too weak.
    pub under_voltage: Option<bool>,
    /// Share of the last 10 s in which some task waited for memory, %.
    pub memory_wait: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadingLabel {
    reading: &'static str,
}

/// One family for each kind, empty where nothing is known.
#[derive(Default)]
pub(super) struct Shown {
    pressure: Gauge,
    zones: Family<ZoneLabel, FloatGauge>,
    others: Family<ReadingLabel, FloatGauge>,
}

impl Shown {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let s = Self::default();
        registry.register(
            "pressure",
            "The board's state: 0 nominal, 1 warm, 2 hot, 3 critical",
            s.pressure.clone(),
        );
        registry.register_with_unit("temperature", "Of each thermal zone", Unit::Celsius, s.zones.clone());
        registry.register(
            "board",
            "1 while the board is slowed down, or its supply is too weak; % of the last 10 s in which \
             some task waited for memory",
            s.others.clone(),
        );
        s
    }

    pub(super) fn set(&self, now: &BoardGauges) {
        self.pressure.set(now.pressure as i64);
        // A zone that is gone is not to be shown with its last temperature for ever.
        self.zones.clear();
        for (zone, celsius) in &now.zones {
            self.zones.get_or_create(&ZoneLabel { zone: zone.clone() }).set(*celsius);
        }
        self.others.clear();
        let flag = |flag: Option<bool>| flag.map(|flag| f64::from(u8::from(flag)));
        for (reading, value) in [
            ("slowed", flag(now.slowed)),
            ("under_voltage", flag(now.under_voltage)),
            ("memory_wait_percent", now.memory_wait),
        ] {
            if let Some(value) = value {
                self.others.get_or_create(&ReadingLabel { reading }).set(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_board_is_shown_as_far_as_it_tells_and_no_further() {
        let mut registry = Registry::with_prefix("outpost");
        let shown = Shown::new(&mut registry);
        let show = |board: &BoardGauges| {
            shown.set(board);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let zones = vec![("cpu-thermal".into(), 83.1), ("odd \"name\"".into(), -5.0)];
        let pressure = Pressure::Hot;
        let text = show(&BoardGauges { pressure, zones, slowed: Some(true), ..BoardGauges::default() });
        for line in [
            "outpost_pressure 2",
            "outpost_temperature_celsius{zone=\"cpu-thermal\"} 83.1",
            "outpost_temperature_celsius{zone=\"odd \\\"name\\\"\"} -5.0",
            "outpost_board{reading=\"slowed\"} 1.0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("under_voltage\"") && !text.contains("percent\""), "{text}");
        let text = show(&BoardGauges::default());
        assert!(!text.contains("83.1") && !text.contains("slowed\""), "{text}");
    }
}
