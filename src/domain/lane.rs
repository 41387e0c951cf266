//! Priority classes.

/// Priority class of a request. A lane gets a share of the engine, never all of it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// A person is waiting.
    Interactive,
    /// A machine is waiting.
    #[default]
    Normal,
    /// Nobody is waiting.
    Batch,
}

impl Lane {
    /// Every lane, most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Normal, Self::Batch];

    /// Share of the engine relative to the other lanes, when all have work.
    pub const fn weight(self) -> u64 {
        match self {
            Self::Interactive => 16,
            Self::Normal => 4,
            Self::Batch => 1,
        }
    }

    /// How many of `places` in the queue this lane may help to fill: the more urgent lanes keep a rest.
    pub const fn share_of(self, places: usize) -> usize {
        match self {
            Self::Interactive => places,
            Self::Normal => places - places / 8,
            Self::Batch => places - places / 4,
        }
    }

    /// The name in requests, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Normal => "normal",
            Self::Batch => "batch",
        }
    }
}
