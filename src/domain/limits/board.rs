//! Of what is read of the board, and from where on it counts.

use std::time::Duration;

use super::KIB;

/// One file below `/sys` or `/proc`, bytes: a page of the kernel. Beyond: cut.
pub const BOARD_FILE_BYTES_MAX: u64 = 4 * KIB as u64;
/// Thermal zones that are read. Beyond: ignored, those with the highest numbers first.
pub const BOARD_ZONES_MAX: usize = 64;
/// Trip points of one zone that are read. Beyond: ignored.
pub const BOARD_TRIPS_MAX: usize = 16;
/// Cooling devices that are read. Beyond: ignored, as with the zones.
pub const BOARD_COOLING_MAX: usize = 32;
/// Power supplies that are read. Beyond: ignored.
pub const BOARD_SUPPLIES_MAX: usize = 8;
/// Entries of one folder that are looked at. Beyond: ignored.
pub const BOARD_ENTRIES_MAX: usize = 512;
/// Control groups above ours whose memory limits hold for us too. Beyond: ignored.
pub const BOARD_GROUPS_MAX: usize = 8;
/// Name of a sensor, characters. Beyond: cut.
pub const BOARD_NAME_CHARS_MAX: usize = 40;
/// Between two looks at which sensors there are.
pub const BOARD_RESCAN: Duration = Duration::from_mins(5);
/// For the first reading, at start. Beyond: the daemon starts, and the board counts as nominal until it is there.
pub const BOARD_FIRST_READING: Duration = Duration::from_secs(2);
/// Temperatures beyond these, °C, are no temperatures: a sensor that is off or not wired.
pub const BOARD_CELSIUS: std::ops::RangeInclusive<f64> = -40.0..=150.0;
/// Below this, °C, a trip point was never set.
pub const BOARD_TRIP_CELSIUS_MIN: f64 = 30.0;
/// So far below the temperature of a level, °C, the level is over.
pub const BOARD_MARGIN_CELSIUS: f64 = 5.0;
/// So far below, percentage points, one of memory or battery is over. One of waiting for memory is over
/// at half its share.
pub const BOARD_MARGIN_PERCENT: f64 = 2.0;
/// Share of its way that a cooling device has gone: warm from its first step, hot from there on.
pub const BOARD_COOLING_HOT: f64 = 1.0 / 3.0;
/// Share of time, %, in which some task waited for memory (PSI, 10 s): warm from there on.
pub const BOARD_PSI_SOME_WARM: f64 = 20.0;
/// Share of time, %, in which all tasks waited for memory: hot from there on.
pub const BOARD_PSI_FULL_HOT: f64 = 10.0;
/// Memory that is left to the board, % of all: warm and hot from there on.
pub const BOARD_AVAILABLE_PERCENT: [f64; 2] = [5.0, 2.0];
/// Memory of the control group, % of its limit: warm and hot from there on.
pub const BOARD_GROUP_PERCENT: [f64; 2] = [90.0, 97.0];
/// Battery that is left while it is drained, %: warm and hot from there on.
pub const BOARD_BATTERY_PERCENT: [f64; 2] = [20.0, 10.0];
/// Retry after `overheated`.
pub const OVERHEATED_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Longest rest between two requests of the batch lane while the board is warm.
pub const BATCH_REST_MAX: Duration = Duration::from_mins(5);
