//! Money, in the only unit that providers bill in.

use std::fmt;

/// Millionths of a US dollar. Sums stop at the largest amount instead of beginning anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// An amount in dollars, rounded up: a bill is never expected to be smaller than it may be.
    /// What is negative or no number is nothing.
    pub fn of_usd(usd: f64) -> Self {
        // A fraction of a millionth that only the binary form of the number has is not one.
        Self((usd * 1e6 - 1e-6).ceil().max(0.0) as u64)
    }

    /// In dollars.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_rounded_up_to_millionths() {
        for (usd, micro) in [(0.01, 10_000), (0.1 + 0.2, 300_000), (0.000_000_1, 1), (-1.0, 0), (f64::NAN, 0)]
        {
            assert_eq!(MicroUsd::of_usd(usd), MicroUsd(micro), "{usd}");
        }
        assert_eq!(MicroUsd(1_500_042).to_string(), "$1.500042");
    }
}
