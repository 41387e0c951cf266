//! Temperatures, each with the levels that its own trip points give it.
//!
//! `/sys/class/thermal/thermal_zone*/{type,temp,trip_point_*_type,trip_point_*_temp}`, in
//! millidegrees (Documentation/ABI/testing/sysfs-class-thermal).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::files;
use crate::domain::limits;

/// From which temperatures on a zone is warm, hot and critical, °C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeatLevels {
    /// Warm from here.
    pub warm: f64,
    /// Hot from here.
    pub hot: f64,
    /// Critical from here.
    pub critical: f64,
}

/// Temperatures that the operator has set; they hold for every zone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeatOverrides {
    /// Warm from here, °C.
    pub warm: Option<f64>,
    /// Hot from here, °C.
    pub hot: Option<f64>,
    /// Critical from here, °C.
    pub critical: Option<f64>,
}

impl HeatOverrides {
    /// What was set wins; what was not gives way, so that the order stays.
    fn over(&self, own: HeatLevels) -> HeatLevels {
        let least = self.warm.unwrap_or(own.hot);
        let most = self.critical.unwrap_or(f64::INFINITY);
        let hot = self.hot.unwrap_or_else(|| own.hot.max(least).min(most));
        HeatLevels {
            warm: self.warm.unwrap_or_else(|| own.warm.min(hot)),
            hot,
            critical: self.critical.unwrap_or_else(|| own.critical.max(hot)),
        }
    }
}

/// One thermal zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// The kernel's name for it, such as `cpu-thermal`.
    pub name: String,
    /// Its temperature, °C.
    pub celsius: f64,
    /// What the operator has set, else what its trip points say, else the defaults.
    pub levels: HeatLevels,
}

/// Where a zone's temperature is.
#[derive(Debug)]
pub(super) struct Source {
    temp: PathBuf,
    name: String,
    levels: HeatLevels,
}

/// For boards: a Raspberry Pi slows itself down at 80 °C and names only the 110 °C at which it stops.
const BOARD: HeatLevels = HeatLevels { warm: 70.0, hot: 80.0, critical: 90.0 };
/// A PC's processor is made to work at 95 °C and slows itself down at 100 °C.
const PC: HeatLevels = HeatLevels { warm: 92.0, hot: 98.0, critical: 104.0 };
const PC_ZONES: [&str; 3] = ["x86_pkg_temp", "acpitz", "TCPU"];
/// Jetson's zone of the power chip says 100 °C whatever it has; NVIDIA says so too.
const NOT_WIRED: [&str; 1] = ["PMIC-Die"];

/// Every zone there is.
pub(super) fn find(sys: &Path, overrides: &HeatOverrides) -> Vec<Source> {
    let mut names = BTreeSet::new();
    let zones = files::entries(&sys.join("class/thermal"), "thermal_zone");
    let sources = zones.into_iter().take(limits::BOARD_ZONES_MAX).filter_map(|dir| {
        let kind = files::name(&dir.join("type"))?;
        if NOT_WIRED.contains(&kind.as_str()) {
            return None;
        }
        let default = if PC_ZONES.contains(&kind.as_str()) { PC } else { BOARD };
        let levels = overrides.over(levels(&trips(&dir), default));
        // Several zones may be of one type; their names are to be told apart in metrics.
        let number = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let name = if names.insert(kind.clone()) { kind } else { format!("{kind} {number}") };
        Some(Source { temp: dir.join("temp"), name, levels })
    });
    sources.collect()
}

/// The zones that have a temperature now.
pub(super) fn read(sources: &[Source]) -> Vec<Zone> {
    let zone = |source: &Source| {
        let celsius = celsius(&source.temp)?;
        Some(Zone { name: source.name.clone(), celsius, levels: source.levels })
    };
    sources.iter().filter_map(zone).collect()
}

fn celsius(path: &Path) -> Option<f64> {
    let celsius = files::number::<i64>(path)? as f64 / 1000.0;
    limits::BOARD_CELSIUS.contains(&celsius).then_some(celsius)
}

/// What the kernel does at a temperature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trip {
    /// It slows something down.
    Passive,
    /// It tells somebody.
    Hot,
    /// It switches the board off.
    Critical,
}

fn trips(zone: &Path) -> Vec<(Trip, f64)> {
    let trip = |n: usize| {
        let kind = match files::text(&zone.join(format!("trip_point_{n}_type")))?.as_str() {
            "passive" => Trip::Passive,
            "hot" => Trip::Hot,
            "critical" => Trip::Critical,
            // A fan that starts is a board that helps itself.
            _ => return None,
        };
        let celsius = celsius(&zone.join(format!("trip_point_{n}_temp")))?;
        (celsius >= limits::BOARD_TRIP_CELSIUS_MIN).then_some((kind, celsius))
    };
    (0..limits::BOARD_TRIPS_MAX).filter_map(trip).collect()
}

