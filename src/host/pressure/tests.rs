use proptest::prelude::*;

use super::*;
use crate::{
    domain::limits,
    host::{Cooling, Feed, Flags, Group, HeatLevels, Memory, Power, Throttle, Zone},
};

const LEVELS: HeatLevels = HeatLevels { warm: 70.0, hot: 80.0, critical: 90.0 };
const CALM: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> BootTime {
    BootTime::new(Duration::from_secs(seconds))
}

fn heat(celsius: f64) -> Reading {
    let zone = Zone { name: "cpu-thermal".into(), celsius, levels: LEVELS };
    Reading { zones: vec![zone], ..Reading::default() }
}

/// The word after the same reading for long enough.
fn settled(reading: &Reading) -> State {
    let mut judge = Judge::new(CALM, at(0));
    judge.take(reading, at(0));
    judge.state().clone()
}

#[test]
fn a_board_that_gets_hot_and_cools_goes_up_at_once_and_down_step_by_step() {
    use Pressure::{Critical, Hot, Nominal, Warm};
    let mut judge = Judge::new(CALM, at(0));
    // Every two seconds: an afternoon in the sun, and the shade after it.
    let mut play = |seconds: std::ops::Range<u64>, celsius: f64| {
        for second in seconds.step_by(2) {
            judge.take(&heat(celsius), at(second));
        }
        (judge.state().pressure, judge.state().since)
    };
    assert_eq!(play(0..60, 55.0), (Nominal, at(0)));
    assert_eq!(play(60..120, 72.0), (Warm, at(62)), "the second reading agrees");
    assert_eq!(play(120..180, 83.1), (Hot, at(122)));
    assert_eq!(play(180..240, 76.0), (Hot, at(122)), "not 5 °C below");
    assert_eq!(play(240..300, 95.0), (Critical, at(242)));
    assert_eq!(play(300..330, 60.0), (Critical, at(242)), "not yet");
    assert_eq!(play(330..332, 60.0), (Hot, at(330)));
    assert_eq!(play(332..362, 60.0), (Warm, at(360)));
    assert_eq!(play(362..392, 60.0), (Nominal, at(390)));
}

#[test]
fn one_wrong_value_stops_nothing() {
    let mut judge = Judge::new(CALM, at(0));
    for (second, celsius) in [55.0, 149.0, 55.0, 55.0, 149.0, 72.0, 72.0].into_iter().enumerate() {
        judge.take(&heat(celsius), at(second as u64 * 2));
        let expected = if second >= 5 { Pressure::Warm } else { Pressure::Nominal };
        assert_eq!(judge.state().pressure, expected, "{second}: what two readings agree on");
    }
}

#[test]
fn the_blame_has_figures_and_says_what_to_do_and_stays_what_it_was() {
    let mut judge = Judge::new(CALM, at(0));
    assert!(judge.take(&heat(83.12), at(0)));
    let blame = "thermal zone cpu-thermal reached 83.1 °C, it is hot from 80.0 °C; cool the board or move it";
    assert_eq!(judge.state().blame.as_deref(), Some(blame));
    for (second, celsius) in [(2, 84.0), (4, 79.0), (6, 88.8)] {
        assert!(!judge.take(&heat(celsius), at(second)), "nothing to tell");
        assert_eq!(judge.state().blame.as_deref(), Some(blame));
    }
    for second in 0..30 {
        judge.take(&heat(40.0), at(10 + second * 2));
    }
    assert_eq!(judge.state().pressure, Pressure::Warm);
    assert_eq!(judge.state().blame, Some(format!("recovering from: {blame}")));
}

#[test]
fn when_another_sensor_holds_the_level_that_one_is_blamed() {
    let mut judge = Judge::new(CALM, at(0));
    judge.take(&heat(72.0), at(0));
    let low = Reading { throttle: Throttle { flags: Some(Flags(1)), ..Throttle::default() }, ..heat(40.0) };
    assert!(judge.take(&low, at(2)));
    assert!(judge.state().blame.as_deref().unwrap().starts_with("the supply voltage is too low"));
    assert_eq!((judge.state().pressure, judge.state().since), (Pressure::Warm, at(0)));
    assert!(!judge.take(&low, at(4)));
}

