//! Who slows the board down already: a Raspberry Pi's firmware, or the kernel's cooling devices.

use std::path::{Path, PathBuf};

use super::files;
use crate::domain::limits;

/// What a Raspberry Pi's firmware says (`vcgencmd get_throttled`): bits 0 to 3 hold now, 16 to 19
/// since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// The supply is below 4.63 V.
    pub const fn under_voltage(self) -> bool {
        self.0 & 1 != 0
    }

    /// The processor may not run as fast as it could, for whatever reason.
    pub const fn slowed(self) -> bool {
        self.0 & 0b110 != 0
    }

    /// The soft limit of a 3B+, from 60 °C on.
    pub const fn soft_limit(self) -> bool {
        self.0 & 0b1000 != 0
    }

    /// The supply has been too low since boot.
    pub const fn was_under_voltage(self) -> bool {
        self.0 & 1 << 16 != 0
    }

    /// The processor was slowed down since boot.
    pub const fn was_slowed(self) -> bool {
        self.0 & 0b110 << 16 != 0
    }
}

/// A way of the kernel to make the board cooler at the cost of its speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// The kernel's name for it, such as `thermal-cpufreq-0`.
    pub name: String,
    /// How far it goes now; 0: not at all.
    pub state: u32,
    /// How far it can go.
    pub max: u32,
}

/// Who slows the board down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// A Raspberry Pi's firmware; `None` where there is none.
    pub flags: Option<Flags>,
    /// The supply is or was a moment ago too low, by the kernel's own watch; `None` where it has none.
    pub low_supply: Option<bool>,
    /// What the kernel can slow down.
    pub cooling: Vec<Cooling>,
}

/// Where all that is.
#[derive(Debug, Default)]
pub(super) struct Sources {
    flags: Option<PathBuf>,
    alarm: Option<PathBuf>,
    cooling: Vec<(PathBuf, String, u32)>,
}

/// Parts of the names of devices that cool by slowing down: processors (`thermal-cpufreq-0`,
/// `cpufreq-cpu4`, ACPI's `Processor`, Jetson's `cpu-balanced`), graphics and memory
/// (`thermal-devfreq-0`), forced idling. Not fans, not displays, not a limit that a PC's firmware set.
const SLOWS: [&str; 6] = ["cpufreq", "devfreq", "cpuidle", "thermal-idle", "Processor", "-balanced"];

/// Everything there is.
pub(super) fn find(sys: &Path) -> Sources {
    // `soc/soc:firmware` up to the Pi 4, `soc@107c000000/soc@107c000000:firmware` on the Pi 5.
    let platforms = files::entries(&sys.join("devices/platform"), "soc");
    let firmware = platforms.iter().flat_map(|soc| files::entries(soc, "soc"));
    let flags = firmware.map(|dir| dir.join("get_throttled")).find(|file| file.exists());
    let monitors = files::entries(&sys.join("class/hwmon"), "hwmon");
    let pi = monitors.into_iter().find(|dir| files::text(&dir.join("name")).as_deref() == Some("rpi_volt"));
    let alarm = pi.map(|dir| dir.join("in0_lcrit_alarm"));
    let devices = files::entries(&sys.join("class/thermal"), "cooling_device");
    let cooling = devices.into_iter().filter_map(|dir| {
        let name = files::name(&dir.join("type"))?;
        let max = files::number(&dir.join("max_state")).filter(|max| *max > 0)?;
        SLOWS.iter().any(|part| name.contains(part)).then(|| (dir.join("cur_state"), name, max))
    });
    Sources { flags, alarm, cooling: cooling.take(limits::BOARD_COOLING_MAX).collect() }
}

/// How it is now.
pub(super) fn read(sources: &Sources) -> Throttle {
    let flags = sources
        .flags
        .as_deref()
        .and_then(files::text)
        .and_then(|hex| u32::from_str_radix(hex.trim_start_matches("0x"), 16).ok().map(Flags));
    let alarm = sources.alarm.as_deref().and_then(files::number::<u32>).map(|alarm| alarm != 0);
    let cooling = sources.cooling.iter().filter_map(|(path, name, max)| {
        // A device that is switched off may say -1.
        let state = files::number(path).filter(|state| state <= max)?;
        Some(Cooling { name: name.clone(), state, max: *max })
    });
    Throttle { flags, low_supply: alarm, cooling: cooling.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_once_is_told_from_what_is_now() {
        let past = Flags(0x5_0000);
        assert!(!past.under_voltage() && !past.slowed());
        assert!(past.was_under_voltage() && past.was_slowed());
        let now = Flags(0x5);
        assert!(now.under_voltage() && now.slowed() && !now.soft_limit() && !now.was_slowed());
        assert!(Flags(0x8_0008).soft_limit() && !Flags(0x8_0008).slowed());
        assert!(Flags(2).slowed(), "a capped frequency is a slow board");
    }
}
