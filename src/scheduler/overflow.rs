//! When a request may be answered elsewhere although the device could: never because that would
//! merely be nicer.

use std::time::Duration;

use super::admit::{Speed, Work};

/// How it stands with a request that waits for the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// What the device does.
    pub speed: Speed,
    /// What runs before it, and what runs now as far as it is in its way.
    pub ahead: Work,
    /// What it takes itself.
    pub own: Work,
    /// Until its answer is worthless.
    pub left: Option<Duration>,
    /// The board is too hot to be given more.
    pub hot: bool,
    /// There is no model here, and none will be there in time.
    pub no_model: bool,
    /// Its task wants it answered elsewhere.
    pub prefers_away: bool,
}

/// Why a request is to be answered elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its task says so.
    Preferred,
    /// The board is too hot.
    Hot,
    /// The device has no model.
    NoModel,
    /// The device is likely to be late.
    Late,
}

impl Why {
    /// In words for the sender.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Preferred => "its task prefers another zone",
            Self::Hot => "the board is too hot",
            Self::NoModel => "there is no model here",
            Self::Late => "this device is likely to be late",
        }
    }
}

impl Outlook {
    /// Why it is to be answered elsewhere; `None` when the device answers it in time.
    pub fn overflow(self) -> Option<Why> {
        if self.prefers_away {
            return Some(Why::Preferred);
        }
        if self.hot {
            return Some(Why::Hot);
        }
        if self.no_model {
            return Some(Why::NoModel);
        }
        self.slack().filter(Duration::is_zero).map(|_| Why::Late)
    }

    /// How long it may still wait for the device; `None` when that does not matter or nobody knows. Half
    /// of what the device needs is kept as a reserve: estimates are estimates, and whoever answers in
    /// its stead needs time as well.
    pub fn slack(self) -> Option<Duration> {
        let (left, takes) = (self.left?, self.speed.time_for(self.ahead + self.own)?);
        Some(left.saturating_sub(takes.saturating_add(takes / 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTLOOK: Outlook = Outlook {
        speed: Speed { prefill: 100.0, decode: 10.0 },
        ahead: Work { prompt: 100, answer: 40 },
        own: Work { prompt: 100, answer: 20 },
        left: Some(Duration::from_secs(13)),
        hot: false,
        no_model: false,
        prefers_away: false,
    };

    #[test]
    fn the_device_is_asked_as_long_as_it_is_in_time() {
        assert_eq!(OUTLOOK.overflow(), None, "5 s before it, 3 s of its own, half of it in reserve");
        assert_eq!(OUTLOOK.slack(), Some(Duration::from_secs(1)));
        let late = Outlook { left: Some(Duration::from_secs(12)), ..OUTLOOK };
        assert_eq!(late.overflow(), Some(Why::Late));
        assert_eq!(Outlook { left: None, ..late }.overflow(), None, "no deadline is never missed");
        assert_eq!(Outlook { speed: Speed::default(), ..late }.overflow(), None, "nothing was measured yet");
        assert_eq!(Outlook { no_model: true, ..OUTLOOK }.overflow(), Some(Why::NoModel));
        assert_eq!(Outlook { hot: true, ..OUTLOOK }.overflow(), Some(Why::Hot));
        assert_eq!(Outlook { prefers_away: true, ..OUTLOOK }.overflow(), Some(Why::Preferred));
    }
}