/// Hot is where the kernel slows down for good: the last passive trip point, else the one of type
/// hot. Warm is a first passive one before it, else 10 °C less. Critical is 5 °C before the board
/// is switched off, or half the way there where it is not that far.
fn levels(trips: &[(Trip, f64)], default: HeatLevels) -> HeatLevels {
    let of = |kind| trips.iter().filter(move |(k, _)| *k == kind).map(|(_, celsius)| *celsius);
    let off = of(Trip::Critical).reduce(f64::min);
    let before_off = |celsius: &f64| off.is_none_or(|off| *celsius < off);
    let passive = of(Trip::Passive).filter(before_off).reduce(f64::max);
    let slowed = passive.or_else(|| of(Trip::Hot).filter(before_off).reduce(f64::min));
    let hot = match (slowed, off) {
        (Some(slowed), _) => slowed,
        (None, Some(off)) => default.hot.min(off - 15.0),
        (None, None) => default.hot,
    };
    let first = of(Trip::Passive).reduce(f64::min).filter(|first| *first <= hot - 5.0);
    let critical = match off {
        Some(off) if slowed.is_some() => (off - 5.0).max(f64::midpoint(hot, off)),
        Some(off) => default.critical.min(off - 5.0),
        None => default.critical.max(hot + 10.0),
    };
    HeatLevels { warm: first.unwrap_or(hot - 10.0), hot, critical }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(trips: &[(Trip, f64)]) -> (f64, f64, f64) {
        let levels = levels(trips, BOARD);
        (levels.warm, levels.hot, levels.critical)
    }

    #[test]
    fn levels_follow_the_zones_own_trip_points() {
        use Trip::{Critical, Hot, Passive};
        assert_eq!(shape(&[]), (70.0, 80.0, 90.0));
        assert_eq!(shape(&[(Critical, 110.0)]), (70.0, 80.0, 90.0), "Raspberry Pi 4 and 5");
        assert_eq!(
            shape(&[(Passive, 75.0), (Passive, 85.0), (Critical, 115.0)]),
            (75.0, 85.0, 110.0),
            "RK3588"
        );
        assert_eq!(shape(&[(Passive, 99.0), (Critical, 104.5)]), (89.0, 99.0, 101.75), "Jetson Orin");
        assert_eq!(shape(&[(Hot, 90.0), (Critical, 120.0)]), (80.0, 90.0, 115.0));
        assert_eq!(shape(&[(Passive, 95.0)]), (85.0, 95.0, 105.0));
        assert_eq!(shape(&[(Critical, 70.0)]), (45.0, 55.0, 65.0), "a disk");
        assert_eq!(shape(&[(Passive, 120.0), (Critical, 110.0)]), (70.0, 80.0, 90.0), "never reached");
    }

    #[test]
    fn what_the_operator_sets_wins_and_the_rest_gives_way() {
        let over = |warm, hot, critical| {
            let levels = HeatOverrides { warm, hot, critical }.over(BOARD);
            (levels.warm, levels.hot, levels.critical)
        };
        assert_eq!(over(None, None, None), (70.0, 80.0, 90.0));
        assert_eq!(over(Some(60.0), Some(65.0), Some(66.0)), (60.0, 65.0, 66.0));
        assert_eq!(over(None, Some(95.0), None), (70.0, 95.0, 95.0));
        assert_eq!(over(None, None, Some(75.0)), (70.0, 75.0, 75.0));
        assert_eq!(over(None, None, Some(60.0)), (60.0, 60.0, 60.0));
        assert_eq!(over(Some(85.0), None, None), (85.0, 85.0, 90.0));
        assert_eq!(over(None, Some(50.0), None), (50.0, 50.0, 90.0));
    }

    proptest! {
        #[test]
        fn whatever_trip_points_there_are_a_zone_is_warm_before_hot_before_critical(
            trips in prop::collection::vec((0usize..3, 30.0f64..150.0), 0..12),
        ) {
            let kinds = [Trip::Passive, Trip::Hot, Trip::Critical];
            let trips: Vec<_> = trips.into_iter().map(|(kind, celsius)| (kinds[kind], celsius)).collect();
            let off = trips.iter().filter(|(k, _)| *k == Trip::Critical).map(|t| t.1).reduce(f64::min);
            for default in [BOARD, PC] {
                let got = levels(&trips, default);
                prop_assert!(got.warm < got.hot && got.hot < got.critical, "{got:?}");
                prop_assert!(off.is_none_or(|off| got.critical < off), "{got:?} and off at {off:?}");
            }
        }
    }
}
