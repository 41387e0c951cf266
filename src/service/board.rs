//! What the board's state means for requests, and what is said of it.

use std::future::pending;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Service;
use crate::{
    domain::{BootTime, Error, ErrorKind, Pressure, Result, limits},
    host::{BoardState, Cooling, Flags, Reading, Zone},
    observe::BoardGauges,
};

impl Service {
    /// How much the board can take.
    pub fn pressure(&self) -> Pressure {
        self.shared.board.borrow().state.pressure
    }

    /// How the board stands, and what was read of it last.
    pub fn board(&self) -> watch::Ref<'_, BoardState> {
        self.shared.board.borrow()
    }

    /// A board that is too hot takes in nothing that would only wait and make it hotter.
    pub fn refuse_when_overheated(&self) -> Result<()> {
        let board = self.board();
        if board.state.pressure < Pressure::Critical {
            return Ok(());
        }
        let why =
            "the board is too hot to take in anything new; `outpost status` says which reading is to blame";
        let error = Error::new(ErrorKind::Overheated, why).with_retry_after(limits::OVERHEATED_RETRY_AFTER);
        Err(match &board.state.blame {
            Some(blame) => error.with_detail(blame),
            None => error,
        })
    }
}

/// Waits until the pressure or who is to blame is another one. For ever when nobody looks at the board.
pub(super) async fn changed(board: &mut watch::Receiver<BoardState>) {
    if board.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// The word of the status, and its reason.
pub(super) fn pressure(board: &BoardState, now: BootTime) -> Value {
    let state = &board.state;
    json!({
        "level": state.pressure.name(),
        "reason": state.blame,
        "since_s": now.since(state.since).as_secs(),
    })
}

/// The readings behind it.
pub(super) fn readings(reading: &Reading, clock_synced: bool) -> Value {
    let zone = |zone: &Zone| {
        json!({
            "name": zone.name,
            "celsius": tenths(zone.celsius),
            "warm": tenths(zone.levels.warm),
            "hot": tenths(zone.levels.hot),
            "critical": tenths(zone.levels.critical),
        })
    };
    let cooling = |c: &Cooling| json!({"name": c.name, "state": c.state, "max": c.max});
    let (throttle, memory) = (&reading.throttle, &reading.memory);
    let flag = |of: fn(Flags) -> bool| throttle.flags.map(of);
    json!({
        "zones": reading.zones.iter().map(zone).collect::<Vec<_>>(),
        "slowed": slowed(reading),
        "slowed_since_boot": flag(Flags::was_slowed),
        "under_voltage": under_voltage(reading),
        "under_voltage_since_boot": flag(Flags::was_under_voltage),
        "cooling": throttle.cooling.iter().map(cooling).collect::<Vec<_>>(),
        "memory": {
            "some_avg10": memory.some_avg10,
            "full_avg10": memory.full_avg10,
            "available_bytes": memory.available,
            "total_bytes": memory.total,
            "group": memory.group.as_ref().map(|g| json!({"name": g.name, "used": g.used, "limit": g.limit})),
        },
        "power": reading.power.feed.map(crate::host::Feed::name),
        "battery_percent": reading.power.battery,
        "disk_free_bytes": reading.disk_free,
        "clock_synced": clock_synced,
        "unknown": reading.unknown(),
        "read_us": reading.took.as_micros() as u64,
    })
}

/// What a scrape gets.
pub(super) fn gauges(board: &BoardState) -> BoardGauges {
    let reading = &board.reading;
    BoardGauges {
        pressure: board.state.pressure,
        zones: reading.zones.iter().map(|zone| (zone.name.clone(), zone.celsius)).collect(),
        slowed: slowed(reading),
        under_voltage: under_voltage(reading),
        memory_wait: reading.memory.some_avg10,
    }
}

/// Whether somebody slows the board down now.
fn slowed(reading: &Reading) -> Option<bool> {
    let throttle = &reading.throttle;
    let by_kernel = throttle.cooling.iter().any(|device| device.state > 0);
    let known = throttle.flags.is_some() || !throttle.cooling.is_empty();
    known.then(|| by_kernel || throttle.flags.is_some_and(|f| f.slowed() || f.soft_limit()))
}

fn under_voltage(reading: &Reading) -> Option<bool> {
    let throttle = &reading.throttle;
    let by_firmware = throttle.flags.map(Flags::under_voltage);
    (by_firmware.is_some() || throttle.low_supply.is_some())
        .then(|| by_firmware == Some(true) || throttle.low_supply == Some(true))
}

fn tenths(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
