//! What a reading says of the board: each sign is a value, the levels that it can reach, and words.

use super::board::{Feed, Group, HeatLevels, Reading, Zone};
use crate::domain::{Pressure, limits};

/// One value of a reading and what it means.
#[derive(Debug)]
pub(super) struct Sign<'a> {
    of: Of<'a>,
    value: f64,
    /// From where on the value means warm, hot, critical.
    steps: [f64; 3],
    /// So far below a step its level is over.
    margin: f64,
}

#[derive(Debug)]
enum Of<'a> {
    Zone(&'a Zone),
    Slowed,
    SoftLimit,
    UnderVoltage,
    Cooling { name: &'a str, state: u32, max: u32 },
    SomeWait,
    AllWait,
    Available { available: u64, total: u64 },
    Group(&'a Group),
    Battery(u8),
}

/// This level is never reached.
const NEVER: f64 = f64::INFINITY;
/// A flag that is set.
const SET: f64 = 1.0;

impl Sign<'_> {
    /// The level that the value reaches.
    pub(super) fn reached(&self) -> Pressure {
        self.level(0.0)
    }

    /// The level that is not over yet, if it was there before.
    pub(super) fn held(&self) -> Pressure {
        self.level(self.margin)
    }

    fn level(&self, margin: f64) -> Pressure {
        let reached = |(_, step): &(Pressure, f64)| self.value >= step - margin;
        let levels = Pressure::ALL.into_iter().skip(1).zip(self.steps);
        levels.filter(reached).map(|(level, _)| level).max().unwrap_or_default()
    }

    /// How far the value is beyond what the level needs, to name the worst of several.
    pub(super) fn beyond(&self, level: Pressure) -> f64 {
        self.value - self.step(level)
    }

    fn step(&self, level: Pressure) -> f64 {
        match level {
            Pressure::Nominal => f64::NEG_INFINITY,
            Pressure::Warm => self.steps[0],
            Pressure::Hot => self.steps[1],
            Pressure::Critical => self.steps[2],
        }
    }

    /// Which sensor it is of.
    pub(super) fn source(&self) -> &str {
        match &self.of {
            Of::Zone(zone) => &zone.name,
            Of::Slowed | Of::SoftLimit => "firmware",
            Of::UnderVoltage => "supply",
            Of::Cooling { name, .. } => name,
            Of::SomeWait | Of::AllWait => "memory pressure",
            Of::Available { .. } => "memory",
            Of::Group(group) => &group.name,
            Of::Battery(_) => "battery",
        }
    }

    /// One sentence for the technician: what is wrong, by which figures, and what to do.
    pub(super) fn blame(&self, level: Pressure) -> String {
        let is = level.name();
        let step = self.step(level);
        match &self.of {
            Of::Zone(zone) => format!(
                "thermal zone {} reached {:.1} °C, it is {is} from {step:.1} °C; cool the board or move it",
                zone.name, zone.celsius
            ),
            Of::Slowed => {
                "the firmware has slowed the processor down, which is hot or badly supplied; cool the \
                 board, and use a power supply that is made for it"
                    .into()
            }
            Of::SoftLimit => {
                "the firmware's soft temperature limit is reached; cool the board or move it".into()
            }
            Of::UnderVoltage => {
                "the supply voltage is too low; use a power supply that is made for this board, and a \
                 short cable"
                    .into()
            }
            Of::Cooling { name, state, max } => format!(
                "the kernel has slowed the board down by {name} (step {state} of {max}); cool the board or move it"
            ),
            Of::SomeWait => format!(
                "programs waited for memory during {:.0} % of the last 10 s, it is {is} from {step:.0} %; end \
                 what is not needed, or give `engine.context` and `engine.slots` less",
                self.value
            ),
            Of::AllWait => format!(
                "all programs at once waited for memory during {:.0} % of the last 10 s, it is {is} from \
                 {step:.0} %; end what is not needed, or give `engine.context` and `engine.slots` less",
                self.value
            ),
            Of::Available { available, total } => format!(
                "{} of {} MB of memory are available, it is {is} at {:.0} %; end what is not needed, or give \
                 `engine.context` and `engine.slots` less",
                available / 1_000_000,
                total / 1_000_000,
                100.0 - step
            ),
            Of::Group(group) => format!(
                "control group {} uses {} of the {} MB that it may have, it is {is} from {step:.0} %; raise its \
                 MemoryHigh= and MemoryMax=",
                group.name,
                group.used / 1_000_000,
                group.limit / 1_000_000
            ),
            Of::Battery(left) => format!(
                "the battery is drained and has {left} % left, it is {is} at {:.0} %; plug the board in",
                100.0 - step
            ),
        }
    }
}

/// Everything that a reading says.
pub(super) fn signs(reading: &Reading) -> Vec<Sign<'_>> {
    let mut signs = Vec::with_capacity(reading.zones.len() + 8);
    for zone in &reading.zones {
        let HeatLevels { warm, hot, critical } = zone.levels;
        let (value, margin) = (zone.celsius, limits::BOARD_MARGIN_CELSIUS);
        signs.push(Sign { of: Of::Zone(zone), value, steps: [warm, hot, critical], margin });
    }
    throttle_signs(reading, &mut signs);
    memory_signs(reading, &mut signs);
    if let (Some(Feed::Battery), Some(left)) = (reading.power.feed, reading.power.battery) {
        let [warm, hot] = limits::BOARD_BATTERY_PERCENT.map(|left| 100.0 - left);
        let (value, margin) = (100.0 - f64::from(left), limits::BOARD_MARGIN_PERCENT);
        signs.push(Sign { of: Of::Battery(left), value, steps: [warm, hot, NEVER], margin });
    }
    signs
}

