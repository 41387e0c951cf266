//! Mains or battery: `/sys/class/power_supply/*` (Documentation/ABI/testing/sysfs-class-power).

use std::path::{Path, PathBuf};

use super::files;
use crate::domain::limits;

/// What feeds the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The mains, or whatever does not run empty.
    Mains,
    /// A battery that is being drained.
    Battery,
}

impl Feed {
    /// The name in status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mains => "mains",
            Self::Battery => "battery",
        }
    }
}

/// What feeds the board, as far as the kernel tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// `None` when nothing is known: most boards cannot tell.
    pub feed: Option<Feed>,
    /// What is left in the battery, %; of several the fullest.
    pub battery: Option<u8>,
}

/// Folders of the supplies that feed the board.
pub(super) fn find(sys: &Path) -> Vec<PathBuf> {
    let supplies = files::entries(&sys.join("class/power_supply"), "");
    // A mouse has a battery, too.
    let ours = |dir: &PathBuf| files::text(&dir.join("scope")).as_deref() != Some("Device");
    supplies.into_iter().filter(ours).take(limits::BOARD_SUPPLIES_MAX).collect()
}

/// How it is now.
pub(super) fn read(supplies: &[PathBuf]) -> Power {
    let (mut plugged, mut drained, mut kept, mut battery) = (false, false, false, None);
    for dir in supplies {
        match files::text(&dir.join("type")).as_deref() {
            Some("Battery" | "UPS") => {
                match files::text(&dir.join("status")).as_deref() {
                    Some("Discharging") => drained = true,
                    Some("Charging" | "Full" | "Not charging") => kept = true,
                    _ => {}
                }
                battery = battery.max(files::number::<u8>(&dir.join("capacity")).filter(|c| *c <= 100));
            }
            Some(_) => plugged |= files::text(&dir.join("online")).as_deref() == Some("1"),
            None => {}
        }
    }
    let feed = match (plugged, drained, kept) {
        // A battery that is drained beside a supply that is too weak lasts no longer for that.
        (_, true, _) => Some(Feed::Battery),
        (true, ..) | (_, _, true) => Some(Feed::Mains),
        _ => None,
    };
    Power { feed, battery }
}
