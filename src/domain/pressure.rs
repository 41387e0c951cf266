//! The board's state.

/// How much the board can take at the moment. Later ones are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pressure {
    /// Everything it is asked.
    #[default]
    Nominal,
    /// Less would do it good: the batch lane is paced.
    Warm,
    /// Too much: the batch lane stands still, half the slots are used.
    Hot,
    /// Nothing new is started and nothing new is taken in.
    Critical,
}

impl Pressure {
    /// Every level, the best first.
    pub const ALL: [Self; 4] = [Self::Nominal, Self::Warm, Self::Hot, Self::Critical];

    /// The name in status, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nominal => "nominal",
            Self::Warm => "warm",
            Self::Hot => "hot",
            Self::Critical => "critical",
        }
    }

    /// The next better one.
    #[must_use]
    pub const fn relieved(self) -> Self {
        match self {
            Self::Nominal | Self::Warm => Self::Nominal,
            Self::Hot => Self::Warm,
            Self::Critical => Self::Hot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_order_and_fall_one_at_a_time() {
        assert!(Pressure::ALL.is_sorted());
        for pair in Pressure::ALL.windows(2) {
            assert_eq!(pair[1].relieved(), pair[0]);
        }
        assert_eq!(Pressure::Nominal.relieved(), Pressure::Nominal);
    }
}