#[test]
fn every_sensor_has_its_say() {
    use Pressure::{Hot, Nominal, Warm};
    let throttle = |throttle| Reading { throttle, ..Reading::default() };
    let flags = |bits| throttle(Throttle { flags: Some(Flags(bits)), ..Throttle::default() });
    let cooling = |state| {
        throttle(Throttle {
            cooling: vec![Cooling { name: "thermal-cpufreq-0".into(), state, max: 9 }],
            ..Throttle::default()
        })
    };
    let memory = |memory| Reading { memory, ..Reading::default() };
    let some = |share| memory(Memory { some_avg10: Some(share), ..Memory::default() });
    let full = |share| memory(Memory { full_avg10: Some(share), ..Memory::default() });
    let left = |available| {
        memory(Memory { available: Some(available), total: Some(100_000_000), ..Memory::default() })
    };
    let group = |used| {
        let group = Group { name: "/system.slice/outpost.service".into(), used, limit: 1_000_000_000 };
        memory(Memory { group: Some(group), ..Memory::default() })
    };
    let battery = |feed, battery| Reading {
        power: Power { feed: Some(feed), battery: Some(battery) },
        ..Reading::default()
    };
    let low = throttle(Throttle { low_supply: Some(true), ..Throttle::default() });
    for (reading, level, words) in [
        (flags(0xf_0000), Nominal, ""),
        (flags(1), Warm, "supply voltage"),
        (low, Warm, "supply voltage"),
        (flags(2), Hot, "the firmware has slowed"),
        (flags(4), Hot, "the firmware has slowed"),
        (flags(8), Warm, "soft temperature limit"),
        (cooling(0), Nominal, ""),
        (cooling(1), Warm, "thermal-cpufreq-0 (step 1 of 9)"),
        (cooling(3), Hot, "thermal-cpufreq-0 (step 3 of 9)"),
        (some(19.9), Nominal, ""),
        (some(35.2), Warm, "during 35 % of the last 10 s, it is warm from 20 %"),
        (full(10.0), Hot, "all programs at once waited"),
        (left(6_000_000), Nominal, ""),
        (left(4_000_000), Warm, "4 of 100 MB of memory are available, it is warm at 5 %"),
        (left(1_000_000), Hot, "hot at 2 %"),
        (group(890_000_000), Nominal, ""),
        (group(910_000_000), Warm, "/system.slice/outpost.service uses 910 of the 1000 MB"),
        (group(980_000_000), Hot, "hot from 97 %"),
        (battery(Feed::Mains, 3), Nominal, ""),
        (battery(Feed::Battery, 21), Nominal, ""),
        (battery(Feed::Battery, 20), Warm, "has 20 % left, it is warm at 20 %"),
        (battery(Feed::Battery, 9), Hot, "has 9 % left, it is hot at 10 %"),
    ] {
        let state = settled(&reading);
        assert_eq!(state.pressure, level, "{reading:?}");
        let blame = state.blame.unwrap_or_default();
        assert!(blame.contains(words) && blame.is_empty() == words.is_empty(), "{blame}");
    }
}

#[test]
fn what_is_unknown_counts_as_nominal() {
    assert_eq!(settled(&Reading::default()).pressure, Pressure::Nominal);
}

fn any_reading() -> impl Strategy<Value = Reading> {
    let zone = (any::<f64>(), any::<f64>(), any::<f64>(), any::<f64>()).prop_map(
        |(celsius, warm, hot, critical)| {
            let levels = HeatLevels { warm, hot, critical };
            Zone { name: "zone".into(), celsius, levels }
        },
    );
    let throttle = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(flags, state, max)| Throttle {
        flags: Some(Flags(flags)),
        low_supply: None,
        cooling: vec![Cooling { name: "cpufreq".into(), state, max }],
    });
    let memory = (any::<f64>(), any::<u64>(), any::<u64>()).prop_map(|(share, a, b)| Memory {
        some_avg10: Some(share),
        full_avg10: Some(share),
        available: Some(a),
        total: Some(b),
        group: Some(Group { name: "/".into(), used: a, limit: b }),
    });
    (prop::collection::vec(zone, 0..3), throttle, memory, any::<u8>()).prop_map(
        |(zones, throttle, memory, battery)| {
            let power = Power { feed: Some(Feed::Battery), battery: Some(battery) };
            Reading { zones, throttle, memory, power, ..Reading::default() }
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_read_there_is_a_level_and_it_is_blamed_on_somebody(
        readings in prop::collection::vec((any_reading(), 0u64..100), 0..20),
    ) {
        let (mut judge, mut now) = (Judge::new(CALM, at(0)), 0);
        for (reading, pause) in readings {
            now += pause;
            let before = judge.state().clone();
            let told = judge.take(&reading, at(now));
            prop_assert_eq!(told, *judge.state() != before);
            prop_assert_eq!(judge.state().blame.is_none(), judge.state().pressure == Pressure::Nominal);
        }
    }

    #[test]
    fn more_heat_is_never_less_pressure(cooler in -40.0f64..150.0, more in 0.0f64..100.0) {
        prop_assert!(settled(&heat(cooler)).pressure <= settled(&heat(cooler + more)).pressure);
    }

    #[test]
    fn inside_the_band_nothing_ever_changes(
        step in prop::sample::select(vec![70.0, 80.0, 90.0]),
        wobble in prop::collection::vec(0.0f64..1.0, 1..100),
    ) {
        let mut judge = Judge::new(CALM, at(0));
        judge.take(&heat(step), at(0));
        let level = judge.state().clone();
        for (n, part) in wobble.into_iter().enumerate() {
            let celsius = step - limits::BOARD_MARGIN_CELSIUS * part;
            prop_assert!(!judge.take(&heat(celsius), at(2 + 2 * n as u64)));
            prop_assert_eq!(judge.state(), &level);
        }
    }

    #[test]
    fn a_level_lasts_at_least_as_long_as_the_calm_before_it_falls(
        temperatures in prop::collection::vec(50.0f64..100.0, 1..200),
    ) {
        let mut judge = Judge::new(CALM, at(0));
        for (n, celsius) in temperatures.into_iter().enumerate() {
            let before = judge.state().clone();
            judge.take(&heat(celsius), at(2 * n as u64));
            let now = judge.state();
            if now.pressure < before.pressure {
                prop_assert_eq!(now.pressure, before.pressure.relieved());
                prop_assert!(now.since.since(before.since) >= CALM);
            }
        }
    }
}
