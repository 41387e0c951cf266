//! When a request may be answered elsewhere although the device could: never because that would
//! merely be nicer.

use std::time::Duration;

use super::admit::{Speed, Work};

/// How it stands with a request that waits for the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// What the device does.
    pub speed: Speed,
    /// What runs before it.
    pub ahead: Work,
    /// What it takes itself.
    pub own: Work,
    /// Until its answer is worthless.
    pub left: Option<Duration>,
    /// The board is too hot to be given more.
    pub hot: bool,
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
    /// The device would be late by this much.
    Late(Duration),
}

impl Why {
    /// In words for the sender.
    pub fn words(self) -> String {
        match self {
            Self::Preferred => "its task prefers another zone".into(),
            Self::Hot => "the board is too hot".into(),
            Self::Late(late) => {
                format!("this device would be {:.1} s late", late.as_secs_f64().max(0.1))
            }
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
        let (left, takes) = (self.left?, self.speed.time_for(self.ahead + self.own)?);
        takes.checked_sub(left).filter(|late| !late.is_zero()).map(Why::Late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTLOOK: Outlook = Outlook {
        speed: Speed { prefill: 100.0, decode: 10.0 },
        ahead: Work { prompt: 100, answer: 40 },
        own: Work { prompt: 100, answer: 20 },
        left: Some(Duration::from_secs(9)),
        hot: false,
        prefers_away: false,
    };

    #[test]
    fn the_device_is_asked_as_long_as_it_is_in_time() {
        assert_eq!(OUTLOOK.overflow(), None, "5 s before it, 3 s of its own");
        let late = Outlook { left: Some(Duration::from_secs(7)), ..OUTLOOK };
        assert_eq!(late.overflow(), Some(Why::Late(Duration::from_secs(1))));
        assert_eq!(Outlook { left: None, ..late }.overflow(), None, "no deadline is never missed");
        assert_eq!(Outlook { speed: Speed::default(), ..late }.overflow(), None, "nothing was measured yet");
        assert_eq!(Outlook { hot: true, ..OUTLOOK }.overflow(), Some(Why::Hot));
        assert_eq!(Outlook { prefers_away: true, ..OUTLOOK }.overflow(), Some(Why::Preferred));
    }
}
