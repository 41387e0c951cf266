//! The board itself: disk, clock, heat, power.

use std::fs;

use super::Finding;
use crate::{
    config::Config,
    domain::{Clock, SystemClock},
    host::Reading,
    supervise::board_of,
};

/// What was found, and the bytes of memory that can be had.
pub(super) fn look(config: &Config) -> (Vec<Finding>, Option<u64>) {
    let clock = SystemClock::new();
    let reading = board_of(config).read(&clock);
    let findings = vec![disk(config, &reading), time(&clock), warmth(&reading), supply(&reading)];
    (findings, reading.memory.room())
}

fn disk(config: &Config, reading: &Reading) -> Finding {
    let path = &config.store.path;
    let shown = path.display();
    if !path.is_dir() {
        let fix = format!("create {shown} for the user that Outpost runs as, or set `store.path`");
        return Finding::bad("disk", format!("{shown} is not there"), fix);
    }
    let probe = path.join(".doctor");
    if let Err(error) = fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)) {
        let fix =
            format!("run this command as the user that Outpost runs as; if it says the same, chown {shown}");
        return Finding::attention("disk", format!("{shown} cannot be written to: {error}"), fix);
    }
    let Some(free) = reading.disk_free else {
        return Finding::attention(
            "disk",
            format!("how much is free at {shown} is not told"),
            "look with `df`",
        );
    };
    let (free, least) = (free / 1_000_000, config.store.free_min_mb as u64);
    if free < least {
        let fix = "make room, or lower `store.free_min_mb`";
        return Finding::bad(
            "disk",
            format!("{free} MB are free at {shown}, nothing is accepted below {least}"),
            fix,
        );
    }
    Finding::good("disk", format!("{free} MB are free at {shown}"))
}

fn time(clock: &SystemClock) -> Finding {
    if clock.stamp().synced {
        return Finding::good("clock", "it is synchronised");
    }
    Finding::attention(
        "clock",
        "it is not known to be synchronised: budgets by the day and finals' age count from what it says",
        "`timedatectl set-ntp true`, or let chrony write /run/systemd/timesync/synchronized",
    )
}

fn warmth(reading: &Reading) -> Finding {
    let Some(hottest) = reading.zones.iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius)) else {
        return Finding::attention(
            "heat",
            "the board tells no temperature",
            "none; it will not be slowed down in time",
        );
    };
    let says = format!("{} is at {:.0} °C, hot at {:.0}", hottest.name, hottest.celsius, hottest.levels.hot);
    if hottest.celsius < hottest.levels.hot {
        return Finding::good("heat", says);
    }
    Finding::attention("heat", says, "cool the board: answers are slowed down, beyond critical none is begun")
}

fn supply(reading: &Reading) -> Finding {
    if reading.throttle.low_supply == Some(true) {
        return Finding::attention(
            "power",
            "the supply is too weak",
            "use the supply that the board's maker names",
        );
    }
    Finding::good("power", "no low supply is told")
}
