//! Boards as their kernels show them, made of files.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::domain::SystemClock;

/// A tree of files with these texts.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (path, text) in files {
        put(dir.path(), path, text);
    }
    dir
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{text}\n")).unwrap();
}

fn board(dir: &TempDir) -> Board {
    let root = dir.path().to_path_buf();
    let roots = Roots { sys: root.join("sys"), proc: root.join("proc"), store: root };
    Board::new(roots, HeatOverrides::default())
}

fn read(dir: &TempDir) -> Reading {
    board(dir).read(&SystemClock::new())
}

const PSI: &str =
    "some avg10=3.50 avg60=1.00 avg300=0.20 total=1\nfull avg10=0.50 avg60=0.1 avg300=0 total=1";

fn pi4() -> TempDir {
    tree(&[
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
        ("sys/class/thermal/thermal_zone0/temp", "61835"),
        ("sys/class/thermal/thermal_zone0/trip_point_0_type", "critical"),
        ("sys/class/thermal/thermal_zone0/trip_point_0_temp", "110000"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal"),
        ("sys/class/hwmon/hwmon1/name", "rpi_volt"),
        ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1"),
        ("sys/class/thermal/cooling_device0/type", "pwm-fan"),
        ("sys/class/thermal/cooling_device0/cur_state", "4"),
        ("sys/class/thermal/cooling_device0/max_state", "4"),
        ("proc/meminfo", "MemTotal:        3884332 kB\nMemFree: 1 kB\nMemAvailable:    2911844 kB"),
        ("proc/self/cgroup", "0::/system.slice/outpost.service"),
        ("sys/fs/cgroup/system.slice/outpost.service/memory.max", "1000000"),
        ("sys/fs/cgroup/system.slice/outpost.service/memory.high", "max"),
        ("sys/fs/cgroup/system.slice/outpost.service/memory.current", "950000"),
        (
            "sys/fs/cgroup/system.slice/outpost.service/memory.stat",
            "anon 1\ninactive_file 150000\nactive_file 3",
        ),
        ("sys/fs/cgroup/system.slice/memory.max", "max"),
        ("sys/fs/cgroup/system.slice/memory.current", "990000"),
    ])
}

#[test]
fn a_raspberry_pi_tells_its_flags_and_its_fan_is_no_throttling() {
    let reading = read(&pi4());
    let levels = HeatLevels { warm: 70.0, hot: 80.0, critical: 90.0 };
    assert_eq!(reading.zones, [Zone { name: "cpu-thermal".into(), celsius: 61.835, levels }]);
    assert_eq!(reading.throttle.flags, Some(Flags(0x5_0005)));
    assert_eq!(reading.throttle.low_supply, Some(true));
    assert_eq!(reading.throttle.cooling, []);
    assert_eq!(reading.memory.total, Some(3_884_332 * 1024));
    let group = Group { name: "/system.slice/outpost.service".into(), used: 800_000, limit: 1_000_000 };
    assert_eq!(reading.memory.group, Some(group), "pages that can go at once are not counted");
    // Its kernel is built without PSI switched on, and it knows no supplies.
    assert_eq!(reading.unknown(), ["memory_pressure", "power"]);
    assert!(reading.disk_free.is_some());
}

#[test]
fn a_raspberry_pi_5_has_its_firmware_elsewhere() {
    let path = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled";
    assert_eq!(read(&tree(&[(path, "0")])).throttle.flags, Some(Flags(0)));
}

#[test]
fn a_jetson_has_many_zones_and_those_that_are_off_or_not_wired_count_for_nothing() {
    let zones = [
        ("cpu-thermal", "52562"),
        ("gpu-thermal", "49812"),
        // Switched off.
        ("cv0-thermal", "-256000"),
        ("soc0-thermal", ""),
        ("PMIC-Die", "100000"),
        ("tj-thermal", "101875"),
    ];
    let dir = tree(&[("proc/pressure/memory", PSI)]);
    for (n, (kind, temp)) in zones.into_iter().enumerate() {
        let zone = format!("sys/class/thermal/thermal_zone{n}");
        for (file, text) in [
            ("type", kind),
            ("temp", temp),
            ("trip_point_0_type", "active"),
            ("trip_point_0_temp", "51000"),
            ("trip_point_1_type", "passive"),
            ("trip_point_1_temp", "99000"),
            ("trip_point_2_type", "critical"),
            ("trip_point_2_temp", "104500"),
        ] {
            put(dir.path(), &format!("{zone}/{file}"), text);
        }
    }
    for (n, (kind, state, max)) in
        [("pwm-fan", 3, 4), ("thermal-cpufreq-0", 2, 20), ("17000000.gpu-devfreq", 0, 5)]
            .into_iter()
            .enumerate()
    {
        let device = format!("sys/class/thermal/cooling_device{n}");
        put(dir.path(), &format!("{device}/type"), kind);
        put(dir.path(), &format!("{device}/cur_state"), &state.to_string());
        put(dir.path(), &format!("{device}/max_state"), &max.to_string());
    }
    let reading = read(&dir);
    let names: Vec<_> = reading.zones.iter().map(|zone| (zone.name.as_str(), zone.celsius)).collect();
    assert_eq!(names, [("cpu-thermal", 52.562), ("gpu-thermal", 49.812), ("tj-thermal", 101.875)]);
    assert_eq!(reading.zones[0].levels, HeatLevels { warm: 89.0, hot: 99.0, critical: 101.75 });
    let cooling: Vec<_> =
        reading.throttle.cooling.iter().map(|c| (c.name.as_str(), c.state, c.max)).collect();
    assert_eq!(cooling, [("thermal-cpufreq-0", 2, 20), ("17000000.gpu-devfreq", 0, 5)]);
    assert_eq!((reading.memory.some_avg10, reading.memory.full_avg10), (Some(3.5), Some(0.5)));
}

#[test]
fn an_rk3588_is_warm_where_its_regulator_begins_and_hot_where_it_aims() {
    let zone = "sys/class/thermal/thermal_zone0";
    let dir = tree(&[
        (&format!("{zone}/type"), "soc-thermal"),
        (&format!("{zone}/temp"), "70230"),
        (&format!("{zone}/trip_point_0_type"), "passive"),
        (&format!("{zone}/trip_point_0_temp"), "75000"),
        (&format!("{zone}/trip_point_1_type"), "passive"),
        (&format!("{zone}/trip_point_1_temp"), "85000"),
        (&format!("{zone}/trip_point_2_type"), "critical"),
        (&format!("{zone}/trip_point_2_temp"), "115000"),
    ]);
    assert_eq!(read(&dir).zones[0].levels, HeatLevels { warm: 75.0, hot: 85.0, critical: 110.0 });
}

#[test]
fn a_machine_that_tells_nothing_is_unknown_and_no_error() {
    let dir = TempDir::new().unwrap();
    let reading = read(&dir);
    let unknown = ["heat", "throttling", "under_voltage", "memory_pressure", "memory", "power"];
    assert_eq!(reading.unknown(), unknown);
    assert_eq!(Reading { took: Duration::ZERO, disk_free: None, ..reading }, Reading::default());
}

#[test]
fn a_laptop_knows_its_battery_and_a_mouse_is_not_it() {
    let battery = "sys/class/power_supply/BAT0";
    let dir = tree(&[
        (&format!("{battery}/type"), "Battery"),
        (&format!("{battery}/status"), "Discharging"),
        (&format!("{battery}/capacity"), "17"),
        ("sys/class/power_supply/AC/type", "Mains"),
        ("sys/class/power_supply/AC/online", "0"),
        ("sys/class/power_supply/hidpp_battery_0/type", "Battery"),
        ("sys/class/power_supply/hidpp_battery_0/scope", "Device"),
        ("sys/class/power_supply/hidpp_battery_0/capacity", "95"),
    ]);
    assert_eq!(read(&dir).power, Power { feed: Some(Feed::Battery), battery: Some(17) });
    put(dir.path(), "sys/class/power_supply/AC/online", "1");
    put(dir.path(), &format!("{battery}/status"), "Charging");
    assert_eq!(read(&dir).power, Power { feed: Some(Feed::Mains), battery: Some(17) });
}

#[test]
fn nonsense_in_every_file_is_nothing_and_no_panic() {
    for nonsense in ["", "-", "NaN", "99999999999999999999999", "\u{0}\u{1b}[31m", &"9".repeat(10_000)] {
        let dir = pi4();
        for path in walk(dir.path()) {
            // Names are names, whatever they are.
            if !["type", "name", "cgroup"].iter().any(|name| path.ends_with(name)) {
                fs::write(path, nonsense).unwrap();
            }
        }
        let reading = read(&dir);
        assert_eq!((&reading.zones[..], &reading.memory), (&[][..], &Memory::default()), "{nonsense:.20}");
        let throttle = &reading.throttle;
        assert!(throttle.flags.is_none() && throttle.low_supply.is_none(), "{nonsense:.20}: {throttle:?}");
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_board_with_more_sensors_than_anybody_needs_is_read_in_part() {
    let dir = TempDir::new().unwrap();
    for n in 0..limits::BOARD_ZONES_MAX + 10 {
        put(dir.path(), &format!("sys/class/thermal/thermal_zone{n}/type"), "acpitz");
        put(dir.path(), &format!("sys/class/thermal/thermal_zone{n}/temp"), "40000");
    }
    let reading = read(&dir);
    assert_eq!(reading.zones.len(), limits::BOARD_ZONES_MAX);
    let names: std::collections::BTreeSet<_> = reading.zones.iter().map(|zone| &zone.name).collect();
    assert_eq!(names.len(), reading.zones.len(), "each has a name of its own");
    assert_eq!(reading.zones[10].name, "acpitz thermal_zone10");
}

#[test]
fn a_sensor_that_comes_and_goes_is_followed() {
    let dir = pi4();
    let (mut board, clock) = (board(&dir), SystemClock::new());
    let temp = dir.path().join("sys/class/thermal/thermal_zone0/temp");
    assert_eq!(board.read(&clock).zones[0].celsius, 61.835);
    fs::write(&temp, "88000\n").unwrap();
    assert_eq!(board.read(&clock).zones[0].celsius, 88.0);
    fs::remove_file(&temp).unwrap();
    assert_eq!(board.read(&clock).zones, []);
    fs::write(&temp, "50000\n").unwrap();
    assert_eq!(board.read(&clock).zones[0].celsius, 50.0);
}

/// `make bench-board`
#[test]
#[ignore = "a measurement: it prints what one reading costs on this machine"]
#[allow(clippy::print_stdout, reason = "a measurement is printed")]
fn what_a_reading_costs() {
    let clock = SystemClock::new();
    let show = |name: &str, mut board: Board| {
        let first = board.read(&clock).took.as_micros();
        let mut took: Vec<_> = (0..2_000).map(|_| board.read(&clock).took.as_nanos()).collect();
        took.sort_unstable();
        let us = |n: usize| took[n] as f64 / 1e3;
        println!(
            "{name}: p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs; the first, which finds the files, {first} µs",
            us(1_000),
            us(1_980),
            us(1_999)
        );
        assert!(us(1_980) < 1_000.0, "a reading costs less than a millisecond");
    };
    let machine = Roots { sys: "/sys".into(), proc: "/proc".into(), store: "/tmp".into() };
    show("this machine", Board::new(machine, HeatOverrides::default()));
    let dir = pi4();
    for n in 1..12 {
        put(dir.path(), &format!("sys/class/thermal/thermal_zone{n}/type"), &format!("zone-{n}"));
        put(dir.path(), &format!("sys/class/thermal/thermal_zone{n}/temp"), "40000");
        put(dir.path(), &format!("sys/class/thermal/cooling_device{n}/type"), "thermal-cpufreq-0");
        put(dir.path(), &format!("sys/class/thermal/cooling_device{n}/max_state"), "9");
        put(dir.path(), &format!("sys/class/thermal/cooling_device{n}/cur_state"), "0");
    }
    show("twelve zones and eleven cooling devices made of files", board(&dir));
}