fn throttle_signs<'a>(reading: &'a Reading, signs: &mut Vec<Sign<'a>>) {
    let throttle = &reading.throttle;
    let mut flag = |set: bool, of, steps| {
        if set {
            signs.push(Sign { of, value: SET, steps, margin: 0.0 });
        }
    };
    let flags = throttle.flags.unwrap_or_default();
    flag(flags.slowed(), Of::Slowed, [SET, SET, NEVER]);
    flag(flags.soft_limit(), Of::SoftLimit, [SET, NEVER, NEVER]);
    let low = flags.under_voltage() || throttle.low_supply == Some(true);
    flag(low, Of::UnderVoltage, [SET, NEVER, NEVER]);
    for device in throttle.cooling.iter().filter(|device| device.state > 0) {
        // The kernel's regulator may rest on its first steps for days without a board that suffers.
        let value = f64::from(device.state) / f64::from(device.max.max(1));
        let steps = [f64::MIN_POSITIVE, limits::BOARD_COOLING_HOT, NEVER];
        let of = Of::Cooling { name: &device.name, state: device.state, max: device.max };
        signs.push(Sign { of, value, steps, margin: 0.0 });
    }
}

fn memory_signs<'a>(reading: &'a Reading, signs: &mut Vec<Sign<'a>>) {
    let (memory, margin) = (&reading.memory, limits::BOARD_MARGIN_PERCENT);
    if let Some(value) = memory.some_avg10 {
        let warm = limits::BOARD_PSI_SOME_WARM;
        signs.push(Sign { of: Of::SomeWait, value, steps: [warm, NEVER, NEVER], margin: warm / 2.0 });
    }
    if let Some(value) = memory.full_avg10 {
        let hot = limits::BOARD_PSI_FULL_HOT;
        signs.push(Sign { of: Of::AllWait, value, steps: [hot, hot, NEVER], margin: hot / 2.0 });
    }
    if let (Some(available), Some(total)) = (memory.available, memory.total.filter(|total| *total > 0)) {
        let [warm, hot] = limits::BOARD_AVAILABLE_PERCENT.map(|left| 100.0 - left);
        let value = 100.0 - available as f64 * 100.0 / total as f64;
        let of = Of::Available { available, total };
        signs.push(Sign { of, value, steps: [warm, hot, NEVER], margin });
    }
    if let Some(group) = &memory.group {
        let [warm, hot] = limits::BOARD_GROUP_PERCENT;
        let value = group.used as f64 * 100.0 / group.limit.max(1) as f64;
        signs.push(Sign { of: Of::Group(group), value, steps: [warm, hot, NEVER], margin });
    }
}
