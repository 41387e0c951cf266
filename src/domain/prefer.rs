//! What counts when several providers could answer.

/// What is to be preferred among those that may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// The lowest price of this request.
    #[default]
    Cost,
    /// The earliest first token.
    Latency,
    /// The most tokens per second.
    Throughput,
    /// Price and time alike.
    Balanced,
}

impl Prefer {
    /// Every preference.
    pub const ALL: [Self; 4] = [Self::Cost, Self::Latency, Self::Throughput, Self::Balanced];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Balanced => "balanced",
        }
    }
}
