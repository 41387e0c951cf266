//! Where data may be processed.

/// How far from the device data may go; each zone includes the ones before it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// This board.
    #[default]
    Device,
    /// A server on the premises.
    Site,
    /// Anywhere else.
    Cloud,
}

impl Zone {
    /// Every zone, the nearest first.
    pub const ALL: [Self; 3] = [Self::Device, Self::Site, Self::Cloud];

    /// The zone with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|zone| zone.name() == name)
    }

    /// The name in requests, policies, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Site => "site",
            Self::Cloud => "cloud",
        }
    }
}
